import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { Authority } from "../../test/lab/certificates.ts";
import { BenchProcess } from "../process.ts";
import { SHAPE } from "../records.ts";
import type { HostsCalls } from "./hosts-process.ts";
import type { Point } from "./point.ts";
import type { Memory, ServeCalls } from "./serve-process.ts";
import type { SubscribersCalls } from "./subscribers-process.ts";

const PROGRAM = fileURLToPath(new URL("../../bin/virstream.js", import.meta.url));
/**
 * How many records the warm-up delivers before anything is measured: servers run for months, so code that is not
 * compiled yet must not count.
 */
const WARM_UP_RECORDS = 300_000;
const WARM_UP_MS = [3_000, 12_000] as const;
/** The wait after all subscribers have their first sweep, in ms. */
const SETTLE_MS = 2_000;
/** Each run measures several times, so that the spread shows how much the machine's other load disturbed it. */
const WINDOWS = 3;
/** How long each measurement takes, in ms. If the interval is longer, the measurement takes one interval. */
const WINDOW_MS = 3_000;
/** The server's limit of clients, which is above the number of subscribers. */
const CLIENTS = 2_000;
/** The shortest interval of the warm-up, in ms. */
const LEAST_MS = 20;

/** The figures of one measurement of a point. */
export interface Figures {
  /** Processor time per second, in ms; if there are scrapes, without the time that they took. */
  readonly cpuMs: number;
  /** Processor time of a scrape, in ms; undefined: there was none. */
  readonly scrapeMs?: number;
  /** Bytes of a scrape. */
  readonly scrapeBytes?: number;
  readonly memory: Memory;
  /** The longest delay of the event loop in the time that is measured, in ms. */
  readonly delayMs: number;
  /** The bytes to all subscribers together, per second. */
  readonly bytes: number;
  readonly messages: number;
  /**
   * The sweeps that arrived, of all hosts, divided by the sweeps that should have arrived; 1: no subscriber
   * missed a sweep.
   */
  readonly delivered: number;
}

/** Measures a `virstream serve` under this load. */
export async function measure(point: Point): Promise<Figures[]> {
  const folder = await mkdtemp(join(tmpdir(), "virstream-scale-"));
  try {
    return await measureWith(point, folder);
  } finally {
    await rm(folder, { recursive: true });
  }
}

async function measureWith(point: Point, folder: string): Promise<Figures[]> {
  const { hosts, domains, shape = SHAPE, subscribers, scrapes = 0, tls = false, largeHeap = false } = point;
  await using sources = await BenchProcess.start<HostsCalls>("scale/hosts-process.ts");
  await using clients = await BenchProcess.start<SubscribersCalls>("scale/subscribers-process.ts");
  const flags = ["--expose-gc", ...(largeHeap ? [] : ["--max-semi-space-size=4"])];
  await using server = await BenchProcess.start<ServeCalls>("scale/serve-process.ts", flags);
  const uris =
    hosts === 0
      ? [`test:///default?domains=${domains}&${shape}`]
      : await sources.call("listen", { hosts, domains, shape });
  const limits = { minIntervalMs: LEAST_MS, clients: CLIENTS, clientsPerAddress: CLIENTS, waitingPerAddress: CLIENTS };
  const config = join(folder, "virstream.toml");
  await writeFile(
    config,
    `[limits]\n${Object.entries(limits)
      .map((each) => `${each.join(" = ")}\n`)
      .join("")}`,
  );
  const args = ["serve", ...uris, "--config", config, "--listen", "127.0.0.1:0"];
  if (scrapes > 0) args.push("--metrics", "127.0.0.1:0");
  if (tls) {
    const authority = await Authority.create(folder, "virstream bench");
    const { certificate, key } = await authority.issue({ name: "localhost", hosts: ["DNS:localhost", "IP:127.0.0.1"] });
    args.push("--tls-cert", certificate, "--tls-key", key);
  }
  const [url, metrics] = await server.call("run", { program: PROGRAM, args, urls: scrapes > 0 ? 2 : 1 });

  const warmMs = Math.min(WARM_UP_MS[1], Math.max(WARM_UP_MS[0], domains));
  const intervalMs = Math.max(LEAST_MS, Math.ceil((warmMs * domains) / WARM_UP_RECORDS));
  await clients.call("subscribe", { url: url!, subscribers: { ...subscribers, count: 1, intervalMs } });
  await sleep(warmMs);
  await clients.call("leave");

  await clients.call("subscribe", { url: url!, subscribers });
  await sleep(subscribers.intervalMs + SETTLE_MS);
  const windowMs = Math.max(WINDOW_MS, subscribers.intervalMs);
  const windows: Omit<Figures, "memory">[] = [];
  for (let i = 0; i < WINDOWS; i++) windows.push(await measureWindow());
  const memory = await server.call("memory");
  return windows.map((window) => ({ ...window, memory }));

  async function measureWindow(): Promise<Omit<Figures, "memory">> {
    await server.call("longestDelay");
    const before = await clients.call("counts");
    const cpuMs = await spentIn(() => sleep(windowMs));
    const after = await clients.call("counts");
    const perSecond = (count: "bytes" | "messages" | "syncs"): number =>
      ((after[count] - before[count]) * 1_000) / windowMs;
    const due = (Math.max(1, hosts) * subscribers.count * 1_000) / subscribers.intervalMs;
    const figures = {
      ...{ cpuMs, bytes: perSecond("bytes"), messages: perSecond("messages") },
      delivered: due === 0 ? 1 : perSecond("syncs") / due,
    };
    if (scrapes === 0) return { ...figures, delayMs: await server.call("longestDelay") };
    let scrapeBytes = 0;
    const scrape = async (): Promise<void> => {
      const answer = await fetch(metrics!);
      scrapeBytes = (await answer.arrayBuffer()).byteLength;
    };
    await scrape();
    await server.call("longestDelay");
    const withScrapes = await spentIn(async () => {
      for (let i = 0; i < scrapes; i++) await Promise.all([scrape(), sleep(windowMs / scrapes)]);
    });
    const scrapeMs = ((withScrapes - cpuMs) * windowMs) / 1_000 / scrapes;
    return { ...figures, scrapeMs, scrapeBytes, delayMs: await server.call("longestDelay") };
  }

  /** Processor time of the server per second, in ms. */
  async function spentIn(work: () => Promise<unknown>): Promise<number> {
    const before = await server.call("spent");
    await work();
    const after = await server.call("spent");
    return (after.cpu - before.cpu) / (after.at - before.at);
  }
}
