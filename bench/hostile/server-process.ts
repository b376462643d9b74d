import { Connection } from "../../src/client/connection.ts";
import { SimulatedDriver } from "../../src/drivers/simulated/driver.ts";
import { serve, type VirstreamServer } from "../../src/server/server.ts";
import { MIN_INTERVAL_MS, TOKEN } from "../../test/hostile/input.ts";
import { answerCalls } from "../calls.ts";

let server: VirstreamServer;

const calls = {
  /** Serves 100 domains with all limits at their defaults, except the interval. */
  async listen(): Promise<number> {
    const connection = new Connection(new SimulatedDriver("test:///default?domains=100"));
    server = await serve(connection, { port: 0, token: TOKEN, limits: { minIntervalMs: MIN_INTERVAL_MS } });
    return Number(new URL(server.url).port);
  },
  async figures(): Promise<{ clients: number; sockets: number; heap: number }> {
    globalThis.gc!();
    const sockets = process.getActiveResourcesInfo().filter((name) => name === "TCPSocketWrap").length;
    return { clients: server.clients, sockets, heap: process.memoryUsage().heapUsed / 2 ** 20 };
  },
};
export type HostileServerCalls = typeof calls;

answerCalls(calls);
