import { monitorEventLoopDelay } from "node:perf_hooks";
import type { Sampling, SamplingFigures } from "../sampling/sampling.ts";

/** The health of a server. There is no status for a server that is down, because it does not answer. */
export interface ServerHealth {
  /** `degraded`: a watched host cannot be reached at present, or failed every record of its last sweep. */
  readonly status: "ok" | "degraded";
  readonly clients: number;
  readonly watches: number;
  /**
   * How many of the watched sources cannot be reached, or failed every record; with viewers, the server counts this for
   * each viewer, and shows the largest number.
   */
  readonly sourcesAbsent: number;
}

/** The metrics of a server: counters since its start, and gauges where marked. Every member is always present. */
export interface ServerFigures {
  /** The program and its version. */
  readonly server: string;
  /** The hosts that are served, by name. */
  readonly host: string;
  readonly hypervisor: string;
  /** Different for each start of the server. Clients with a viewer's token get another epoch. */
  readonly epoch: string;
  /** Seconds since the server's start; a gauge. */
  readonly uptimeSeconds: number;
  /** Clients that are connected now; a gauge. */
  readonly clients: number;
  /** Connections that were accepted. */
  readonly clientsAccepted: number;
  /** Single sweeps of clients that are under way; a gauge. */
  readonly sweepsServed: number;
  /** Watches of clients; a gauge. */
  readonly watches: number;
  /**
   * Channels: one for each query, cadence and encoding. Clients with different lists of visible domains, or of groups,
   * have separate channels. A gauge.
   */
  readonly channels: number;
  /**
   * Bytes of messages that the channels keep for clients that are late or come back; a gauge. A limit has the same
   * name.
   */
  readonly ringBytes: number;
  /** Records of the snapshots that are being sent; a gauge. A limit has the same name. */
  readonly snapshotRecords: number;
  /** Sweeps and watches of all clients that may see every domain, and of programs in this process. */
  readonly sampling: SamplingFigures;
  /**
   * The same figures for each list of visible domains, with the names of the viewers and of the connected principals
   * that have this list.
   */
  readonly viewers: readonly { readonly names: readonly string[]; readonly sampling: SamplingFigures }[];
  readonly messagesSent: number;
  readonly bytesSent: number;
  /** Delay of the event loop in the last 30 to 60 s, in ms; gauges. */
  readonly eventLoopDelayMs: { readonly mean: number; readonly p99: number; readonly max: number };
  readonly memoryBytes: { readonly rss: number; readonly heapUsed: number };
}

/**
 * If every record fails in a sweep with at least this deadline, the source does not work. With a shorter deadline, the
 * source may just be slow.
 */
const TELLING_DEADLINE_MS = 1_000;

/**
 * How many watched sources cannot be reached at present, or sent only failed records in the last sweep of all domains.
 * A sweep with a short deadline does not count, because it says nothing about the source.
 */
export function absentSources({ watched }: Sampling): number {
  const hosts = new Set<string | undefined>();
  for (const { query, feeds } of watched.values()) {
    const telling = (query.domains ?? query.names) === undefined && query.deadlineMs >= TELLING_DEADLINE_MS;
    for (const feed of feeds.values()) {
      for (const { host } of feed.statuses) hosts.add(host);
      for (const host of telling ? feed.failing : []) hosts.add(host);
    }
  }
  return hosts.size;
}

const RESOLUTION_MS = 10;
const ROTATION_MS = 30_000;

/**
 * Measures how late timers are, which shows how long clients wait when a server is too busy. Figures since the start would hide
 * the present, and figures since the last request would be wrong with two monitors. So there are two histograms. Each restarts
 * every 60 s, 30 s after the other, and the older one gives the figures.
 */
export class EventLoopDelay {
  /** The older histogram comes first. */
  readonly #histograms = [0, 1].map(() => monitorEventLoopDelay({ resolution: RESOLUTION_MS }));
  readonly #timer = setInterval(() => this.rotate(), ROTATION_MS).unref();

  constructor() {
    for (const histogram of this.#histograms) histogram.enable();
  }

  /** The figures of the last 30 to 60 s. */
  get figures(): ServerFigures["eventLoopDelayMs"] {
    const histogram = this.#histograms[0]!;
    // The histogram contains the times between two runs of its timer. The part of such a time beyond RESOLUTION_MS is
    // delay.
    const late = (nanoseconds: number): number =>
      Number.isFinite(nanoseconds) ? Math.max(0, nanoseconds / 1e6 - RESOLUTION_MS) : 0;
    return { mean: late(histogram.mean), p99: late(histogram.percentile(99)), max: late(histogram.max) };
  }

  /** Resets the older histogram, and makes the other one the older. A timer calls this every 30 s. */
  rotate(): void {
    this.#histograms[0]!.reset();
    this.#histograms.reverse();
  }

  close(): void {
    clearInterval(this.#timer);
    for (const histogram of this.#histograms) histogram.disable();
  }
}
