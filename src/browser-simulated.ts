/** The simulated host, for pages that ask for it, and what they have already: client/on-demand.ts says why. */

export { remoteDriver } from "./drivers/remote/driver.ts";
export { openSimulated } from "./drivers/simulated/driver.ts";
export { Sampling } from "./sampling/sampling.ts";
