import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import { Connection } from "../src/client/connection.ts";
import { serve, type VirstreamServer } from "../src/server/server.ts";
import { answerCalls, cpuMicros } from "./calls.ts";
import { TickingDriver } from "./tick-source.ts";

let server: VirstreamServer;

const calls = {
  /** Starts to serve. Returns the port, and a second port on which the client confirms ticks, one byte for each. */
  async listen(): Promise<{ port: number; confirmPort: number }> {
    const driver = new TickingDriver();
    server = await serve(new Connection(driver), { port: 0 });
    const confirmations = createServer((socket) => socket.on("data", ({ length }) => driver.confirm(length)));
    confirmations.listen(0, "127.0.0.1");
    await once(confirmations, "listening");
    return { port: Number(new URL(server.url).port), confirmPort: (confirmations.address() as AddressInfo).port };
  },
  /** CPU time in µs, bytes sent and conflated ticks so far. */
  async spent(): Promise<{ cpu: number; bytes: number; conflated: number }> {
    const { bytesSent, sampling } = server.stats();
    return { cpu: cpuMicros(), bytes: bytesSent, conflated: sampling.ticksConflated };
  },
};
export type DeltasServerCalls = typeof calls;

answerCalls(calls);
