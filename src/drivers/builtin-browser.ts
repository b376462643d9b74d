/** Registers the drivers that work in browsers. Imported for that effect. */

import { registerDriver } from "../driver/registry.ts";
import { openBrowserSocket } from "./remote/browser-socket.ts";
import { REMOTE_SCHEMES, remoteDriver } from "./remote/driver.ts";
import { openSimulated } from "./simulated/driver.ts";

registerDriver("test", openSimulated);
for (const scheme of REMOTE_SCHEMES) registerDriver(scheme, remoteDriver(openBrowserSocket));
