import { setTimeout as sleep } from "node:timers/promises";
import { expect } from "vitest";
import { connectTo } from "../server/serving.ts";
import { until } from "../until.ts";
import type { AttackedServers, Certificates } from "./attacked-servers.ts";
import type { Target } from "./inputs/input.ts";
import type { AttackedFigures } from "./server-process.ts";
import { MIN_INTERVAL_MS, TOKEN } from "./sites.ts";

/** How long a server may take to notice that clients have gone. */
const SETTLED_MS = 30_000;
const COUNTS = ["descriptors", "timers", "clients", "watches", "sweeps", "channels"] as const;

/** What an attack works with. */
export interface Attack {
  readonly target: Target;
  /** Waits until nothing is left of the clients, and returns the figures of the servers then. @param after what came before, for people */
  settled(after: string): Promise<AttackedFigures>;
}

/** Attacks servers, which have one good subscriber for each of the two sites, if they have both. It must miss no tick. */
export async function attackWatched(
  servers: AttackedServers,
  certificates: Certificates | undefined,
  attack: (attack: Attack) => Promise<void>,
): Promise<void> {
  const target = { ports: servers.ports, certificates };
  const urls = [
    `ws://127.0.0.1:${servers.ports.guarded}`,
    ...(certificates ? [`wss://127.0.0.1:${servers.ports.tls}`] : []),
  ];
  const subscribers = await Promise.all(
    urls.map(async (url) => {
      const connection = await connectTo(url, { token: TOKEN, ...(certificates && { ca: certificates.ca }) });
      const ticks: number[] = [];
      const gaps: string[] = [];
      const { events } = connection.watch({}, { intervalMs: MIN_INTERVAL_MS });
      const ended = events.forEach((event) => {
        if (event.type === "sync") ticks.push(event.tick);
        else if (event.type === "gap" || event.type === "status") gaps.push(event.type);
      });
      return { connection, ticks, gaps, ended };
    }),
  );
  const everyTick = (number: number) => until(() => subscribers.every(({ ticks }) => ticks.length >= number));
  await everyTick(2);
  const before = await servers.figures();
  await attack({ target, settled: (after) => settled(servers, before, after) });
  await everyTick(Math.max(...subscribers.map(({ ticks }) => ticks.length)) + 1);
  for (const { connection, ticks, gaps, ended } of subscribers) {
    expect(gaps).toEqual([]);
    expect(ticks).toEqual(ticks.map((_, i) => ticks[0]! + i));
    await connection.close();
    await ended.catch(() => {});
  }
}

async function settled(servers: AttackedServers, before: AttackedFigures, after: string): Promise<AttackedFigures> {
  const deadline = performance.now() + SETTLED_MS;
  for (;;) {
    const figures = await servers.figures();
    const left = COUNTS.filter((name) => figures[name] > before[name]);
    if (left.length === 0) return figures;
    const shown = left.map((name) => `${figures[name]} ${name} instead of ${before[name]}`);
    expect(performance.now(), `after ${after}: ${shown}`).toBeLessThan(deadline);
    await sleep(20);
  }
}
