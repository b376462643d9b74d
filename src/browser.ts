/**
 * virstream for browsers: remote servers and the simulated host.
 *
 * @module virstream/browser
 */

import "./drivers/builtin-browser.ts";

export * from "./exports.ts";
