import { connect } from "../src/client/connect.ts";
import { registerDriver } from "../src/driver/registry.ts";
import { openRemote } from "../src/drivers/remote/node-driver.ts";
import { answerCalls, cpuMicros } from "./calls.ts";
import { connectGrpc } from "./wire-grpc.ts";
import { connectJson } from "./wire-json.ts";
import { connectPipe } from "./wire-pipe.ts";
import type { Transport } from "./wire-server.ts";

/** A function that runs a sweep of `domains` records and reads one value of each. */
type RunSweep = (domains: number, touch: (value: number) => void) => Promise<void>;

registerDriver("ws", openRemote);

let runSweep: RunSweep;

const calls = {
  async connect({ transport, port }: { transport: Transport; port: number }): Promise<void> {
    switch (transport) {
      case "virstream":
        runSweep = await connectVirstream(port);
        break;
      case "grpc":
        runSweep = connectGrpc(port, "exact");
        break;
      case "grpc-number":
        runSweep = connectGrpc(port, "number");
        break;
      case "grpc-tuned":
        runSweep = connectGrpc(port, "tuned");
        break;
      case "json":
        runSweep = await connectJson(port);
        break;
      case "pipe":
        runSweep = await connectPipe(port);
    }
  },
  /** Runs a sweep, from the request to the last record. */
  async sweep(domains: number): Promise<{ seconds: number; cpuMicros: number }> {
    let records = 0;
    let sum = 0;
    const cpu = cpuMicros();
    const start = performance.now();
    await runSweep(domains, (value) => {
      records++;
      sum += value;
    });
    const seconds = (performance.now() - start) / 1000;
    if (records !== domains || !(sum > 0)) throw new Error(`${records} of ${domains} records came`);
    return { seconds, cpuMicros: cpuMicros() - cpu };
  },
};
export type WireClientCalls = typeof calls;

/** Reads records by the public API, one by one, like an application. */
async function connectVirstream(port: number): Promise<RunSweep> {
  const connection = await connect(`ws://127.0.0.1:${port}`);
  return (_domains, touch) =>
    connection.stats().forEach(({ params }) => {
      touch(params.number("cpu.time")!);
    });
}

answerCalls(calls);
