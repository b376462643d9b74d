/**
 * The simulated host, for pages that open it. Such pages have loaded the code of the other exports already;
 * client/on-demand.ts says why this file exports it.
 */

export { newSampling } from "./client/sampling-factory.ts";
export { StatusBoard } from "./client/status.ts";
export { Table } from "./client/table.ts";
export { remoteDriver } from "./drivers/remote/driver.ts";
export { openSimulated } from "./drivers/simulated/driver.ts";
