/** Registers the drivers that come with virstream in Node. Imported for that effect. */

import { registerDriver } from "../driver/registry.ts";
import { LIBVIRT_SCHEMES, openLibvirt } from "./libvirt/driver.ts";
import { REMOTE_SCHEMES, remoteDriver } from "./remote/driver.ts";
import { openNodeSocket } from "./remote/node-socket.ts";
import { openSimulated } from "./simulated/driver.ts";

registerDriver("test", openSimulated);
for (const scheme of LIBVIRT_SCHEMES) registerDriver(scheme, openLibvirt);
for (const scheme of REMOTE_SCHEMES) registerDriver(scheme, remoteDriver(openNodeSocket));
