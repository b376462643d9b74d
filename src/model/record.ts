import { invalid, VirstreamError } from "./error.ts";
import type { Group } from "./group.ts";
import { type StateWords, stateWords } from "./state.ts";
import { type TypedParams, typesOf } from "./typed-params.ts";
import { NIL_UUID } from "./uuid.ts";

/** The identity of a domain on its host. The uuid is the key: names are reused and changed. */
export interface DomainIdentity {
  /** Lower case, with dashes. */
  readonly uuid: string;
  readonly name: string;
  /** The hypervisor's number of the running domain; −1 when it is not running. */
  readonly id: number;
  /** The name of its host. */
  readonly host: string;
}

/**
 * A key for a domain over all hosts: its host and uuid, because during a migration two hosts have a domain of the same
 * uuid. A domain that was asked for by name and does not exist has no uuid; its key has the name.
 */
export function domainKey({ host, uuid, name }: DomainIdentity): string {
  return `${host}\n${uuid === NIL_UUID ? name : uuid}`;
}

/** A domain as a connection returned it. It belongs to that connection: only that connection takes it in a query. */
export class Domain implements DomainIdentity {
  readonly uuid: string;
  readonly name: string;
  readonly id: number;
  readonly host: string;
  #driver: object | undefined;

  /** @param driver the driver that the domain belongs to; a query accepts only domains of its own driver */
  constructor(uuid: string, name: string, id: number, host: string, driver?: object) {
    this.uuid = uuid;
    this.name = name;
    this.id = id;
    this.host = host;
    this.#driver = driver;
  }

  /** True if a domain belongs to this driver; a domain without a driver belongs to every driver. */
  static belongsTo(domain: Domain, driver: object): boolean {
    return domain.#driver === undefined || domain.#driver === driver;
  }
}

/**
 * `ok`: the record has everything that was asked for. `partial`: it lacks the groups in `missing`. `failed`: it has no
 * statistics, and `error` says why. `gone`: the domain does not exist any more, or the query names a domain that does
 * not exist.
 */
export const RECORD_STATUSES = ["ok", "partial", "failed", "gone"] as const;
/** The status of a record. */
export type RecordStatus = (typeof RECORD_STATUSES)[number];

/**
 * The reason why a record is not `ok`. `timeout`: the domain's deadline passed. `busy`: no permit for a call was free
 * before the domain's deadline, or a call or job of another client kept the domain's monitor busy. `quarantined`: an
 * earlier call for the domain is still unanswered, so the driver made no further call of this kind. `denied`: no
 * permission. `unsupported`: the hypervisor lacks the group. `unknown`: the query names a domain that does not exist.
 * `error`: see the record's error.
 */
export const RECORD_REASONS = ["timeout", "busy", "quarantined", "denied", "unsupported", "unknown", "error"] as const;
/** The reason why a record is not `ok`. */
export type RecordReason = (typeof RECORD_REASONS)[number];

/** The members from which a record is made. Each optional member has a default. */
export interface RecordInit {
  readonly domain: Domain;
  readonly params: TypedParams;
  readonly status: RecordStatus;
  /** In ms since 1970; see RecordMembers. */
  readonly sampledAt: number;
  /** In ms. Default: the moment `sampledAt` on this process's steady clock. */
  readonly steadyAt?: number | undefined;
  readonly tookMs: number;
  readonly index: number;
  /** Default: none. */
  readonly reason?: RecordReason | undefined;
  /** Default: none. */
  readonly missing?: readonly Group[] | undefined;
  /** Default: none. */
  readonly error?: VirstreamError | undefined;
}

const NOTHING_MISSING: readonly Group[] = Object.freeze([]);

/** True if a record lacks something because its guest, or the guest's monitor, did not answer. */
export function isUnanswered({ reason }: { readonly reason: RecordReason | undefined }): boolean {
  return reason === "timeout" || reason === "busy" || reason === "quarantined";
}

/** The members that every record has, whatever its status. */
export interface RecordMembers {
  readonly domain: Domain;
  /** Empty if the record is `failed` or `gone`. */
  readonly params: TypedParams;
  /** The time just before the driver asked the hypervisor, in ms since 1970. */
  readonly sampledAt: number;
  /**
   * The moment `sampledAt` on a steady clock, in whole ms: setting the wall clock does not change this value. The
   * steady clock starts at an arbitrary value, so only differences between records of one domain are meaningful, as
   * long as the source of the records did not restart.
   */
  readonly steadyAt: number;
  /** How long the hypervisor took to answer, in ms, rounded to the microsecond. */
  readonly tookMs: number;
  /**
   * The domain's position in its driver's listing, from 0. Records arrive as they are ready; sorting by `index`
   * restores the order of the listing.
   */
  readonly index: number;
  /** The domain's state in words; undefined when the record lacks the state group. */
  readonly state: StateWords | undefined;
  /**
   * The record as a plain object for JSON and `structuredClone`, with the state in words; `fromJSON` makes a record
   * from it. TypedParams.toJSON says how 64-bit values are written. The object's member `types` has one digit for each
   * parameter: its type code.
   */
  toJSON(): Record<string, unknown>;
}

/** A record that has everything that the query asked for. */
export interface OkRecord extends RecordMembers {
  readonly status: "ok";
  readonly reason: undefined;
  readonly missing: readonly [];
  readonly error: undefined;
}

/** A record that lacks some groups. */
export interface PartialRecord extends RecordMembers {
  readonly status: "partial";
  readonly reason: RecordReason;
  /** The groups that the record lacks: groups that the query asked for, or that such a domain usually has. */
  readonly missing: readonly Group[];
  readonly error: VirstreamError | undefined;
}

/** The record of a domain that has no statistics. */
export interface FailedRecord extends RecordMembers {
  readonly status: "failed";
  readonly reason: RecordReason;
  /** The groups that the query asked for; may be empty if the driver does not list them. */
  readonly missing: readonly Group[];
  readonly error: VirstreamError;
}

/** The record of a domain that does not exist, or no longer exists. */
export interface GoneRecord extends RecordMembers {
  readonly status: "gone";
  /** `unknown` if the query names the domain and the domain does not exist. */
  readonly reason: RecordReason | undefined;
  readonly missing: readonly Group[];
  readonly error: VirstreamError | undefined;
}

/** The statistics of one domain, or why there are none. `status` shows which types the other members have. */
export type DomainStatsRecord = OkRecord | PartialRecord | FailedRecord | GoneRecord;

/** The constructor of records, which drivers call. */
export interface RecordConstructor {
  /**
   * If `init` gives no reason, a record that is `partial` or `failed` gets the reason `error`. If `init` gives no
   * error, a record that is `failed` gets an error that says that the driver gave none.
   *
   * @throws VirstreamError `invalid-argument` when a record that is `ok` has a reason, an error or missing groups
   */
  new (init: RecordInit): DomainStatsRecord;
  readonly prototype: DomainStatsRecord;
}

/** The class of records; model/record-json.ts adds `fromJSON` to it. */
export const DomainStatsRecord = class {
  readonly domain: Domain;
  readonly params: TypedParams;
  readonly status: RecordStatus;
  readonly sampledAt: number;
  readonly steadyAt: number;
  readonly tookMs: number;
  readonly index: number;
  readonly reason: RecordReason | undefined;
  readonly missing: readonly Group[];
  readonly error: VirstreamError | undefined;

  constructor(init: RecordInit) {
    this.domain = init.domain;
    this.params = init.params;
    this.status = init.status;
    this.sampledAt = init.sampledAt;
    this.steadyAt = init.steadyAt ?? steadyTimeOf(init.sampledAt);
    this.tookMs = init.tookMs;
    this.index = init.index;
    const { status, reason, missing = NOTHING_MISSING, error } = init;
    if (status === "ok" && (reason !== undefined || missing.length > 0 || error !== undefined)) {
      throw invalid("a record that is ok has no reason, missing groups or error");
    }
    const explained = status === "ok" || status === "gone";
    this.reason = reason ?? (explained ? undefined : "error");
    this.missing = missing;
    this.error = error ?? (status === "failed" ? unexplained(this.reason) : undefined);
  }

  get state(): StateWords | undefined {
    const state = this.params.number("state.state");
    return state === undefined ? undefined : stateWords(state, this.params.number("state.reason") ?? 0);
  }

  toJSON(): Record<string, unknown> {
    const plain = plainRecord(this as unknown as DomainStatsRecord);
    return { ...plain, types: typesOf(this.params, plain.params) };
  }
} as unknown as RecordConstructor;

function unexplained(reason: RecordReason | undefined): VirstreamError {
  return new VirstreamError("internal", `the driver gave no error with the reason ${reason}`);
}

/**
 * A record as a plain object for JSON, without `types`, the type codes of its parameters. The JSON profile of the
 * protocol sends records in this form.
 */
export function plainRecord(record: DomainStatsRecord): Record<string, unknown> & { readonly params: object } {
  const { domain, status, reason, missing, sampledAt, steadyAt, tookMs, index, state, params, error } = record;
  const { uuid, name, id, host } = domain;
  return {
    domain: { uuid, name, id, host },
    status,
    reason: reason ?? null,
    missing,
    ...(error && { error: error.toJSON() }),
    sampledAt,
    steadyAt,
    tookMs,
    index,
    state: state ?? null,
    params: params.toJSON(),
  };
}

/**
 * A source of several hosts reserves this number of indexes for each host, so that no two records of a sweep have the
 * same index.
 */
export const INDEXES_PER_HOST = 2 ** 24;

/** Compares two records, to sort records in the order of their driver's listing. */
export function byIndex(one: DomainStatsRecord, other: DomainStatsRecord): number {
  return one.index - other.index;
}

/** The span of time that a recording covers. `from` and `to` are in ms since 1970. */
export interface Recorded {
  readonly from: number;
  /** The time of the last record that is known; a recorder may still be adding records. */
  readonly to: number;
  /** The time between the sweeps of the recording, in ms. */
  readonly intervalMs: number;
}

/** A host that cannot be reached at present. */
export interface Absent {
  /** The name of the host; until the host has answered once, its URI. */
  readonly host: string;
  readonly error: VirstreamError;
}

/**
 * The result of a sweep: the number of its records (`domains`), how many of these have each status, when the sweep
 * began and how long it took.
 */
export interface SweepSummary {
  readonly domains: number;
  readonly ok: number;
  readonly partial: number;
  readonly failed: number;
  readonly gone: number;
  /** In ms since 1970. */
  readonly startedAt: number;
  readonly tookMs: number;
  /**
   * The hosts that could not be reached, so that some of their domains may have no record. Left out if all hosts could
   * be reached.
   */
  readonly absent?: readonly Absent[];
}

/**
 * The most times that one call of steadyTimeOf reads both clocks. It reads them again if the process paused between the
 * readings.
 */
const READINGS = 5;

/** Wall time minus steady time, in whole ms. */
let difference = Number.NaN;

/**
 * Converts a recent wall time to this process's steady clock, in whole ms. Each call reads both clocks. The function
 * keeps the difference between the clocks that it read before, unless it now reads another one that rounding does not
 * explain. So the time between two samples is the same on both clocks, unless the wall clock was set between them.
 *
 * @param wall in ms since 1970
 */
export function steadyTimeOf(wall: number): number {
  for (let reading = 0; reading < READINGS; reading++) {
    const before = performance.now();
    const now = Date.now() - Math.round(before);
    if (Math.abs(now - difference) <= 1) break;
    // If the process was paused between the two readings, the readings are of different moments. So their difference
    // does not show that a clock was set.
    if (performance.now() - before > 1 && reading < READINGS - 1) continue;
    difference = now;
    break;
  }
  return Math.round(wall) - difference;
}
