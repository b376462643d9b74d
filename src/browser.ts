/**
 * virstream for browsers: remote servers and the simulated host.
 *
 * @module virstream/browser
 */

import { registerBuiltIn } from "./driver/registry.ts";
import { REMOTE_SCHEMES, remoteDriver } from "./drivers/remote/driver.ts";
import { openPageWatch } from "./drivers/remote/page-watch.ts";
import { openBrowserSocket } from "./drivers/remote/socket.ts";

// The simulated host is loaded when it is first opened: a page that only looks at servers does not need it.
registerBuiltIn(
  "test",
  async (uri, options) => (await import("./browser-simulated.ts")).openSimulated(uri, options),
  true,
);
const openWatch = openPageWatch(() => import("./client/on-demand.ts"));
const openRemote = remoteDriver({ openSocket: openBrowserSocket, openWatch });
for (const scheme of REMOTE_SCHEMES) registerBuiltIn(scheme, openRemote, true);

export * from "./exports.ts";
