import { type IntervalHistogram, monitorEventLoopDelay } from "node:perf_hooks";
import type { SamplingFigures } from "../sampling/sampling.ts";

/** Whether a server is well. It says so itself: whoever can read it knows that it runs. */
export interface ServerHealth {
  /** `degraded`: a hypervisor, or one of several hosts, that is watched cannot be reached at present. */
  readonly status: "ok" | "degraded";
  readonly clients: number;
  readonly watches: number;
  /** How many of the sources that are watched cannot be reached; with viewers, the most that any one of them lacks. */
  readonly sourcesAbsent: number;
}

/** How a server is doing. Counters since its start unless said otherwise; no member is ever left out. */
export interface ServerFigures {
  /** The program and its version. */
  readonly server: string;
  /** The hosts that are served, by name. */
  readonly host: string;
  readonly hypervisor: string;
  /** Different for each start; clients that show a viewer's token are told another one. */
  readonly epoch: string;
  /** Since its start; a gauge. */
  readonly uptimeSeconds: number;
  /** Connected now; a gauge. */
  readonly clients: number;
  /** Connections that were accepted. */
  readonly clientsAccepted: number;
  /** Single sweeps of clients that are under way; a gauge. */
  readonly sweepsServed: number;
  /** Watches of clients; a gauge. */
  readonly watches: number;
  /** What serves them: one for each query, cadence and encoding, apart for each viewer; a gauge. */
  readonly channels: number;
  /** Sweeps and watching, over all who use the connection and may see everything, in this process, too. */
  readonly sampling: SamplingFigures;
  /** The same for each viewer; none where there are no viewers. */
  readonly viewers: readonly { readonly name: string; readonly sampling: SamplingFigures }[];
  readonly messagesSent: number;
  readonly bytesSent: number;
  /** How long the event loop was busy beyond its time, in the last 30 to 60 s, whoever asks, in ms; gauges. */
  readonly eventLoopDelayMs: { readonly mean: number; readonly p99: number; readonly max: number };
  readonly memoryBytes: { readonly rss: number; readonly heapUsed: number };
}

/**
 * Measures how late timers are: what a server's clients wait for when it is too busy. Figures of the whole time hide what
 * is now, and figures since the last question are no use to two who ask. So there are two histograms, each begun anew
 * every 60 s and 30 s after the other, and it is the older that answers.
 */
export class EventLoopDelay {
  static readonly RESOLUTION_MS = 10;
  static readonly ROTATION_MS = 30_000;
  #older: IntervalHistogram = monitorEventLoopDelay({ resolution: EventLoopDelay.RESOLUTION_MS });
  #newer: IntervalHistogram = monitorEventLoopDelay({ resolution: EventLoopDelay.RESOLUTION_MS });
  readonly #timer: NodeJS.Timeout;

  constructor() {
    this.#older.enable();
    this.#newer.enable();
    this.#timer = setInterval(() => this.rotate(), EventLoopDelay.ROTATION_MS).unref();
  }

  /** The figures since the last rotation but one; at the beginning, since that. */
  get figures(): ServerFigures["eventLoopDelayMs"] {
    const histogram = this.#older;
    // It measures from timer to timer: what is above the timer's own time is delay.
    const late = (nanoseconds: number): number =>
      Number.isFinite(nanoseconds) ? Math.max(0, nanoseconds / 1e6 - EventLoopDelay.RESOLUTION_MS) : 0;
    return { mean: late(histogram.mean), p99: late(histogram.percentile(99)), max: late(histogram.max) };
  }

  /** Forgets what the older histogram knows, and lets the other one answer. It does so by itself, every 30 s. */
  rotate(): void {
    this.#older.reset();
    [this.#older, this.#newer] = [this.#newer, this.#older];
  }

  close(): void {
    clearInterval(this.#timer);
    this.#older.disable();
    this.#newer.disable();
  }
}
