import type { DomainStatsRecord } from "../../src/model/record.ts";
import type { GapEvent, SyncEvent, WatchEvent, WatchState } from "../../src/model/watch.ts";
import { cellsOf } from "../model/cells.ts";
import type { ServedTick, ServedTicks } from "./served-ticks.ts";

/** So many broken promises are told; one is enough to fail, and a thousand of a kind say no more. */
const MOST_TOLD = 20;

/**
 * Keeps the account of one watch, event by event, and finds what was promised and not kept: each sweep is delivered or
 * covered by a gap, none twice; each record is delivered once, and never an older one after a newer one; domains leave
 * that were there. Beside what the server really made, it also compares numbers and values: a gap is exactly as long as
 * what is missing, and after each sync what the client knows is what the server knew.
 */
export class TickLedger {
  /** Promises that were broken, in words. */
  readonly broken: string[] = [];
  readonly gaps: GapEvent[] = [];
  readonly statuses: WatchState[] = [];
  records = 0;
  /** Ends of sweeps that were delivered. */
  syncs = 0;
  /** Sweeps that gaps covered, of those that say how many. */
  skipped = 0;
  /** Times that the server let pass without a sweep, as it says. */
  overruns = 0;
  /** The first sync that was delivered. */
  firstSync: SyncEvent | undefined;
  /** Syncs whose state was compared with the server's, and had to be equal. */
  equal = 0;
  readonly #served: ServedTicks | undefined;
  readonly #numbered: boolean;
  readonly #known = new Map<string, DomainStatsRecord>();
  /** The time of the newest record of each domain, also of those that left. */
  readonly #newest = new Map<string, number>();
  #last: ServedTick | undefined;
  #lastSync: SyncEvent | undefined;
  /** Sweeps covered since the last sync; undefined: nobody knows. */
  #covered: number | undefined = 0;
  /** Whether a snapshot may have come since the last sync: it may know more than the sync tells. */
  #mayBeAhead = true;

  /**
   * @param served what the server made; without it, only what follows from the events is checked
   * @param numbered whether ticks are as the server counts them, those of gaps too, as a driver's own events are
   */
  constructor(served?: ServedTicks, numbered = false) {
    this.#served = served;
    this.#numbered = numbered;
  }

  /** Gaps of an unknown length. */
  get unknownGaps(): number {
    return this.gaps.filter(({ skipped }) => skipped === undefined).length;
  }

  /** The figures in words. */
  summary(): string {
    const reasons = new Map<string, number>();
    for (const { reason } of this.gaps) reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
    const which = [...reasons].map(([reason, count]) => `${count} ${reason}`).join(", ");
    return (
      `${this.syncs} sweeps delivered, ${this.skipped} in ${this.gaps.length} gaps (${which || "none"}), ` +
      `${this.unknownGaps} of them of unknown length; ${this.records} records; ` +
      `${this.equal} states that had to be equal; ${this.statuses.length} statuses`
    );
  }

  /** The last sync that was delivered. */
  get lastSync(): SyncEvent | undefined {
    return this.#lastSync;
  }

  /** How many domains the client knows. */
  get domains(): number {
    return this.#known.size;
  }

  take(event: WatchEvent): void {
    switch (event.type) {
      case "record":
        this.#record(event.record);
        break;
      case "gone":
        if (!this.#known.delete(event.domain.uuid)) this.#break(`${event.domain.name} is gone, and was not there`);
        break;
      case "sync":
        this.#sync(event);
        break;
      case "gap":
        this.gaps.push(event);
        this.skipped += event.skipped ?? 0;
        this.#covered =
          this.#covered === undefined || event.skipped === undefined ? undefined : this.#covered + event.skipped;
        this.#mayBeAhead = true;
        break;
      case "status":
        this.statuses.push(event.state);
        this.#mayBeAhead = true;
        break;
    }
  }

  #record(record: DomainStatsRecord): void {
    const { domain, sampledAt } = record;
    const newest = this.#newest.get(domain.uuid);
    if (newest === sampledAt) this.#break(`${domain.name} of ${sampledAt} comes twice`);
    if (newest !== undefined && newest > sampledAt) this.#break(`${domain.name} of ${sampledAt} after ${newest}`);
    this.#newest.set(domain.uuid, sampledAt);
    this.#known.set(domain.uuid, record);
    this.records++;
  }

  #sync(event: SyncEvent): void {
    this.syncs++;
    this.firstSync ??= event;
    if (event !== this.firstSync) this.overruns += event.overrun;
    const before = this.#lastSync;
    if (before !== undefined && this.#covered !== undefined) {
      const { tick } = before;
      const lost = this.#numbered && event.tick !== tick + 1 + this.#covered;
      if (event.tick <= tick || lost) this.#break(`tick ${event.tick} after ${tick}, and gaps of ${this.#covered}`);
    }
    if (this.#served !== undefined) this.#compare(event, this.#served);
    this.#lastSync = event;
    this.#covered = 0;
    this.#mayBeAhead = false;
  }

  #compare(event: SyncEvent, served: ServedTicks): void {
    const tick = served.tick(event);
    if (tick === undefined) {
      this.#break(`tick ${event.tick} is not one that was made, or comes again`);
      return;
    }
    if (this.#last !== undefined && this.#covered !== undefined) {
      const missing = tick.number - this.#last.number - 1;
      if (missing !== this.#covered) {
        this.#break(`sweep ${tick.number} after ${this.#last.number}, and gaps of ${this.#covered}`);
      }
    }
    if (this.#last !== undefined && tick.number <= this.#last.number) {
      this.#break(`sweep ${tick.number} after sweep ${this.#last.number}`);
    }
    this.#compareState(tick, served);
    this.#last = tick;
    served.letGo(tick);
  }

  #compareState(tick: ServedTick, served: ServedTicks): void {
    const ahead = this.#mayBeAhead;
    if (!ahead) this.equal++;
    for (const [uuid, { record }] of tick.state) {
      const known = this.#known.get(uuid);
      if (known !== undefined && known.sampledAt === record.sampledAt) {
        if (!sameValues(known, record)) this.#break(`sweep ${tick.number}: ${record.domain.name} has other values`);
      } else if (known === undefined) {
        if (!ahead || served.goneAt(uuid) < tick.order) this.#break(`sweep ${tick.number}: no ${record.domain.name}`);
      } else if (!ahead || !this.#isNewer(known, tick, served)) {
        const times = `${known.sampledAt}, not ${record.sampledAt}`;
        this.#break(`sweep ${tick.number}: ${record.domain.name} of ${times}`);
      }
    }
    for (const [uuid, known] of this.#known) {
      if (tick.state.has(uuid)) continue;
      if (!ahead || !this.#isNewer(known, tick, served)) {
        this.#break(`sweep ${tick.number}: ${known.domain.name} is still there`);
      }
    }
  }

  /** Whether a record was made after a sweep, as it is. */
  #isNewer(known: DomainStatsRecord, tick: ServedTick, served: ServedTicks): boolean {
    const made = served.made(known);
    return made !== undefined && made.order > tick.order && sameValues(known, made.record);
  }

  #break(what: string): void {
    if (this.broken.length < MOST_TOLD) this.broken.push(what);
  }
}

function sameValues(one: DomainStatsRecord, other: DomainStatsRecord): boolean {
  const cells = cellsOf(other.params);
  const known = cellsOf(one.params);
  return (
    one.index === other.index &&
    one.domain.name === other.domain.name &&
    known.length === cells.length &&
    cells.every((cell, i) => cell === known[i])
  );
}
