import { type Clock, eventLoopTurn } from "../../driver/clock.ts";
import type { SweepContext } from "../../driver/driver.ts";
import { VirstreamError } from "../../model/error.ts";
import { type Group, groupNames, MONITOR_FREE_GROUPS } from "../../model/group.ts";
import { TypedParams } from "../../model/params.ts";
import { type DomainSelector, FILTER_MASK, type Query, StatsFlag } from "../../model/query.ts";
import { DomainStatsRecord, type RecordInit } from "../../model/record.ts";
import { steadyTimeOf } from "../../model/steady-time.ts";
import type { Layout, SimulatedHost } from "./host.ts";

/**
 * The first record is a chunk of its own, so that it arrives at once; later chunks have at most this many records, ...
 */
const CHUNK_RECORDS = 64;
/** ... or fewer, when they are big. */
const CHUNK_PARAMETERS = 65_536;
/** The event loop gets a turn after this many ms of work, our consumer's included. */
const WORK_MS = 4;
/** How many guests are listed or asked before the event loop may get a turn. */
const STRIDE = 4_096;
/** How many guests are asked at once when answers take time: as many as libvirt serves for one connection. */
const SLOTS = 4;

/** VIR_ERR_INTERNAL_ERROR of VIR_FROM_TEST: what libvirt itself says when a guest's statistics cannot be had. */
const LIBVIRT_FAILURE = { code: 1, domain: 12 } as const;

/** What a sweep needs of its driver. */
export interface SweepOwner {
  readonly simulation: SimulatedHost;
  readonly clock: Clock;
  readonly closed: boolean;
  /** The sweeps that have begun and not ended. */
  readonly underWay: Set<Sweep>;
  /** Counts sweeps as they begin, and records as they are computed. */
  sweeps: number;
  produced: number;
}

/** What every record says of a guest: its identity, its position in the listing, and when it was asked. */
type Asked = Pick<RecordInit, "domain" | "index" | "sampledAt" | "steadyAt">;

/** A guest that was asked and whose answer is not due yet. Times are in ms since 1970. */
interface Pending {
  readonly guest: number;
  readonly asked: Asked;
  dueAt: number;
  /** Whether it will have answered by then, or its deadline will have passed. */
  answers: boolean;
  /** Whether it takes one of the few slots for guests that are asked at once. */
  readonly slot: boolean;
  /** Whether it answers only after a thaw. */
  readonly frozen: boolean;
}

/**
 * One sweep: lists guests, asks them and hands on their records. A guest that answers at once is a record of the chunk
 * being made. One that takes its time is waited for until its answer or its deadline is due, and delays no other.
 * Nothing is computed ahead of a pull.
 */
export class Sweep {
  readonly #driver: SweepOwner;
  readonly #query: Query;
  readonly #context: SweepContext;
  /** The guests that are waited for, and the one timer of all that are due at the same time. */
  readonly #pending = new Map<number, { readonly guests: Pending[]; readonly timer: unknown }>();
  /**
   * The guests whose timer has fired. That makes them due, not the clock: timers fire a little early, clocks are set
   * back.
   */
  #due: Pending[] = [];
  /** The guests to ask, by index, and the selectors that fit no guest; undefined: every guest of the host. */
  #listed: readonly (number | DomainSelector)[] | undefined;
  #size = 0;
  #position = 0;
  #layout!: Layout;
  #monitorFree!: Layout;
  #groups: readonly Group[] = [];
  #monitored: readonly Group[] = [];
  #busySlots = 0;
  #left = false;
  #wake: (() => void) | undefined;
  #turnAt = 0;

  constructor(driver: SweepOwner, query: Query, context: SweepContext) {
    this.#driver = driver;
    this.#query = query;
    this.#context = context;
  }

  /** Ends a wait: something has changed. */
  wake(): void {
    this.#wake?.();
  }

  /** The consumer wants no more. */
  leave(): void {
    this.#left = true;
    this.wake();
  }

  /** A guest answers again: its full record follows now, if it is waited for. */
  thaw(guest: number): void {
    const { clock, simulation } = this.#driver;
    const answersAt = clock.now() + simulation.options.latencyMs;
    for (const { guests } of this.#pending.values()) {
      const at = guests.findIndex((pending) => pending.guest === guest && pending.frozen);
      if (at < 0) continue;
      if (answersAt <= guests[at]!.dueAt) {
        const [pending] = guests.splice(at, 1);
        this.#await({ ...pending!, dueAt: answersAt, answers: true });
      }
      return;
    }
  }

  /** The records, in chunks. Begins with the first pull. */
  async *records(): AsyncGenerator<readonly DomainStatsRecord[], void, void> {
    const { signal } = this.#context;
    const wake = () => this.wake();
    signal.addEventListener("abort", wake);
    this.#driver.sweeps++;
    this.#driver.underWay.add(this);
    try {
      this.#turnAt = performance.now() + WORK_MS;
      if (!this.#goesOn() || !(await this.#begin())) return;
      let limit = 1;
      while (this.#goesOn()) {
        const chunk = this.#chunk(limit);
        if (chunk.length > 0) {
          limit = CHUNK_RECORDS;
          yield chunk;
        } else if (this.#position === this.#size && this.#pending.size + this.#due.length === 0) {
          return;
        } else if (this.#position === this.#size || this.#busySlots === SLOTS) {
          await new Promise<void>((resolve) => (this.#wake = resolve));
        }
        await this.#turn();
      }
    } finally {
      signal.removeEventListener("abort", wake);
      this.#driver.underWay.delete(this);
      for (const { timer } of this.#pending.values()) this.#driver.clock.clearTimeout(timer);
      this.#pending.clear();
    }
  }

  /** Works out the groups and lists the guests; false when the sweep ended meanwhile. */
  async #begin(): Promise<boolean> {
    const { simulation } = this.#driver;
    const groups = simulation.groups(this.#query);
    const backing = (this.#query.flags & StatsFlag.backing) !== 0;
    this.#layout = simulation.layout(groups, backing);
    this.#monitorFree = simulation.layout(groups & MONITOR_FREE_GROUPS, backing);
    this.#groups = groupNames(groups);
    this.#monitored = groupNames(groups & ~MONITOR_FREE_GROUPS);
    const filter = this.#query.flags & FILTER_MASK;
    if (this.#query.domains !== undefined || !simulation.listsAll(filter)) this.#listed = await this.#list(filter);
    if (!this.#goesOn()) return false;
    this.#size = this.#listed?.length ?? simulation.options.domains;
    this.#context.expect(this.#size);
    return true;
  }

  /**
   * The guests as they are now: one that appears later is not in the sweep, one that vanishes later still is. Those
   * that the query names come once each, in its order.
   */
  async #list(filter: number): Promise<(number | DomainSelector)[]> {
    const { simulation, clock } = this.#driver;
    const { domains } = this.#query;
    const now = clock.now();
    const listed: (number | DomainSelector)[] = [];
    const named = new Set<number>();
    const candidates = domains?.length ?? simulation.options.domains;
    for (let i = 0; i < candidates; i++) {
      if (i % STRIDE === STRIDE - 1) {
        await this.#turn();
        if (!this.#goesOn()) return listed;
      }
      const selector = domains?.[i];
      const guest = selector === undefined ? i : simulation.find(selector);
      const there = guest >= 0 && simulation.isThere(guest, now);
      if (selector !== undefined) {
        if (!there) listed.push(selector);
        if (!there || named.has(guest)) continue;
        named.add(guest);
      }
      if (there && simulation.passes(guest, filter)) listed.push(guest);
    }
    return listed;
  }

  /** Whether the sweep goes on: false once the consumer has left, an error once the driver is closed. */
  #goesOn(): boolean {
    if (this.#left || this.#context.signal.aborted) return false;
    if (this.#driver.closed)
      throw new VirstreamError("connection-closed", "the connection was closed during the sweep");
    return true;
  }

  /** Up to `limit` records that can be had now: first those that were waited for, then from guests not yet asked. */
  #chunk(limit: number): DomainStatsRecord[] {
    const now = this.#driver.clock.now();
    const steadyAt = steadyTimeOf(now);
    const chunk: DomainStatsRecord[] = [];
    let parameters = 0;
    const add = (record: DomainStatsRecord | undefined): void => {
      if (record === undefined) return;
      chunk.push(record);
      parameters += record.params.size;
    };
    const full = (): boolean => chunk.length === limit || parameters >= CHUNK_PARAMETERS;
    let due = 0;
    while (due < this.#due.length && !full()) add(this.#late(this.#due[due++]!));
    this.#due.splice(0, due);
    for (let asked = 0; asked < STRIDE && !full(); asked++) {
      if (this.#position === this.#size || this.#busySlots === SLOTS) break;
      add(this.#next(now, steadyAt));
    }
    this.#driver.produced += chunk.length;
    return chunk;
  }

  /** Asks the next guest: its record if that can be had at once, undefined if it is to be waited for. */
  #next(now: number, steadyAt: number): DomainStatsRecord | undefined {
    const { simulation } = this.#driver;
    const index = this.#position++;
    const guest = this.#listed === undefined ? index : this.#listed[index]!;
    if (typeof guest !== "number") return this.#unknown(guest, { index, sampledAt: now, steadyAt });
    const domain = simulation.domain(guest);
    const asked: Asked = { domain, index, sampledAt: now, steadyAt };
    const fault = simulation.fault(guest);
    const { latencyMs } = simulation.options;
    if (fault === undefined && latencyMs === 0) return this.#answer(asked, guest, 0);
    if (!simulation.meet(guest)) return this.#bare(asked, "gone");
    if (fault?.failing) {
      return this.#bare(asked, "failed", {
        reason: "error",
        missing: this.#groups,
        error: new VirstreamError("hypervisor-error", `${domain.name}: this guest fails as the URI's error= asks`, {
          libvirt: LIBVIRT_FAILURE,
        }),
      });
    }

    // A frozen or slow guest delays only the groups that need its monitor.
    const monitored = this.#monitored.length > 0;
    const frozen = monitored && fault?.frozen === true;
    const slowMs = monitored ? (fault?.slowMs ?? 0) : 0;
    if (frozen && (this.#query.flags & StatsFlag.nowait) !== 0) return this.#partial("busy", asked, guest, 0);
    const { deadlineMs } = this.#query;
    const tookMs = frozen ? Number.POSITIVE_INFINITY : slowMs > 0 ? slowMs : latencyMs;
    if (tookMs === 0) return this.#answer(asked, guest, 0);
    const slot = !frozen && slowMs === 0;
    if (slot) this.#busySlots++;
    const dueAt = now + Math.min(tookMs, deadlineMs);
    const answers = tookMs <= deadlineMs || !monitored;
    this.#await({ guest, asked, dueAt, answers, slot, frozen });
    return undefined;
  }

  #await(pending: Pending): void {
    const { clock } = this.#driver;
    const { dueAt } = pending;
    const others = this.#pending.get(dueAt)?.guests;
    if (others !== undefined) {
      others.push(pending);
      return;
    }
    const guests = [pending];
    const due = () => {
      this.#pending.delete(dueAt);
      this.#due = this.#due.concat(guests);
      this.wake();
    };
    const ms = dueAt - clock.now();
    if (ms > 0) this.#pending.set(dueAt, { guests, timer: clock.setTimeout(due, ms) });
    else due();
  }

  /** The record of a guest that was waited for. */
  #late({ guest, asked, dueAt, answers, slot }: Pending): DomainStatsRecord {
    if (slot) this.#busySlots--;
    const tookMs = Math.round((dueAt - asked.sampledAt) * 1000) / 1000;
    return answers ? this.#answer(asked, guest, tookMs) : this.#partial("timeout", asked, guest, tookMs);
  }

  #answer(asked: Asked, guest: number, tookMs: number): DomainStatsRecord {
    const { domain, index, sampledAt, steadyAt } = asked;
    const params = this.#driver.simulation.sample(guest, this.#layout, sampledAt);
    return new DomainStatsRecord({ domain, params, status: "ok", sampledAt, steadyAt, tookMs, index });
  }

  /** The groups that need no monitor: at the deadline, or with `nowait` at once because the guest's job is held. */
  #partial(reason: "busy" | "timeout", asked: Asked, guest: number, tookMs: number): DomainStatsRecord {
    const params = this.#driver.simulation.sample(guest, this.#monitorFree, asked.sampledAt);
    return new DomainStatsRecord({ ...asked, params, status: "partial", reason, missing: this.#monitored, tookMs });
  }

  /** A record without parameters. */
  #bare(asked: Asked, status: "failed" | "gone", why: Partial<RecordInit> = {}): DomainStatsRecord {
    return new DomainStatsRecord({ ...asked, params: TypedParams.EMPTY, status, tookMs: 0, ...why });
  }

  #unknown(selector: DomainSelector, asked: Omit<Asked, "domain">): DomainStatsRecord {
    const { simulation } = this.#driver;
    const named = "uuid" in selector ? selector.uuid : JSON.stringify(selector.name);
    const error = new VirstreamError("unknown-domain", `there is no domain ${named} on ${simulation.options.host}`);
    return this.#bare({ domain: simulation.unknownDomain(selector), ...asked }, "gone", { reason: "unknown", error });
  }

  /** Gives the event loop a turn when the time for one has come. */
  async #turn(): Promise<void> {
    if (performance.now() < this.#turnAt) return;
    await eventLoopTurn();
    this.#turnAt = performance.now() + WORK_MS;
  }
}
