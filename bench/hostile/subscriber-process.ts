import { connect } from "../../src/client/connect.ts";
import { registerDriver } from "../../src/driver/registry.ts";
import { openRemote } from "../../src/drivers/remote/node-driver.ts";
import { TOKEN } from "../../test/hostile/sites.ts";
import { answerCalls } from "../calls.ts";

for (const scheme of ["ws", "wss"]) registerDriver(scheme, openRemote);

/** The figures of all subscribers since the last call. */
export interface SubscriberFigures {
  /** The ticks of the subscriber that got fewest, and of the subscriber that got most. */
  readonly ticks: number;
  readonly mostTicks: number;
  /** Ticks that the server left out, plus gaps: the largest number that a single subscriber has. */
  readonly skipped: number;
  /** Ticks that are missing between the ticks that came, or came twice: the largest number of a single subscriber. */
  readonly lost: number;
  readonly longestMs: number;
}

interface Seen {
  ticks: number;
  skipped: number;
  lost: number;
  longestMs: number;
  at: number | undefined;
  tick: number | undefined;
}

const subscribers: Seen[] = [];

const calls = {
  /** Opens a connection to each address, and a watch on each connection. */
  async watch({ urls, ca, intervalMs }: WatchOptions): Promise<void> {
    for (const url of urls) {
      const seen: Seen = { ticks: 0, skipped: 0, lost: 0, longestMs: 0, at: undefined, tick: undefined };
      subscribers.push(seen);
      const connection = await connect(url, { token: TOKEN, ...(url.startsWith("wss:") && { ca }) });
      void connection.watch({}, { intervalMs }).events.forEach((event) => {
        if (event.type === "gap") seen.skipped++;
        if (event.type !== "sync") return;
        const now = performance.now();
        if (seen.at !== undefined) seen.longestMs = Math.max(seen.longestMs, now - seen.at);
        if (seen.tick !== undefined) seen.lost += Math.abs(event.tick - seen.tick - 1);
        seen.at = now;
        seen.tick = event.tick;
        seen.ticks++;
        seen.skipped += event.overrun;
      });
    }
  },
  async figures(): Promise<SubscriberFigures> {
    const most = (figure: (seen: Seen) => number): number => Math.max(...subscribers.map(figure));
    const figures = {
      ticks: Math.min(...subscribers.map(({ ticks }) => ticks)),
      mostTicks: most(({ ticks }) => ticks),
      skipped: most(({ skipped }) => skipped),
      lost: most(({ lost }) => lost),
      longestMs: most(({ longestMs }) => longestMs),
    };
    for (const seen of subscribers) Object.assign(seen, { ticks: 0, skipped: 0, lost: 0, longestMs: 0 });
    return figures;
  },
};
export type HostileSubscriberCalls = typeof calls;

interface WatchOptions {
  readonly urls: readonly string[];
  readonly ca: string;
  readonly intervalMs: number;
}

answerCalls(calls);
