import { VirstreamError } from "../../../model/error.ts";
import { ALL_GROUPS, type Group, groupBit, groupMask, groupNames, MONITOR_FREE_GROUPS } from "../../../model/group.ts";
import { TypedParams } from "../../../model/params.ts";
import { FILTER_MASK, type Query, StatsFlag } from "../../../model/query.ts";
import type { RecordReason } from "../../../model/record.ts";
import type { RemoteDomain } from "../rpc/remote-domain.ts";
import type { DomainStats } from "../rpc/stats-reply.ts";
import type { CallKind } from "./call-queue.ts";
import { type CallHandler, QueuedCall, type SweepHost } from "./calls.ts";
import type { WaitClass } from "./deadlines.ts";

/**
 * The purpose of the next call for a domain of the sweep.
 *
 * - `lookup`: finds the domain's uuid by its name; or, if the answer to the stage `ask` will not contain the name, the
 *   name by the uuid.
 * - `check`: finds out whether a call already hangs in the domain's monitor.
 * - `ask`: asks for its statistics.
 * - `fallback`: asks for the groups that need no monitor, because the domain is late or its statistics failed.
 * - `verify`: finds out whether the domain exists at all, because the daemon left the domain out of an answer.
 * - `done`: there is no further call. The domain has its record, or needs none.
 */
export type Stage = "lookup" | "check" | "ask" | "fallback" | "verify" | "done";

const STATE = groupBit("state");
const BALLOON = groupBit("balloon");

/** One domain of a sweep, and the progress of its calls. */
export class DomainTask extends QueuedCall {
  readonly handler: CallHandler<DomainTask>;
  readonly index: number;
  /**
   * The parts of the domain's identity that are known. If the query names the domain, this is at first the uuid or the
   * name only.
   */
  domain: RemoteDomain;
  stage: Stage;
  /**
   * The text in the query that is read as the domain's uuid. If no domain has this uuid, a domain may have this text as
   * its name.
   */
  otherName: string | undefined;
  /** The name to look up; undefined: the lookup uses the name or the uuid in `domain`. */
  lookupName: string | undefined;
  /** Whether the domain's statistics call needs the monitor. */
  readonly statsKind: CallKind;
  /** The reason why the domain is late, or why its record will have less than the query asks for. */
  reason: RecordReason = "timeout";
  /** The error with which the daemon answered the domain's statistics call. */
  error: VirstreamError | undefined;
  /** True if the check of the domain's monitor has begun, and the domain's statistics call was not sent yet. */
  monitorChecked = false;
  /** True if the check found that the domain has a job. Its statistics call must not wait for the end of the job. */
  nowait = false;

  constructor(
    handler: CallHandler<DomainTask>,
    index: number,
    stage: Stage,
    statsKind: CallKind,
    domain: RemoteDomain,
  ) {
    super();
    this.handler = handler;
    this.index = index;
    this.stage = stage;
    this.statsKind = statsKind;
    this.domain = domain;
  }

  /**
   * Begins to look the domain up by `otherName`. Returns false if `otherName` is undefined, or if the daemon has
   * already described the domain.
   */
  beginNameLookup(): boolean {
    if (this.otherName === undefined || this.domain.name !== "") return false;
    this.stage = "lookup";
    this.lookupName = this.otherName;
    this.otherName = undefined;
    return true;
  }

  get kind(): CallKind {
    return this.stage === "ask" ? this.statsKind : "free";
  }

  get waitClass(): WaitClass {
    if (this.stage === "fallback") return "fallback";
    return this.kind === "monitor" ? "slot" : "lane";
  }

  get key(): string {
    return this.stage === "lookup"
      ? `lookup ${this.lookupName || this.domain.name || this.domain.uuid}`
      : this.domain.uuid;
  }

  /** The error for the record of a domain that is given up at its present stage. */
  lateError(deadlineMs: number): VirstreamError {
    const within = `within ${deadlineMs} ms`;
    const name = this.domain.name || this.domain.uuid;
    const messages = {
      lookup: `libvirt did not look up domain ${name} ${within}`,
      check: `libvirt did not say ${within} whether domain ${name} can be asked: it may be starting, or being destroyed`,
      ask: `domain ${name} did not answer ${within}`,
      fallback: `domain ${name} did not answer ${within}, nor did libvirt say what needs no monitor`,
      verify: `libvirt did not say ${within} whether there is a domain ${name}`,
      done: `domain ${name} has its record`,
    };
    return new VirstreamError("deadline-exceeded", messages[this.stage]);
  }
}

/** The groups and flags of a statistics call. */
interface StatsRequest {
  readonly groups: number;
  readonly flags: number;
}

/** The statistics calls that answer a query. */
export class StatsRequests {
  /** `monitor` if a domain's first request can hang in its monitor, otherwise `free`. */
  readonly kind: CallKind;
  /** The filter bits of the query, for the listing call. */
  readonly filter: number;
  /** The groups that the query names. If it names none: all known groups. */
  readonly groups: readonly Group[];
  /** The groups and flags of the first statistics call for a domain. */
  readonly first: StatsRequest;
  /**
   * True if the query has the flag NOWAIT: while a monitor is busy, the query accepts an answer without the monitor's
   * values.
   */
  readonly nowait: boolean;
  /**
   * The request of the fallback call for a late domain; undefined if every requested group needs the monitor, or none
   * does, or if `stateOnly` is true.
   */
  readonly fallback: StatsRequest | undefined;

  /** True if each domain is asked for its state alone, because the hypervisor has no statistics call. */
  readonly stateOnly: boolean;
  /** The groups that the hypervisor does not have. */
  readonly unsupported: readonly Group[];

  constructor({ groups, flags, domains }: Query, { monitors, facts }: Pick<SweepHost, "monitors" | "facts">) {
    // In libvirt, 0 means every group, also those that need the monitor. So no mask that is computed below may become
    // 0.
    const wanted = groups === 0 ? ALL_GROUPS : groups;
    const free = wanted & MONITOR_FREE_GROUPS;
    const needing = (wanted & ~MONITOR_FREE_GROUPS) >>> 0;
    // A listed domain has passed the filter. Its record must come even if its state changes after that, so the calls
    // for it have no filter.
    const asked = domains === undefined ? (flags & ~FILTER_MASK) >>> 0 : flags;
    this.kind = monitors && needing !== 0 ? "monitor" : "free";
    this.filter = flags & FILTER_MASK;
    this.groups = groupNames(wanted);
    this.first = { groups, flags: asked };
    this.nowait = (flags & StatsFlag.nowait) !== 0;
    this.stateOnly = !facts.statistics;
    this.unsupported = this.stateOnly ? groupNames((wanted & ~STATE) >>> 0) : [];
    this.fallback =
      this.stateOnly || needing === 0 || free === 0 ? undefined : { groups: free, flags: asked & FILTER_MASK };
  }

  /** The error for a query that a hypervisor without a statistics call cannot answer; undefined for any other query. */
  refusal({ domains, flags, groups }: Query, hypervisor: string): VirstreamError | undefined {
    const enforced = (flags & StatsFlag.enforce) !== 0 && groups !== STATE;
    const filtered = domains !== undefined && this.filter !== 0;
    if (!this.stateOnly || !(enforced || filtered || !this.groups.includes("state"))) return undefined;
    const message = `libvirt's ${hypervisor} driver has no statistics call, only the state of each domain`;
    const advice =
      "ask for the group state, or for all groups, without enforce, and without a filter for named domains";
    return new VirstreamError("unsupported", `${message}: ${advice}`);
  }

  /**
   * The first call for a domain that is not trusted: it does not wait for the domain's job, and its answer shows
   * whether libvirt had the job.
   */
  get knock(): StatsRequest {
    const { groups, flags } = this.first;
    return { groups: groups === 0 ? 0 : (groups | BALLOON) >>> 0, flags: (flags | StatsFlag.nowait) >>> 0 };
  }

  /** Removes the group balloon from an answer to `knock` if the query did not ask for this group. */
  withoutKnock(stats: DomainStats): DomainStats {
    const { params } = stats;
    if (this.knock.groups === this.first.groups) return stats;
    const kept = [...params].filter(([key]) => !key.startsWith("balloon."));
    return { ...stats, params: TypedParams.from(kept.map(([key, value]) => [key, params.type(key)!, value])) };
  }

  /** The request for a domain at its present stage. */
  for({ stage, nowait, error }: DomainTask): StatsRequest {
    const { first, fallback = first } = this;
    if (stage === "fallback") {
      // Before libvirt 11, the whole call fails if one perf counter cannot be read. So after an error, the request
      // leaves out perf.
      const groups = error === undefined ? fallback.groups : fallback.groups & ~groupMask(["perf"]) || fallback.groups;
      return { ...fallback, groups };
    }
    return nowait ? { ...first, flags: (first.flags | StatsFlag.nowait) >>> 0 } : first;
  }
}
