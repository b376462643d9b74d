/** virstream for browsers: remote servers and the simulated host. */

import "./drivers/builtin-browser.ts";

export * from "./exports.ts";
