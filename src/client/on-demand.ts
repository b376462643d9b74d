/**
 * What a connection loads when it is first used, so that a page that only reads records of servers need not load it. It is one module,
 * because a bundler splits the rest of the code into more and smaller files for each module that is loaded later.
 */

import "../sampling/sampler.ts";

export { lookup } from "./lookup.ts";
export { ratesOver } from "./rates/two-sweeps.ts";
export { ratesIn } from "./rates.ts";
export { TableRows } from "./table/rows.ts";
