import { Connection } from "../src/client/connection.ts";
import { SimulatedDriver } from "../src/drivers/simulated/driver.ts";
import { serve, type VirstreamServer } from "../src/server/server.ts";
import { answerCalls, cpuMicros } from "./calls.ts";
import { SHAPE } from "./records.ts";

let driver: SimulatedDriver;
let server: VirstreamServer;

const calls = {
  /** Starts to serve this number of domains of the simulated host. Returns the port. */
  async listen(domains: number): Promise<number> {
    driver = new SimulatedDriver(`test:///default?domains=${domains}&${SHAPE}`);
    server = await serve(new Connection(driver), { port: 0, limits: { clients: 2_000, minIntervalMs: 20 } });
    return Number(new URL(server.url).port);
  },
  async spent(): Promise<{ cpu: number; sweeps: number; conflated: number; rss: number }> {
    const { sampling, memoryBytes } = server.stats();
    return {
      cpu: cpuMicros(),
      sweeps: driver.simulation.sweeps,
      conflated: sampling.ticksConflated,
      rss: memoryBytes.rss / 2 ** 20,
    };
  },
};
export type FanoutServerCalls = typeof calls;

answerCalls(calls);
