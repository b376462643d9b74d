import { connect } from "../../src/client/connect.ts";
import { registerDriver } from "../../src/driver/registry.ts";
import { openRemote } from "../../src/drivers/remote/node-driver.ts";
import { TOKEN } from "../../test/hostile/input.ts";
import { answerCalls } from "../calls.ts";

registerDriver("ws", openRemote);

let ticks = 0;
let skipped = 0;
let longestMs = 0;
let last: number | undefined;

const calls = {
  /** Watches. */
  async watch({ port, intervalMs }: { readonly port: number; readonly intervalMs: number }): Promise<void> {
    const connection = await connect(`ws://127.0.0.1:${port}`, { token: TOKEN });
    void connection.watch({}, { intervalMs }).events.forEach((event) => {
      if (event.type === "gap") skipped++;
      if (event.type !== "sync") return;
      const now = performance.now();
      if (last !== undefined) longestMs = Math.max(longestMs, now - last);
      last = now;
      ticks++;
      skipped += event.overrun;
    });
  },
  /** What came since the last call; `skipped` are ticks that the server left out, and gaps. */
  async figures(): Promise<{ ticks: number; skipped: number; longestMs: number }> {
    const figures = { ticks, skipped, longestMs };
    [ticks, skipped, longestMs] = [0, 0, 0];
    return figures;
  },
};
export type HostileSubscriberCalls = typeof calls;

answerCalls(calls);
