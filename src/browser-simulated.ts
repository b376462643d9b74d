/**
 * The simulated host, for pages that open it. The other exports are of code that such pages have loaded already;
 * client/on-demand.ts gives the reason.
 */

export { newSampling } from "./client/sampling-factory.ts";
export { StatusBoard } from "./client/status.ts";
export { Table } from "./client/table.ts";
export { remoteDriver } from "./drivers/remote/driver.ts";
export { openSimulated } from "./drivers/simulated/driver.ts";
