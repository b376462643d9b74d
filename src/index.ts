/**
 * virstream for Node.
 *
 * @module virstream
 */

import "./drivers/builtin.ts";
import "./inspect.ts";

export * from "./exports.ts";
