/** Registers the drivers that work in browsers. Imported for that effect. */

import { registerDriver } from "../driver/registry.ts";
import { REMOTE_SCHEMES, remoteDriver } from "./remote/driver.ts";
import { openBrowserSocket } from "./remote/socket.ts";

// A page that only looks at servers need not load the simulated host.
registerDriver("test", async (uri, options) => (await import("./simulated/driver.ts")).openSimulated(uri, options));
for (const scheme of REMOTE_SCHEMES) registerDriver(scheme, remoteDriver(openBrowserSocket));
