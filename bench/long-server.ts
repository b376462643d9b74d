import { Connection } from "../src/client/connection.ts";
import type { Clock } from "../src/driver/clock.ts";
import { SimulatedDriver } from "../src/drivers/simulated/driver.ts";
import { serve, type VirstreamServer } from "../src/server/server.ts";
import { answerCalls } from "./calls.ts";

const DOMAINS = 100;
/** The duration of a tick on the machine's clock, in ms. */
const REAL_MS = 1;

/** A clock that runs a thousand times as fast as the machine's clock, for the sampler, the driver and the server. */
const hurried: Clock = {
  now: () => performance.now() * (1_000 / REAL_MS),
  setTimeout: (callback, ms) => setTimeout(callback, (ms * REAL_MS) / 1_000),
  clearTimeout: (timer) => clearTimeout(timer as NodeJS.Timeout),
};

let server: VirstreamServer;
let driver: SimulatedDriver;

const calls = {
  /** Serves 100 domains by the fast clock. Some of them leave and return all the time. */
  async listen(): Promise<number> {
    driver = new SimulatedDriver(`test:///default?domains=${DOMAINS}&vcpus=2&disks=2&nics=2`);
    server = await serve(new Connection(driver, hurried), { port: 0 });
    let turn = 0;
    setInterval(() => {
      turn++;
      driver.simulation.change(turn % DOMAINS, { vanishing: true });
      driver.simulation.change((turn + DOMAINS / 2) % DOMAINS, {
        vanishing: false,
        appearsAt: Number.NEGATIVE_INFINITY,
      });
      driver.simulation.change((turn + DOMAINS / 4) % DOMAINS, { resetMs: Date.now() });
    }, 5);
    return Number(new URL(server.url).port);
  },
  async figures(): Promise<{ heap: number }> {
    globalThis.gc!();
    return { heap: server.stats().memoryBytes.heapUsed / 2 ** 20 };
  },
};
export type LongServerCalls = typeof calls;

answerCalls(calls);
