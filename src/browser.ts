/**
 * virstream for browsers: remote servers and the simulated host.
 *
 * @module virstream/browser
 */

import { registerBuiltIn } from "./driver/registry.ts";
import { REMOTE_SCHEMES, remoteDriver } from "./drivers/remote/driver.ts";
import { openBrowserSocket } from "./drivers/remote/socket.ts";

// A page that only looks at servers need not load the simulated host.
registerBuiltIn(
  "test",
  async (uri, options) => (await import("./browser-simulated.ts")).openSimulated(uri, options),
  true,
);
for (const scheme of REMOTE_SCHEMES) registerBuiltIn(scheme, remoteDriver(openBrowserSocket), true);

export * from "./exports.ts";
