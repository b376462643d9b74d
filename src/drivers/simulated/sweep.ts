import type { SweepContext } from "../../driver/driver.ts";
import { eventLoopTurn } from "../../driver/event-loop.ts";
import { matcherOf, mayHaveHost } from "../../driver/matcher.ts";
import { VirstreamError } from "../../model/error.ts";
import { groupNames, MONITOR_FREE_GROUPS } from "../../model/group.ts";
import { type DomainSelector, FILTER_MASK, type Query, StatsFlag } from "../../model/query.ts";
import { DomainStatsRecord, type RecordInit, steadyTimeOf } from "../../model/record.ts";
import { TypedParams } from "../../model/typed-params.ts";
import type { SimulatedHost } from "./host.ts";

/** The most records in a chunk. The first record is a chunk of its own, so that it arrives at once. */
const CHUNK_RECORDS = 64;
/** A chunk ends early when its records together have this many parameters. */
const CHUNK_PARAMETERS = 65_536;
/** The event loop gets a turn after this many ms of work, including the consumer's work. */
const WORK_MS = 4;
/** How many guests are listed or asked before the sweep checks whether WORK_MS have passed. */
const STRIDE = 4_096;
/**
 * How many guests are asked at the same time if the URI has a latency: as many as virstream asks over one connection to
 * libvirt. Slow and frozen guests do not count.
 */
const SLOTS = 4;

/**
 * The error that libvirt itself reports when it cannot get a guest's statistics: VIR_ERR_INTERNAL_ERROR, in the error
 * domain VIR_FROM_TEST.
 */
const LIBVIRT_FAILURE = { code: 1, domain: 12 } as const;

/**
 * The part of every record that is known before the answer: the guest's identity, its position in the listing, and when
 * it was asked.
 */
type Asked = Pick<RecordInit, "domain" | "index" | "sampledAt" | "steadyAt">;

/**
 * One sweep: lists guests, asks them and hands on their records. The record of a guest that answers at once goes into
 * the current chunk. For any other guest the sweep waits until the answer or the deadline is due; it queries the other
 * guests during this wait. A record is computed only when the consumer pulls the chunk that contains it.
 */
export class Sweep {
  readonly #host: SimulatedHost;
  readonly #query: Query;
  readonly #context: SweepContext;
  readonly #backing: boolean;
  /** The timers of the guests for which the sweep waits. */
  readonly #timers = new Set<unknown>();
  /**
   * Functions that make the records of the guests whose timer has fired. The timer decides that a guest is due, not the
   * time of day, because the clock may be set back.
   */
  readonly #due: (() => DomainStatsRecord)[] = [];
  /** The indexes of the guests to ask, and the selectors that fit no guest; undefined: every guest of the host. */
  #listed: readonly (number | DomainSelector)[] | undefined;
  #size = 0;
  #position = 0;
  /** `#groups`: the requested groups that the host has. `#monitored`: those of them that need a guest's monitor. */
  #groups = 0;
  #monitored = 0;
  #busySlots = 0;
  #wake: (() => void) | undefined;
  #turnAt = 0;

  constructor(host: SimulatedHost, query: Query, context: SweepContext) {
    this.#host = host;
    this.#query = query;
    this.#context = context;
    this.#backing = (query.flags & StatsFlag.backing) !== 0;
  }

  /** The records, in chunks. The sweep begins when the consumer pulls the first chunk. */
  async *records(): AsyncGenerator<readonly DomainStatsRecord[], void, void> {
    const { signal } = this.#context;
    const wake = () => this.#wake?.();
    signal.addEventListener("abort", wake);
    this.#host.sweeps++;
    this.#host.waiting.add(wake);
    try {
      this.#turnAt = performance.now() + WORK_MS;
      if (!this.#goesOn() || !(await this.#begin())) return;
      let limit = 1;
      while (this.#goesOn()) {
        const chunk = this.#chunk(limit);
        if (chunk.length > 0) {
          limit = CHUNK_RECORDS;
          yield chunk;
        } else if (this.#position === this.#size || this.#busySlots === SLOTS) {
          if (this.#timers.size === 0) return;
          await new Promise<void>((resolve) => (this.#wake = resolve));
        }
        await this.#turn();
      }
    } finally {
      signal.removeEventListener("abort", wake);
      this.#host.waiting.delete(wake);
      for (const timer of this.#timers) this.#host.clock.clearTimeout(timer);
    }
  }

  /** Works out the groups and lists the guests. Returns false if the sweep has ended by then. */
  async #begin(): Promise<boolean> {
    this.#groups = this.#host.groups(this.#query);
    this.#monitored = this.#groups & ~MONITOR_FREE_GROUPS;
    const filter = this.#query.flags & FILTER_MASK;
    const { domains, names, hosts } = this.#query;
    if (!mayHaveHost(this.#host.options.host, hosts)) this.#listed = [];
    else if ((domains ?? names) !== undefined || !this.#host.listsAll(filter)) this.#listed = await this.#list(filter);
    if (!this.#goesOn()) return false;
    this.#size = this.#listed?.length ?? this.#host.options.domains;
    this.#context.expect(this.#size);
    return true;
  }

  /**
   * Lists the guests that exist now and that the query selects. A guest that appears later is not in the sweep; a guest
   * that vanishes later is. Guests that the query names come once each, in the query's order. For a named guest that
   * does not exist, the list has the selector.
   */
  async #list(filter: number): Promise<(number | DomainSelector)[]> {
    const host = this.#host;
    const { domains, names } = this.#query;
    const selects = matcherOf(names);
    const now = host.clock.now();
    const listed: (number | DomainSelector)[] = [];
    const named = new Set<number>();
    const candidates = domains?.length ?? host.options.domains;
    for (let i = 0; i < candidates; i++) {
      if (i % STRIDE === STRIDE - 1) {
        await this.#turn();
        if (!this.#goesOn()) return listed;
      }
      const selector = domains?.[i];
      const guest = selector === undefined ? i : host.identities.find(selector);
      const there = guest >= 0 && host.isThere(guest, now);
      if (selector !== undefined) {
        if (!there) listed.push(selector);
        if (!there || named.has(guest)) continue;
        named.add(guest);
      }
      if (!there || !host.passes(guest, filter)) continue;
      if (names === undefined || selects(host.identities.name(guest))) listed.push(guest);
    }
    return listed;
  }

  /** True if the sweep goes on; false once the consumer has left. Throws once the driver is closed. */
  #goesOn(): boolean {
    if (this.#context.signal.aborted) return false;
    if (this.#host.closed) throw new VirstreamError("connection-closed", "the connection was closed during the sweep");
    return true;
  }

  /**
   * Returns up to `limit` records that are ready now: first the records of guests for which the sweep has waited, then
   * the records of guests that were not asked yet.
   */
  #chunk(limit: number): DomainStatsRecord[] {
    const now = this.#host.clock.now();
    const steadyAt = steadyTimeOf(now);
    const chunk: DomainStatsRecord[] = [];
    let parameters = 0;
    const add = (record: DomainStatsRecord | undefined): void => {
      if (record === undefined) return;
      chunk.push(record);
      parameters += record.params.size;
    };
    const full = (): boolean => chunk.length === limit || parameters >= CHUNK_PARAMETERS;
    for (const makeRecord of this.#due) {
      if (full()) break;
      add(makeRecord());
    }
    this.#due.splice(0, chunk.length);
    for (let asked = 0; asked < STRIDE && !full(); asked++) {
      if (this.#position === this.#size || this.#busySlots === SLOTS) break;
      add(this.#next(now, steadyAt));
    }
    this.#host.produced += chunk.length;
    return chunk;
  }

  /** Asks the next guest. Returns its record if the guest answers at once; otherwise undefined. */
  #next(now: number, steadyAt: number): DomainStatsRecord | undefined {
    const host = this.#host;
    const index = this.#position++;
    const guest = this.#listed === undefined ? index : this.#listed[index]!;
    if (typeof guest !== "number") return host.unknown(guest, { index, sampledAt: now, steadyAt });
    const domain = host.domain(guest);
    const asked: Asked = { domain, index, sampledAt: now, steadyAt };
    const fault = host.fault(guest);
    const { latencyMs } = host.options;
    if (fault === undefined && latencyMs === 0) return this.#answer(asked, guest, 0);
    if (!host.meet(guest)) return this.#bare(asked, "gone");
    if (fault?.failing) {
      return this.#bare(asked, "failed", {
        reason: "error",
        missing: groupNames(this.#groups),
        error: new VirstreamError("hypervisor-error", `${domain.name}: this guest fails as the URI's error= asks`, {
          libvirt: LIBVIRT_FAILURE,
        }),
      });
    }

    // A frozen or slow guest delays only the groups that need its monitor. A guest that does not run has no monitor.
    const slowMs = this.#monitored === 0 || domain.id === -1 ? 0 : (fault?.slowMs ?? 0);
    // As on a libvirt host, no second call is sent to a guest whose call is unanswered.
    if (slowMs > 0 && host.isUnanswered(guest, now)) return this.#partial("quarantined", asked, guest, 0);
    const frozen = slowMs === Number.POSITIVE_INFINITY;
    if (frozen && (this.#query.flags & StatsFlag.nowait) !== 0) return this.#partial("busy", asked, guest, 0);
    const tookMs = slowMs || latencyMs;
    if (tookMs === 0) return this.#answer(asked, guest, 0);
    this.#await(asked, guest, tookMs, slowMs === 0);
    return undefined;
  }

  /**
   * Waits for a guest until its answer or its deadline is due.
   *
   * @param tookMs how long the guest's answer takes; Infinity while the guest is frozen
   * @param slot true if the guest takes one of the SLOTS places for guests that are asked at the same time
   */
  #await(asked: Asked, guest: number, tookMs: number, slot: boolean): void {
    const { clock } = this.#host;
    const { deadlineMs } = this.#query;
    const late = tookMs > deadlineMs && this.#monitored !== 0;
    const ms = Math.min(tookMs, deadlineMs);
    if (slot) this.#busySlots++;
    const timer = clock.setTimeout(
      () => {
        if (slot) this.#busySlots--;
        this.#timers.delete(timer);
        if (late && !slot) this.#host.leaveUnanswered(guest, asked.sampledAt + tookMs);
        this.#due.push(() => (late ? this.#partial("timeout", asked, guest, ms) : this.#answer(asked, guest, ms)));
        this.#wake?.();
      },
      Math.max(0, asked.sampledAt + ms - clock.now()),
    );
    this.#timers.add(timer);
  }

  #answer(asked: Asked, guest: number, tookMs: number): DomainStatsRecord {
    const { domain, index, sampledAt, steadyAt } = asked;
    const params = this.#host.sample(guest, this.#groups, sampledAt, this.#backing);
    return new DomainStatsRecord({ domain, params, status: "ok", sampledAt, steadyAt, tookMs, index });
  }

  /**
   * Makes the record of a guest that does not answer in time, with only the groups that need no monitor. The sweep
   * makes it at the deadline; or at once, if an earlier call is unanswered, or if the query has `nowait` and the guest
   * is frozen.
   */
  #partial(reason: "busy" | "timeout" | "quarantined", asked: Asked, guest: number, tookMs: number): DomainStatsRecord {
    const params = this.#host.sample(guest, this.#groups & MONITOR_FREE_GROUPS, asked.sampledAt, this.#backing);
    const missing = groupNames(this.#monitored);
    return new DomainStatsRecord({ ...asked, params, status: "partial", reason, missing, tookMs });
  }

  /** A record without parameters. */
  #bare(asked: Asked, status: "failed" | "gone", why: Partial<RecordInit> = {}): DomainStatsRecord {
    return new DomainStatsRecord({ ...asked, params: TypedParams.EMPTY, status, tookMs: 0, ...why });
  }

  /** Gives the event loop a turn if WORK_MS have passed since its last turn. */
  async #turn(): Promise<void> {
    if (performance.now() < this.#turnAt) return;
    await eventLoopTurn();
    this.#turnAt = performance.now() + WORK_MS;
  }
}
