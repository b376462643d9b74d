import { VirstreamError } from "./error.ts";
import { checkMembers } from "./members.ts";
import type { Domain, DomainStatsRecord, SweepSummary } from "./record.ts";

/**
 * Watching: sweeps that repeat, for as long as somebody listens. The modes are those of gNMI's subscriptions (OpenConfig,
 * "gRPC Network Management Interface", 3.5.1.5.2): `sample` gives every domain's record in every sweep, `on-change` only
 * those whose parameters, status or identity changed, and each at least once per heartbeat.
 */
export const WATCH_MODES = ["sample", "on-change"] as const;
/** One of them. */
export type WatchMode = (typeof WATCH_MODES)[number];

/** How to watch. Everything may be left out. */
export interface WatchOptions {
  /**
   * The time between the beginnings of two sweeps, in ms, 10 to 3,600,000. Default 1,000. A server may have a higher
   * minimum; what is below it is refused, not rounded.
   */
  readonly intervalMs?: number;
  /** Default `sample`. */
  readonly mode?: WatchMode;
  /**
   * With `on-change`: a domain that does not change has its record at least this often, in ms, from the interval to
   * 86,400,000. Default 30,000, or the interval where that is more.
   */
  readonly heartbeatMs?: number;
}

/** How to watch, checked, with every default in it. This is what drivers get, and what travels. */
export interface Cadence {
  readonly intervalMs: number;
  readonly mode: WatchMode;
  /** 0 in the mode `sample`, where every sweep is one. */
  readonly heartbeatMs: number;
}

/** The shortest interval that can be asked for, in ms. */
export const MIN_INTERVAL_MS = 10;
/** The longest, in ms. */
export const MAX_INTERVAL_MS = 3_600_000;
/** The interval unless a watch says otherwise, in ms. */
export const DEFAULT_INTERVAL_MS = 1_000;
const DEFAULT_HEARTBEAT_MS = 30_000;
const MAX_HEARTBEAT_MS = 86_400_000;

/**
 * How a source of records is doing. `connected`: it answers. `reconnecting`: it cannot be reached, which is tried again
 * with growing waits. `degraded`: of several hosts that are watched as one, this one is absent; the others go on.
 */
export const WATCH_STATES = ["connected", "reconnecting", "degraded"] as const;
/** One of them. */
export type WatchState = (typeof WATCH_STATES)[number];

/**
 * Why sweeps were skipped. `slow-consumer`: their reader did not keep up, and got the newest state instead.
 * `reconnected`: the connection to the server was lost for longer than the server remembers. `source`: the hypervisor
 * could not be reached, or swept.
 */
export const GAP_REASONS = ["slow-consumer", "reconnected", "source"] as const;
/** One of them. */
export type GapReason = (typeof GAP_REASONS)[number];

/** The end of a sweep: every domain has had its record, or in the mode `on-change` has none because it did not change. */
export interface SyncEvent {
  readonly type: "sync";
  /**
   * Counts the sweeps of this watch, from 1. It jumps over sweeps that a slow consumer in this process skipped; what was
   * skipped at a server, or could not be swept, is not counted: a `gap` tells of either.
   */
  readonly tick: number;
  /** The host that was swept. A watch of several hosts has a sync for each. */
  readonly host: string;
  /** Counts by status, when it began, how long it took. They count what was swept, also where nothing changed. */
  readonly summary: SweepSummary;
  /** How many sweeps were left out since the sync before, because one outlasted the interval: sweeps never overlap. */
  readonly overrun: number;
}

/**
 * Sweeps that this watch did not deliver. What follows is newer than they were; every domain whose record is newer comes
 * with its newest one, and those that left meanwhile are `gone`.
 */
export interface GapEvent {
  readonly type: "gap";
  readonly reason: GapReason;
  /** How many sweeps; undefined where nobody can know, as after a server's restart. */
  readonly skipped: number | undefined;
  /** The host whose sweeps they were; undefined: of all. */
  readonly host: string | undefined;
}

/** A source's state has changed. A watch goes on by itself; there is nothing to do but to know. */
export interface StatusEvent {
  readonly type: "status";
  readonly state: WatchState;
  /** The host it is about; undefined: the way to all of them. */
  readonly host: string | undefined;
  /** Why, unless it is connected. */
  readonly error: VirstreamError | undefined;
}

/** What happens in a watch. */
export type WatchEvent =
  /** One domain's record. */
  | { readonly type: "record"; readonly record: DomainStatsRecord }
  /** A domain is no longer there. */
  | { readonly type: "gone"; readonly domain: Domain }
  | SyncEvent
  | GapEvent
  | StatusEvent;

/**
 * Receives what happens in a watch. The source calls it synchronously, in order; it must not throw, and it may stop the
 * watch from within a call.
 */
export interface WatchSink {
  /** A domain's record. */
  record(record: DomainStatsRecord): void;
  /** A domain is no longer there. */
  gone(domain: Domain): void;
  /** All other events. */
  event(event: SyncEvent | GapEvent | StatusEvent): void;
  /** There is nothing more for now: what was gathered may go out. */
  flush(): void;
  /** The watch has ended for good; nothing is called after this. */
  end(error: VirstreamError): void;
}

const WATCH_MEMBERS = ["intervalMs", "mode", "heartbeatMs"];

/**
 * Checks how to watch, and fills in the defaults.
 *
 * @param minIntervalMs the shortest interval that is allowed here
 * @throws VirstreamError `invalid-argument`
 */
export function checkCadence(options: WatchOptions = {}, minIntervalMs = MIN_INTERVAL_MS): Cadence {
  checkMembers(options, WATCH_MEMBERS, "a watch");
  const { intervalMs = DEFAULT_INTERVAL_MS, mode = "sample", heartbeatMs } = options;
  if (!Number.isInteger(intervalMs) || intervalMs < MIN_INTERVAL_MS || intervalMs > MAX_INTERVAL_MS) {
    throw invalid(
      `intervalMs must be a whole number from ${MIN_INTERVAL_MS} to ${MAX_INTERVAL_MS}, not ${JSON.stringify(intervalMs)}`,
    );
  }
  if (intervalMs < minIntervalMs) {
    throw invalid(
      `the interval of ${intervalMs} ms is too short for this server: ask for ${minIntervalMs} ms or more (its --min-interval says what it allows)`,
    );
  }
  if (!WATCH_MODES.includes(mode)) {
    throw invalid(`unknown mode ${JSON.stringify(mode)}: the modes are ${WATCH_MODES.join(" and ")}`);
  }
  if (mode === "sample") {
    if (heartbeatMs !== undefined) throw invalid("heartbeatMs goes with the mode on-change: a sample is one anyway");
    return { intervalMs, mode, heartbeatMs: 0 };
  }
  const heartbeat = heartbeatMs ?? Math.max(DEFAULT_HEARTBEAT_MS, intervalMs);
  if (!Number.isInteger(heartbeat) || heartbeat < intervalMs || heartbeat > MAX_HEARTBEAT_MS) {
    throw invalid(
      `heartbeatMs must be a whole number from the interval, ${intervalMs}, to ${MAX_HEARTBEAT_MS}, not ${JSON.stringify(heartbeat)}`,
    );
  }
  return { intervalMs, mode, heartbeatMs: heartbeat };
}

function invalid(message: string): VirstreamError {
  return new VirstreamError("invalid-argument", message);
}
