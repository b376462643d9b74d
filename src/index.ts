/**
 * virstream for Node.
 *
 * @module virstream
 */

import "./drivers/builtin.ts";
import "./inspect.ts";
import "./client/watching.ts";

export * from "./exports.ts";
