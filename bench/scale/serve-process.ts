import { monitorEventLoopDelay } from "node:perf_hooks";
import { pathToFileURL } from "node:url";
import { answerCalls, cpuMicros, peakMemory } from "../calls.ts";

/** What the process has used so far. */
export interface Spent {
  /** Processor time of all threads, in µs. */
  readonly cpu: number;
  /** When the process gave these figures, in ms of a steady clock. */
  readonly at: number;
}

/** The memory of the process, in bytes. */
export interface Memory {
  /** Objects, and buffers outside of V8's heap, after garbage was collected. */
  readonly heap: number;
  /** The resident memory before that collection, and its peak. */
  readonly rss: number;
  readonly peak: number;
}

const delays = monitorEventLoopDelay({ resolution: 20 });
delays.enable();

const calls = {
  /**
   * Runs `virstream` in this process, which differs from that of the command only by the answers to these calls.
   * Returns the addresses that it prints.
   */
  async run({ program, args, urls }: { program: string; args: string[]; urls: number }): Promise<string[]> {
    process.argv = [process.execPath, program, ...args];
    const printed: string[] = [];
    const { stdout } = process;
    const write = stdout.write;
    const all = new Promise<string[]>((resolve) => {
      stdout.write = (text: string | Uint8Array, ...rest: unknown[]): boolean => {
        if (typeof text === "string" && text.includes("://")) printed.push(text.trim());
        if (printed.length === urls) resolve(printed);
        const done = rest.find((each) => typeof each === "function");
        if (done !== undefined) (done as () => void)();
        return true;
      };
    });
    // Not awaited, because the import ends only when the command ends.
    void import(pathToFileURL(program).href);
    const result = await all;
    stdout.write = write;
    return result;
  },
  async spent(): Promise<Spent> {
    return { cpu: cpuMicros(), at: performance.now() };
  },
  /** The longest delay of the event loop since the last call, in ms. */
  async longestDelay(): Promise<number> {
    const { max } = delays;
    delays.reset();
    return max / 1e6;
  },
  async memory(): Promise<Memory> {
    const { rss } = process.memoryUsage();
    const peak = peakMemory() * 2 ** 20;
    for (let turn = 0; turn < 3; turn++) {
      await new Promise((resolve) => setImmediate(resolve));
      globalThis.gc!();
    }
    const { heapUsed, external } = process.memoryUsage();
    return { heap: heapUsed + external, rss, peak };
  },
};
export type ServeCalls = typeof calls;

answerCalls(calls);
