import { monitorEventLoopDelay } from "node:perf_hooks";
import type { Sampling, SamplingFigures } from "../sampling/sampling.ts";

/** The health of a server. There is no status for a server that is down, because it does not answer. */
export interface ServerHealth {
  /** `degraded` if `sourcesAbsent` is more than 0. */
  readonly status: "ok" | "degraded";
  readonly clients: number;
  readonly watches: number;
  /**
   * How many hosts are absent: a host that cannot be reached at present, or whose records all failed in the last sweep
   * of all domains. The value is the larger of two numbers: how many of the watched hosts are absent, and how many
   * hosts the connection itself knows to be lost. Watched hosts are counted separately for each list of visible
   * domains, and the largest of these counts is used.
   */
  readonly sourcesAbsent: number;
}

/**
 * The metrics of a server. A figure that is marked as a gauge is a present value. The other figures count from the
 * server's start; those of `sampling` count from the start of the Connection that is served. Every member is always
 * present.
 */
export interface ServerFigures {
  /** The program and its version. */
  readonly server: string;
  /** The names of the hosts that are served, separated by commas. */
  readonly host: string;
  readonly hypervisor: string;
  /**
   * An identifier that is different for each start of the server. Clients that may see only some domains or groups get
   * an epoch that differs from this one.
   */
  readonly epoch: string;
  /** Seconds since the server's start; a gauge. */
  readonly uptimeSeconds: number;
  /** Connected clients whose hello was accepted; a gauge. */
  readonly clients: number;
  /** WebSocket connections that the server accepted, also if the client then sent no valid hello. */
  readonly clientsAccepted: number;
  /** Single sweeps of clients that are under way; a gauge. */
  readonly sweepsServed: number;
  /** Watches of clients; a gauge. */
  readonly watches: number;
  /**
   * Channels; a gauge. There is one for each query, cadence and encoding that clients watch. Clients with different
   * lists of visible domains, or with different lists of permitted groups, have separate channels.
   */
  readonly channels: number;
  /**
   * Bytes of messages that the channels keep for clients that are late or come back; a gauge. The limit of the same
   * name bounds it.
   */
  readonly ringBytes: number;
  /** Records of the snapshots that are being sent; a gauge. The limit of the same name bounds it. */
  readonly snapshotRecords: number;
  /** Sweeps and watches of all clients that may see every domain, and of programs in this process. */
  readonly sampling: SamplingFigures;
  /**
   * The same figures for each restriction that shows only some domains, with the names of the viewers and of the
   * connected principals that have this restriction.
   */
  readonly viewers: readonly { readonly names: readonly string[]; readonly sampling: SamplingFigures }[];
  readonly messagesSent: number;
  readonly bytesSent: number;
  /** Delay of the event loop in the last 30 to 60 s, in ms; gauges. */
  readonly eventLoopDelayMs: { readonly mean: number; readonly p99: number; readonly max: number };
  /** Memory of the whole process, in bytes; gauges. */
  readonly memoryBytes: { readonly rss: number; readonly heapUsed: number };
}

/**
 * If every record fails in a sweep with a deadline of this many ms or more, the source does not work. With a shorter
 * deadline, the source may just be slow.
 */
const TELLING_DEADLINE_MS = 1_000;

/**
 * How many watched hosts cannot be reached at present, or had only failed records in their last sweep of all domains. A
 * sweep with a deadline below TELLING_DEADLINE_MS does not count.
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
 * Measures how late timers fire, which shows how long clients wait when the server is too busy. Figures since the
 * server's start would hide its present state. Figures since the last request would be wrong if two monitoring programs
 * ask. So there are two histograms. Each restarts every 60 s, 30 s after the other, and the histogram that restarted
 * earlier gives the figures.
 */
export class EventLoopDelay {
  /** The histogram that restarted earlier comes first. */
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

  /** Restarts the first histogram, and puts it in second place. A timer calls this every 30 s. */
  rotate(): void {
    this.#histograms[0]!.reset();
    this.#histograms.reverse();
  }

  close(): void {
    clearInterval(this.#timer);
    for (const histogram of this.#histograms) histogram.disable();
  }
}
