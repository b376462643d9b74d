import { connect as connectSocket, type Socket } from "node:net";
import { connect } from "../src/client/connect.ts";
import { registerDriver } from "../src/driver/registry.ts";
import { openRemote } from "../src/drivers/remote/node-driver.ts";
import { answerCalls, cpuMicros } from "./calls.ts";

registerDriver("ws", openRemote);

let confirmations: Socket;
let records = 0;
let sum = 0;
/**
 * The client confirms ticks in groups of this size: each confirmation costs the client a system call, which ordinary
 * watches do not make.
 */
const CONFIRMED_TOGETHER = 8;
/** The number of ticks that are still to come in this run. Later ticks wait for the next run. */
let left = 0;
let unconfirmed = 0;
let done: () => void = () => {};

function confirm(): void {
  if (unconfirmed > 0) confirmations.write("+".repeat(unconfirmed));
  unconfirmed = 0;
}

const calls = {
  /** Starts to watch by the public API, event by event, like an application. */
  async watch({ port, confirmPort }: { port: number; confirmPort: number }): Promise<void> {
    confirmations = connectSocket(confirmPort, "127.0.0.1");
    confirmations.setNoDelay();
    // Enough credit for all ticks in flight: a watch that waits for credit would skip ticks, which would falsify the figures.
    const connection = await connect(`ws://127.0.0.1:${port}`, { creditBytes: 4_194_304 });
    void connection.watch().events.forEach((event) => {
      if (event.type === "record") {
        records++;
        sum += event.record.params.number("cpu.time")!;
      } else if (event.type === "sync") {
        unconfirmed++;
        if (left > 0) {
          if (unconfirmed >= CONFIRMED_TOGETHER) confirm();
          if (--left === 0) done();
        }
      } else if (event.type === "gap") {
        throw new Error("a tick was skipped: this is no measure");
      }
    });
  },
  /** Reads this number of ticks. */
  async ticks(count: number): Promise<{ seconds: number; cpuMicros: number; records: number }> {
    const cpu = cpuMicros();
    const start = performance.now();
    records = 0;
    const finished = new Promise<void>((resolve) => (done = resolve));
    left = count;
    confirm();
    await finished;
    if (!(sum > 0)) throw new Error("nothing came");
    return { seconds: (performance.now() - start) / 1000, cpuMicros: cpuMicros() - cpu, records };
  },
};
export type DeltasClientCalls = typeof calls;

answerCalls(calls);
