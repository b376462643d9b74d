/**
 * The code that a connection loads on demand, so that a page that only reads records of servers does not load it. It is
 * one module, because a bundler splits the rest of the code into more and smaller files for each module that is loaded
 * later.
 *
 * This module also exports the driver for servers, tables and the states of a connection, although each page has loaded
 * these already. The reason is that esbuild divides code into files by the set of modules that use it. Without these
 * exports there would be further files, and several compressed files are larger than one. For the same reason
 * browser-simulated.ts exports some of this code, too.
 */

import "./watching.ts";

export { remoteDriver } from "../drivers/remote/driver.ts";
export { RemoteWatch } from "../drivers/remote/watch.ts";
export { lookup } from "./lookup.ts";
export { ratesOver } from "./rates/two-sweeps.ts";
export { StatusBoard } from "./status.ts";
export { sweepEvents } from "./sweep-events.ts";
export { TableRows } from "./table/rows.ts";
export { Table } from "./table.ts";
export { watchSources } from "./watch-sources.ts";
