/** virstream for Node. */

import "./drivers/builtin.ts";

export * from "./exports.ts";
