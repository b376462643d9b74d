import { connect } from "../src/client/connect.ts";
import { registerDriver } from "../src/driver/registry.ts";
import { openRemote } from "../src/drivers/remote/node-driver.ts";
import { answerCalls } from "./calls.ts";

registerDriver("ws", openRemote);

let ticks = 0;
let records = 0;

const calls = {
  /** Begins to watch, and counts ticks and records. */
  async watch(port: number): Promise<void> {
    const connection = await connect(`ws://127.0.0.1:${port}`);
    void connection.watch().events.forEach((event) => {
      if (event.type === "sync") ticks++;
      else if (event.type === "record") records++;
    });
  },
  async figures(): Promise<{ ticks: number; records: number; heap: number }> {
    globalThis.gc!();
    return { ticks, records, heap: process.memoryUsage().heapUsed / 2 ** 20 };
  },
};
export type LongClientCalls = typeof calls;

answerCalls(calls);
