/**
 * virstream for Node.
 *
 * @module virstream
 */

import "./drivers/builtin.ts";

export * from "./exports.ts";
