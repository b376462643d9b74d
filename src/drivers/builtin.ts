/** An import of this module registers the drivers that virstream has in Node. */

import type { OpenDriver } from "../driver/driver.ts";
import { registerBuiltIn } from "../driver/registry.ts";
import { LIBVIRT_SCHEMES, openLibvirt } from "./libvirt/driver.ts";
import { REMOTE_SCHEMES } from "./remote/driver.ts";
import { openRemote, openSocketFile } from "./remote/node-driver.ts";
import { openSimulated } from "./simulated/driver.ts";

registerBuiltIn("test", openSimulated);
for (const scheme of LIBVIRT_SCHEMES) registerBuiltIn(scheme, openLibvirt);
for (const scheme of REMOTE_SCHEMES) registerBuiltIn(scheme, openRemote);
registerBuiltIn("ws+unix", openSocketFile);

// The driver for NATS is loaded when the first nats: URI is opened, because only a program that reads fleets needs it
// and NATS's client.
const openNats: OpenDriver = async (uri, options) => (await import("./nats/driver.ts")).openNats(uri, options);
for (const scheme of ["nats", "nats+tls"]) registerBuiltIn(scheme, openNats);
const openFile: OpenDriver = async (uri, options) =>
  (await import("./recording/driver.ts")).openRecording(uri, options);
registerBuiltIn("file", openFile);
