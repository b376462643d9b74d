import { Connection } from "../../src/client/connection.ts";
import { SimulatedDriver } from "../../src/drivers/simulated/driver.ts";
import { serve } from "../../src/server/server.ts";
import { answerCalls } from "../calls.ts";

const calls = {
  /** Serves this number of simulated hosts, among which the domains are divided. Returns their addresses. */
  async listen({ hosts, domains, shape }: { hosts: number; domains: number; shape: string }): Promise<string[]> {
    const urls: string[] = [];
    for (let i = 0; i < hosts; i++) {
      const own = Math.floor(domains / hosts) + (i < domains % hosts ? 1 : 0);
      const driver = new SimulatedDriver(`test:///default?domains=${own}&seed=${i}&host=hv${i}&${shape}`);
      const limits = { minIntervalMs: 20, queriesPerClient: 64 };
      urls.push((await serve(new Connection(driver), { port: 0, limits })).url);
    }
    return urls;
  },
};
export type HostsCalls = typeof calls;

answerCalls(calls);
