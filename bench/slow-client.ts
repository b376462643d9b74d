import { connect } from "../src/client/connect.ts";
import { registerDriver } from "../src/driver/registry.ts";
import { openRemote } from "../src/drivers/remote/node-driver.ts";
import { answerCalls } from "./calls.ts";
import { GROUPS } from "./records.ts";

registerDriver("ws", openRemote);

/** For each `sync`, the time from the end of its sweep until the `sync` arrived, in ms. */
let lateness: number[] = [];
/** For each `sync`, the start of its sweep, in ms since 1970. */
let began: number[] = [];
let skipped = 0;
let gaps = 0;
/**
 * The greatest age of a record at the time when the application got it, among the records since the last gap, in ms.
 */
let oldestMs = 0;
let stop: (() => void) | undefined;

const calls = {
  /** Watches all domains of the server. Between the calls of `sleep` and `wake`, it pulls no events. */
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
          oldestMs = Math.max(oldestMs, Date.now() - event.record.sampledAt);
        } else if (event.type === "gap") {
          gaps++;
          skipped += event.skipped ?? Number.NaN;
          oldestMs = 0;
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
  }> {
    const figures = { lateness, began, skipped, gaps, oldestMs };
    lateness = [];
    began = [];
    skipped = 0;
    gaps = 0;
    return figures;
  },
  /** Stops pulling, but continues to read the socket. */
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
