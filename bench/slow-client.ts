import { connect } from "../src/client/connect.ts";
import { registerDriver } from "../src/driver/registry.ts";
import { remoteDriver } from "../src/drivers/remote/driver.ts";
import { openNodeSocket } from "../src/drivers/remote/node-socket.ts";
import { answerCalls } from "./calls.ts";
import { GROUPS } from "./records.ts";

registerDriver("ws", remoteDriver(openNodeSocket));

/** How late each end of a sweep arrived after that sweep was over, in ms. */
let lateness: number[] = [];
/** When the sweeps began whose ends arrived. */
let began: number[] = [];
let skipped = 0;
let gaps = 0;
/** Since the last gap: the oldest record, as its age when it was handed over, in ms. */
let oldestMs = 0;
let records = 0;
let stop: (() => void) | undefined;

const calls = {
  /** Watches 10,000 domains, and stops pulling while `stop` says so. */
  async watch({ port }: { port: number }): Promise<void> {
    const connection = await connect(`ws://127.0.0.1:${port}`);
    let until = Promise.resolve();
    stopPulling = (promise) => {
      until = promise;
    };
    const { events } = connection.watch({ groups: GROUPS });
    void (async () => {
      for await (const event of events) {
        if (event.type === "record") {
          records++;
          oldestMs = Math.max(oldestMs, Date.now() - event.record.sampledAt);
        } else if (event.type === "gap") {
          gaps++;
          skipped += event.skipped ?? Number.NaN;
          oldestMs = 0;
          records = 0;
        } else if (event.type === "sync") {
          began.push(event.summary.startedAt);
          lateness.push(Date.now() - event.summary.startedAt - event.summary.tookMs);
          await until;
        }
      }
    })();
  },
  /** The figures since the last call. */
  async figures(): Promise<{
    lateness: number[];
    began: number[];
    skipped: number;
    gaps: number;
    oldestMs: number;
    records: number;
  }> {
    const figures = { lateness, began, skipped, gaps, oldestMs, records };
    lateness = [];
    began = [];
    skipped = 0;
    gaps = 0;
    return figures;
  },
  /** Stops pulling, but goes on reading the socket. */
  async sleep(): Promise<void> {
    stopPulling(new Promise((resolve) => (stop = resolve)));
  },
  async wake(): Promise<void> {
    stopPulling(Promise.resolve());
    stop?.();
  },
};
let stopPulling: (promise: Promise<void>) => void = () => {};
export type SlowClientCalls = typeof calls;

answerCalls(calls);
