import { type Clock, eventLoopTurn } from "../../driver/clock.ts";
import type { SweepContext } from "../../driver/driver.ts";
import { VirstreamError } from "../../model/error.ts";
import { type Group, groupNames, MONITOR_FREE_GROUPS } from "../../model/group.ts";
import { TypedParams } from "../../model/params.ts";
import { type Query, StatsFlag } from "../../model/query.ts";
import { type Domain, DomainStatsRecord } from "../../model/record.ts";
import type { SimulatedHost } from "./host.ts";
import { Listed, type Listing } from "./listing.ts";
import { PendingQueue } from "./pending.ts";
import type { Layout } from "./shape.ts";

/** The first record leaves alone, at once; after it so many travel together, ... */
const CHUNK_RECORDS = 64;
/** ... or fewer, when they are big. */
const CHUNK_PARAMETERS = 65_536;
/** The event loop gets a turn after so many ms of work, our consumer's included. */
const WORK_MS = 4;
/** So many guests that do not answer at once are asked before everything else gets a look. */
const STRIDE = 4_096;
/** So many guests are asked at once when answers take time: what one libvirt connection stands. */
const SLOTS = 4;

/** VIR_ERR_INTERNAL_ERROR of VIR_FROM_TEST: what libvirt itself says when a guest's statistics cannot be had. */
const LIBVIRT_FAILURE = { code: 1, domain: 12 } as const;

/** What a sweep needs of its driver. */
export interface SweepOwner {
  readonly simulation: SimulatedHost;
  readonly clock: Clock;
  readonly closed: boolean;
  /** Counts records as they are computed. */
  produced: number;
}

/**
 * One sweep: lists guests, asks them and hands on what they say. A guest that answers at once is a record of the chunk
 * being made; one that takes its time goes into a queue until its answer or its deadline is due, and holds up nobody.
 * Nothing is computed ahead of a pull.
 */
export class Sweep {
  readonly #owner: SweepOwner;
  readonly #host: SimulatedHost;
  readonly #query: Query;
  readonly #context: SweepContext;
  readonly #pending = new PendingQueue();
  #listing!: Listing;
  #layout!: Layout;
  #rest!: Layout;
  #missing: readonly Group[] = [];
  #asked: readonly Group[] = [];
  #position = 0;
  #busySlots = 0;
  #exhausted = false;
  #left = false;
  #wake: (() => void) | undefined;
  #turnAt = 0;
  /** A time that has been waited for, in ms since 1970. */
  #reached = Number.NEGATIVE_INFINITY;

  constructor(owner: SweepOwner, query: Query, context: SweepContext) {
    this.#owner = owner;
    this.#host = owner.simulation;
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

  /** A guest answers again; whoever waits for it gets its full record now. */
  thaw(index: number): void {
    const now = this.#owner.clock.now();
    if (this.#pending.thaw(index, now + this.#host.options.latencyMs)) this.wake();
  }

  async *records(): AsyncGenerator<readonly DomainStatsRecord[], void, void> {
    this.#turnAt = performance.now() + WORK_MS;
    if (!(await this.#begin())) return;
    let limit = 1;
    while (this.#goesOn()) {
      const chunk = this.#chunk(limit);
      if (chunk.length > 0) {
        limit = CHUNK_RECORDS;
        yield chunk;
      } else if (this.#exhausted && this.#pending.size === 0) {
        return;
      } else if (this.#exhausted || this.#slotsTaken()) {
        await this.#wait(this.#pending.first!.dueAt);
      }
      await this.#breathe();
    }
  }

  /** Works out the groups and the listing; false when the sweep ended meanwhile. */
  async #begin(): Promise<boolean> {
    if (!this.#goesOn()) return false;
    const groups = this.#host.groups(this.#query);
    const backing = (this.#query.flags & StatsFlag.backing) !== 0;
    this.#layout = this.#host.layout(groups, backing);
    this.#rest = this.#host.layout(groups & MONITOR_FREE_GROUPS, backing);
    this.#asked = groupNames(groups);
    this.#missing = groupNames(groups & ~MONITOR_FREE_GROUPS);
    this.#listing = this.#host.listing(this.#query);
    while (!this.#listing.prepare()) {
      await this.#breathe();
      if (!this.#goesOn()) return false;
    }
    this.#context.expect(this.#listing.size);
    return true;
  }

  /** Whether there is reason to go on: false once nobody listens, an error once the driver is closed. */
  #goesOn(): boolean {
    if (this.#left || this.#context.signal.aborted) return false;
    if (this.#owner.closed) throw new VirstreamError("connection-closed", "the connection was closed during the sweep");
    return true;
  }

  /** Up to `limit` records that can be had now: first those that were waited for, then from guests not yet asked. */
  #chunk(limit: number): DomainStatsRecord[] {
    const now = this.#owner.clock.now();
    const reached = Math.max(now, this.#reached);
    const chunk: DomainStatsRecord[] = [];
    let parameters = 0;
    while (
      chunk.length < limit &&
      parameters < CHUNK_PARAMETERS &&
      (this.#pending.first?.dueAt ?? Infinity) <= reached
    ) {
      const record = this.#due();
      parameters += record.params.size;
      chunk.push(record);
    }
    for (let asked = 0; asked < STRIDE; asked++) {
      if (chunk.length >= limit || parameters >= CHUNK_PARAMETERS || this.#exhausted || this.#slotsTaken()) break;
      const index = this.#listing.next();
      if (index === Listed.later) break;
      if (index === Listed.end) {
        this.#exhausted = true;
        break;
      }
      const record = index === Listed.unknown ? this.#unknown(now) : this.#ask(index, now);
      if (record === undefined) continue;
      parameters += record.params.size;
      chunk.push(record);
    }
    this.#owner.produced += chunk.length;
    return chunk;
  }

  #slotsTaken(): boolean {
    return this.#busySlots >= SLOTS;
  }

  /** Asks a guest: its record if that can be had at once, undefined if it is to be waited for. */
  #ask(index: number, now: number): DomainStatsRecord | undefined {
    const position = this.#position++;
    const domain = this.#host.domain(index);
    const fault = this.#host.fault(index);
    const { latencyMs } = this.#host.options;
    if (fault === undefined && latencyMs === 0) {
      return this.#answer(domain, position, now, 0, this.#host.sample(index, this.#layout, now));
    }
    if (fault !== undefined && !this.#host.meet(index)) {
      const params = TypedParams.EMPTY;
      return new DomainStatsRecord({ domain, params, status: "gone", sampledAt: now, tookMs: 0, index: position });
    }
    if (fault?.failing) return this.#failure(domain, position, now);

    // A frozen or slow guest keeps nobody from its monitor-free groups.
    const monitored = this.#missing.length > 0;
    const frozen = monitored && fault?.frozen === true;
    const slowMs = monitored ? (fault?.slowMs ?? 0) : 0;
    if (frozen && (this.#query.flags & StatsFlag.nowait) !== 0) {
      return this.#partial("busy", index, domain, position, now, 0);
    }
    const { deadlineMs } = this.#query;
    const tookMs = frozen ? Number.POSITIVE_INFINITY : slowMs > 0 ? slowMs : latencyMs;
    if (tookMs === 0) return this.#answer(domain, position, now, 0, this.#host.sample(index, this.#layout, now));
    const slot = !frozen && slowMs === 0;
    if (slot) this.#busySlots++;
    this.#pending.add({
      index,
      position,
      domain,
      askedAt: now,
      dueAt: now + Math.min(tookMs, deadlineMs),
      answers: tookMs <= deadlineMs || !monitored,
      slot,
      frozen,
    });
    return undefined;
  }

  /** The record of the guest that is due. */
  #due(): DomainStatsRecord {
    const { index, position, domain, askedAt, dueAt, answers, slot } = this.#pending.take()!;
    if (slot) this.#busySlots--;
    const tookMs = Math.round((dueAt - askedAt) * 1000) / 1000;
    if (!answers) return this.#partial("timeout", index, domain, position, askedAt, tookMs);
    return this.#answer(domain, position, askedAt, tookMs, this.#host.sample(index, this.#layout, askedAt));
  }

  #answer(domain: Domain, index: number, sampledAt: number, tookMs: number, params: TypedParams): DomainStatsRecord {
    return new DomainStatsRecord({ domain, params, status: "ok", sampledAt, tookMs, index });
  }

  /** The groups that need no monitor: at the deadline, or with `nowait` at once because the guest's job is held. */
  #partial(
    reason: "busy" | "timeout",
    guest: number,
    domain: Domain,
    index: number,
    sampledAt: number,
    tookMs: number,
  ): DomainStatsRecord {
    return new DomainStatsRecord({
      domain,
      params: this.#host.sample(guest, this.#rest, sampledAt),
      status: "partial",
      reason,
      missing: this.#missing,
      sampledAt,
      tookMs,
      index,
    });
  }

  #failure(domain: Domain, index: number, sampledAt: number): DomainStatsRecord {
    return new DomainStatsRecord({
      domain,
      params: TypedParams.EMPTY,
      status: "failed",
      reason: "error",
      missing: this.#asked,
      sampledAt,
      tookMs: 0,
      index,
      error: new VirstreamError("hypervisor-error", `${domain.name}: this guest is told to fail (error=)`, {
        libvirt: LIBVIRT_FAILURE,
      }),
    });
  }

  #unknown(sampledAt: number): DomainStatsRecord {
    const selector = this.#listing.unknown!;
    const named = "uuid" in selector ? selector.uuid : JSON.stringify(selector.name);
    return new DomainStatsRecord({
      domain: this.#host.unknownDomain(selector),
      params: TypedParams.EMPTY,
      status: "gone",
      reason: "unknown",
      sampledAt,
      tookMs: 0,
      index: this.#position++,
      error: new VirstreamError("unknown-domain", `there is no domain ${named} on ${this.#host.options.host}`),
    });
  }

  /** Lets the event loop have a turn when it is time for one. */
  async #breathe(): Promise<void> {
    if (performance.now() < this.#turnAt) return;
    await eventLoopTurn();
    this.#turnAt = performance.now() + WORK_MS;
  }

  /**
   * Waits until a time, or until something happens: an abort, a close, a thaw. A timer that has fired counts as having
   * reached its time, whatever the clock says: timers fire a little early, and clocks are set back.
   */
  #wait(until: number): Promise<void> {
    const { clock } = this.#owner;
    const { signal } = this.#context;
    return new Promise((resolve) => {
      const wake = () => {
        clock.clearTimeout(timer);
        signal.removeEventListener("abort", wake);
        this.#wake = undefined;
        resolve();
      };
      const timer = clock.setTimeout(
        () => {
          this.#reached = until;
          wake();
        },
        Math.max(0, until - clock.now()),
      );
      signal.addEventListener("abort", wake);
      this.#wake = wake;
    });
  }
}
