/** Registers the drivers that work in browsers. Imported for that effect. */

import type { OpenDriver } from "../driver/driver.ts";
import { registerBuiltIn } from "../driver/registry.ts";
import { REMOTE_SCHEMES, remoteDriver } from "./remote/driver.ts";
import { openBrowserSocket } from "./remote/socket.ts";

// A page that only looks at servers need not load the simulated host.
const openTest: OpenDriver = async (uri, options) =>
  (await import("./simulated/driver.ts")).openSimulated(uri, options);
registerBuiltIn("test", openTest, true);
for (const scheme of REMOTE_SCHEMES) registerBuiltIn(scheme, remoteDriver(openBrowserSocket), true);
