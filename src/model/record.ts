import type { VirstreamError } from "./error.ts";
import type { Group } from "./group.ts";
import { TypedParams } from "./params.ts";
import { type StateWords, stateWords } from "./state.ts";
import { steadyTimeOf } from "./steady-time.ts";
import { NIL_UUID } from "./uuid.ts";

/** What tells a domain from all others. The uuid is the key: names are reused and changed. */
export interface DomainIdentity {
  /** Lower case, with dashes. */
  readonly uuid: string;
  readonly name: string;
  /** The hypervisor's number of the running domain; −1 when it does not run. */
  readonly id: number;
  /** The host it was seen on. */
  readonly host: string;
}

/**
 * What tells a domain from all others, over all hosts: while it migrates, two hosts have it. One that was asked for by a
 * name that nobody has is known by that name.
 */
export function domainKey({ host, uuid, name }: DomainIdentity): string {
  return `${host}\n${uuid === NIL_UUID ? name : uuid}`;
}

/** A domain as a connection gave it out. It belongs to that connection and can be asked for again through it alone. */
export class Domain implements DomainIdentity {
  readonly uuid: string;
  readonly name: string;
  readonly id: number;
  readonly host: string;
  #driver: object | undefined;

  /** @param driver the driver that knows it; domains of two drivers cannot be mixed in one call */
  constructor(uuid: string, name: string, id: number, host: string, driver?: object) {
    this.uuid = uuid;
    this.name = name;
    this.id = id;
    this.host = host;
    this.#driver = driver;
  }

  /** Whether a domain was given out by this driver; one that names no driver fits all. */
  static belongsTo(domain: Domain, driver: object): boolean {
    return domain.#driver === undefined || domain.#driver === driver;
  }
}

/**
 * `ok`: everything that was asked for. `partial`: some groups are missing, named in `missing`. `failed`: nothing could
 * be had, `error` says why. `gone`: the domain is no longer there (or never was, when it was asked for by name).
 */
export const RECORD_STATUSES = ["ok", "partial", "failed", "gone"] as const;
/** One of them. */
export type RecordStatus = (typeof RECORD_STATUSES)[number];

/**
 * Why a record is not `ok`. `timeout`: its deadline passed. `busy`: no call could be spared for it in time,
 * or its monitor was busy with a call or a job of somebody else.
 * `quarantined`: an earlier call for it is still unanswered. `denied`: no permission. `unsupported`: the hypervisor
 * lacks the group. `unknown`: there is no such domain. `error`: see the record's error.
 */
export const RECORD_REASONS = ["timeout", "busy", "quarantined", "denied", "unsupported", "unknown", "error"] as const;
/** One of them. */
export type RecordReason = (typeof RECORD_REASONS)[number];

/** What a driver says when it makes a record. */
export interface RecordInit {
  readonly domain: Domain;
  readonly params: TypedParams;
  readonly status: RecordStatus;
  readonly sampledAt: number;
  /** Default: `sampledAt` on this process's steady clock. */
  readonly steadyAt?: number | undefined;
  readonly tookMs: number;
  readonly index: number;
  readonly reason?: RecordReason | undefined;
  readonly missing?: readonly Group[] | undefined;
  readonly error?: VirstreamError | undefined;
}

const NOTHING_MISSING: readonly Group[] = Object.freeze([]);

/** The statistics of one domain, or why there are none. */
export class DomainStatsRecord {
  readonly domain: Domain;
  readonly params: TypedParams;
  readonly status: RecordStatus;
  /** When it was sampled, in ms since 1970: the moment just before the driver asked. */
  readonly sampledAt: number;
  /**
   * The same moment in whole ms on a clock that runs steadily while somebody sets the wall clock. It begins anywhere: only
   * differences between records of one domain mean something, and those between two starts of their source do not.
   */
  readonly steadyAt: number;
  /** How long the answer took, in ms, to the microsecond. */
  readonly tookMs: number;
  /** The domain's position in its driver's listing, from 0: records arrive as they are ready, this restores the order. */
  readonly index: number;
  readonly reason: RecordReason | undefined;
  /** The groups that were asked for, or are usual, and were not delivered. */
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
    this.reason = init.reason;
    this.missing = init.missing ?? NOTHING_MISSING;
    this.error = init.error;
  }

  /**
   * The record of the same domain that is ok, with other parameters. Allocates only the record; used by the decoder of
   * changes, which makes a million of them per second.
   */
  static following(
    { domain }: DomainStatsRecord,
    params: TypedParams,
    index: number,
    sampledAt: number,
    steadyAt: number,
    tookMs: number,
  ): DomainStatsRecord {
    NEXT.domain = domain;
    NEXT.params = params;
    NEXT.index = index;
    NEXT.sampledAt = sampledAt;
    NEXT.steadyAt = steadyAt;
    NEXT.tookMs = tookMs;
    return new DomainStatsRecord(NEXT);
  }

  /** The domain's state in words, beside the numbers in `params`; undefined when the state group was not delivered. */
  get state(): StateWords | undefined {
    const state = this.params.number("state.state");
    return state === undefined ? undefined : stateWords(state, this.params.number("state.reason") ?? 0);
  }

  /** All of it for JSON, the state's words included; see TypedParams.toJSON for what becomes of 64-bit values. */
  toJSON(): Record<string, unknown> {
    const { domain, status, reason, missing, sampledAt, steadyAt, tookMs, index, state, params, error } = this;
    const { uuid, name, id, host } = domain;
    return {
      domain: { uuid, name, id, host },
      status,
      reason: reason ?? null,
      missing,
      ...(error === undefined
        ? {}
        : { error: { code: error.code, message: error.message, retryable: error.retryable, libvirt: error.libvirt } }),
      sampledAt,
      steadyAt,
      tookMs,
      index,
      state: state ?? null,
      params: params.toJSON(),
    };
  }
}

/** What `following` says of a record: the constructor takes it apart and keeps nothing of it. */
const NEXT: { -readonly [Member in keyof RecordInit]: RecordInit[Member] } = {
  domain: new Domain("", "", -1, ""),
  params: TypedParams.EMPTY,
  status: "ok",
  sampledAt: 0.5,
  steadyAt: 0,
  tookMs: 0.5,
  index: 0,
  reason: undefined,
  missing: undefined,
  error: undefined,
};

/** What a sweep came to: how many records of each status, when it began and how long it took. */
export interface SweepSummary {
  readonly domains: number;
  readonly ok: number;
  readonly partial: number;
  readonly failed: number;
  readonly gone: number;
  /** In ms since 1970. */
  readonly startedAt: number;
  readonly tookMs: number;
}

/** Counts records into a summary. */
export class SweepTally {
  readonly startedAt: number;
  readonly #counts = { ok: 0, partial: 0, failed: 0, gone: 0 };

  /** @param startedAt in ms since 1970 */
  constructor(startedAt: number) {
    this.startedAt = startedAt;
  }

  add(records: readonly DomainStatsRecord[]): void {
    for (const record of records) this.#counts[record.status]++;
  }

  /** @param tookMs is rounded to the µs */
  summary(tookMs: number): SweepSummary {
    const { ok, partial, failed, gone } = this.#counts;
    const domains = ok + partial + failed + gone;
    const rounded = Math.round(tookMs * 1000) / 1000;
    return { domains, ok, partial, failed, gone, startedAt: this.startedAt, tookMs: rounded };
  }
}
