import { invalid, type VirstreamError } from "./error.ts";
import { check, checkOptions, type Members, SIGNAL, whole } from "./options.ts";
import type { Domain, DomainStatsRecord, SweepSummary } from "./record.ts";

/**
 * A watch repeats a sweep until it is stopped. Its modes are the modes of gNMI's subscriptions (OpenConfig, "gRPC
 * Network Management Interface", 3.5.1.5.2): `sample` delivers every domain's record in every sweep; `on-change`
 * delivers a record only when its parameters, status or identity changed, and at least once per heartbeat.
 */
const WATCH_MODES = ["sample", "on-change"] as const;
/** The mode of a watch. */
export type WatchMode = (typeof WATCH_MODES)[number];

/** How to watch. Every member has a default. */
export interface WatchOptions {
  /**
   * The time from the start of a sweep to the start of the next, in ms, 10 to 3,600,000. Default 1,000. A server may
   * have a higher minimum and refuses a shorter interval.
   */
  readonly intervalMs?: number;
  /** Default `sample`. */
  readonly mode?: WatchMode;
  /**
   * With `on-change`: the longest time without a record of a domain that does not change, in ms, from the interval to
   * 86,400,000. Default 30,000, or the interval if that is longer.
   */
  readonly heartbeatMs?: number;
}

/** Checked options of a watch, with all defaults filled in: the form that drivers take and that is sent to a server. */
export interface Cadence {
  readonly intervalMs: number;
  readonly mode: WatchMode;
  /** 0 in the mode `sample`, in which every sweep delivers all records. */
  readonly heartbeatMs: number;
}

/** The shortest interval, in ms. */
export const MIN_INTERVAL_MS = 10;
/** The longest interval, in ms. */
export const MAX_INTERVAL_MS = 3_600_000;
/** The default interval, in ms. */
export const DEFAULT_INTERVAL_MS = 1_000;
/** The longest heartbeat, in ms. */
export const MAX_HEARTBEAT_MS = 86_400_000;
const DEFAULT_HEARTBEAT_MS = 30_000;

/**
 * The state of a source of records. `connected`: the source answers. `reconnecting`: the source cannot be reached; the
 * connection is retried with back-off. `degraded`: the watch has several hosts, and this host cannot be reached; the
 * other hosts continue. `removed`: a watch of several hosts no longer has this host; its domains are gone.
 */
export const WATCH_STATES = ["connected", "reconnecting", "degraded", "removed"] as const;
/** The state of a source of records. */
export type WatchState = (typeof WATCH_STATES)[number];

/**
 * Why sweeps were skipped. `slow-consumer`: the reader did not keep up, and got the newest state instead.
 * `reconnected`: the connection to the server was lost for so long that the server no longer had all missed sweeps.
 * `source`: the hypervisor could not be reached or could not be swept. `not-recorded`: a recording lacks the sweeps,
 * because the recorder did not run, or the file is damaged.
 */
export const GAP_REASONS = ["slow-consumer", "reconnected", "source", "not-recorded"] as const;
/** The reason of a gap. */
export type GapReason = (typeof GAP_REASONS)[number];

/** The end of a sweep: every record was delivered, except, in the mode `on-change`, the records that did not change. */
export interface SyncEvent {
  readonly type: "sync";
  /**
   * The number of this sweep, from 1. The numbering includes sweeps that a slow consumer in this process skipped. It
   * does not include sweeps that a server skipped or that failed; a `gap` reports each of these cases.
   */
  readonly tick: number;
  /**
   * The host that was swept. A watch of several hosts has a sync for each host, or one sync for all hosts: then `host`
   * has all names with commas between them.
   */
  readonly host: string;
  /** The result of the sweep. It also counts records that did not change and were not delivered. */
  readonly summary: SweepSummary;
  /**
   * The number of sweeps that were left out since the last sync. Sweeps never overlap: while a sweep takes longer than
   * the interval, the sweeps that are due are left out.
   */
  readonly overrun: number;
}

/**
 * Sweeps that this watch did not deliver. The newest record of every domain that changed during these sweeps follows,
 * and a `gone` for every domain that left.
 */
export interface GapEvent {
  readonly type: "gap";
  readonly reason: GapReason;
  /**
   * How many sweeps were not delivered; undefined when the number cannot be known, for example after a server's
   * restart.
   */
  readonly skipped: number | undefined;
  /** The host whose sweeps were not delivered; undefined: all hosts. */
  readonly host: string | undefined;
}

/** A source's state has changed. The watch reconnects by itself: the program need not act on this event. */
export interface StatusEvent {
  readonly type: "status";
  readonly state: WatchState;
  /** The host whose state has changed; undefined: the connection through which all hosts are read. */
  readonly host: string | undefined;
  /** Why the source is not connected; undefined if the state is `connected` or `removed`. */
  readonly error: VirstreamError | undefined;
}

/** An event of a watch. */
export type WatchEvent =
  /** One domain's record. */
  | { readonly type: "record"; readonly record: DomainStatsRecord }
  /** A domain does not exist any more. */
  | { readonly type: "gone"; readonly domain: Domain }
  | SyncEvent
  | GapEvent
  | StatusEvent;

/**
 * Receives the events of a watch. The source calls it synchronously and in order. It must not throw; it may stop the
 * watch from within a call.
 */
export interface WatchSink {
  /** A domain's record. */
  record(record: DomainStatsRecord): void;
  /** A domain is no longer there. */
  gone(domain: Domain): void;
  /** All other events. */
  event(event: SyncEvent | GapEvent | StatusEvent): void;
  /** The source has no more events for now, so the sink can send the events that it has buffered. */
  flush(): void;
  /**
   * The watch has ended permanently; nothing is called after this. With `end-of-recording` it has ended without a
   * failure.
   */
  end(error: VirstreamError): void;
  /**
   * Resolves when the sink's consumers have taken all events up to now; undefined if they already have. A source
   * that can wait, such as a recording, calls it after `flush`, so that no consumer skips anything. A sink without this
   * method takes everything at once.
   */
  ready?(): Promise<void> | undefined;
}

const WATCH_MEMBERS = {
  intervalMs: whole(MIN_INTERVAL_MS, MAX_INTERVAL_MS),
  mode: [WATCH_MODES.join(" or "), (mode) => WATCH_MODES.includes(mode as WatchMode)],
  heartbeatMs: undefined,
  signal: SIGNAL,
} satisfies Members;

/**
 * Checks the options of a watch, and fills in the defaults. It checks only the type of the signal, which is not part of
 * the result.
 *
 * @throws VirstreamError `invalid-argument`
 */
export function checkCadence(options: WatchOptions & { readonly signal?: AbortSignal } = {}): Cadence {
  checkOptions("a watch", options, WATCH_MEMBERS);
  const { intervalMs = DEFAULT_INTERVAL_MS, mode = "sample", heartbeatMs } = options;
  if (mode === "sample") {
    if (heartbeatMs !== undefined) throw invalid("heartbeatMs goes with the mode on-change");
    return { intervalMs, mode, heartbeatMs: 0 };
  }
  // `??` would be wrong: a value from the wire may be null, which is not the same as absent.
  const heartbeat = heartbeatMs === undefined ? Math.max(DEFAULT_HEARTBEAT_MS, intervalMs) : heartbeatMs;
  check("heartbeatMs", heartbeat, whole(intervalMs, MAX_HEARTBEAT_MS, `the interval, ${intervalMs},`));
  return { intervalMs, mode, heartbeatMs: heartbeat };
}
