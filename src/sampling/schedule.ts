/**
 * Decides when to sweep for several cadences together, and which of them take part in each sweep.
 *
 * - The fastest cadence sets the pace. Each of the other cadences takes part in the sweep that is nearest to its own
 *   due time. So the hypervisor is swept no more often than the fastest cadence asks for, and each cadence keeps its
 *   mean interval exactly.
 * - Among equally fast cadences, only the first one sets the pace. Otherwise two cadences of 1 s that are offset by 500
 *   ms would cause two sweeps per second.
 * - Sweeps never overlap. A due time that passes while a sweep runs is skipped and counted, so that a hypervisor that
 *   cannot keep up rests until the next due time.
 *
 * It has no clock of its own: callers pass the time.
 */

/**
 * A new cadence gets a sweep at once, but no earlier than this many ms after the last sweep began. If its own interval,
 * or the interval of the fastest cadence, is shorter than this, the shortest interval counts instead.
 */
const NEWCOMER_SPACING_MS = 1_000;

interface Entry {
  readonly intervalMs: number;
  dueAt: number;
  /** True if the cadence has not taken part in any sweep yet. */
  fresh: boolean;
  /** How many due times of the cadence were skipped before the current sweep. */
  skipped: number;
}

/** The due times of several cadences. The caller identifies each cadence by an item of its own. */
export class Schedule<Item extends object> {
  readonly #entries = new Map<Item, Entry>();
  #sweptAt = Number.NEGATIVE_INFINITY;

  get size(): number {
    return this.#entries.size;
  }

  add(item: Item, intervalMs: number, now: number): void {
    const fastest = this.#pacemaker()?.intervalMs ?? intervalMs;
    const spacing = Math.min(intervalMs, fastest, NEWCOMER_SPACING_MS);
    this.#entries.set(item, { intervalMs, dueAt: Math.max(now, this.#sweptAt + spacing), fresh: true, skipped: 0 });
  }

  remove(item: Item): void {
    this.#entries.delete(item);
  }

  /** When the next sweep begins; undefined without cadences. */
  next(): number | undefined {
    const pacemaker = this.#pacemaker();
    if (pacemaker === undefined) return undefined;
    let next = pacemaker.dueAt;
    for (const { dueAt, fresh } of this.#entries.values()) if (fresh) next = Math.min(next, dueAt);
    return next;
  }

  /** Begins a sweep. Returns the items that take part in the sweep. */
  begin(now: number): Item[] {
    this.#sweptAt = now;
    const near = now + (this.#pacemaker()?.intervalMs ?? 0) / 2;
    const items: Item[] = [];
    for (const [item, entry] of this.#entries) {
      if (!entry.fresh && entry.dueAt > near) continue;
      items.push(item);
      if (entry.fresh) entry.dueAt = now;
      entry.fresh = false;
      // A timer that fires late does not shift later due times. When several due times have passed, there is one sweep
      // for all of them.
      const times = Math.max(1, Math.ceil((now - entry.dueAt) / entry.intervalMs));
      entry.skipped = times - 1;
      entry.dueAt += times * entry.intervalMs;
    }
    return items;
  }

  /**
   * Ends a sweep for an item that took part; returns how many due times of the item were skipped, before and during the
   * sweep.
   */
  end(item: Item, now: number): number {
    const entry = this.#entries.get(item);
    if (entry === undefined) return 0;
    const passed = entry.dueAt > now ? 0 : Math.floor((now - entry.dueAt) / entry.intervalMs) + 1;
    entry.dueAt += passed * entry.intervalMs;
    return entry.skipped + passed;
  }

  /** The fastest cadence; the first of several equally fast ones. */
  #pacemaker(): Entry | undefined {
    let pacemaker: Entry | undefined;
    for (const entry of this.#entries.values()) {
      if (pacemaker === undefined || entry.intervalMs < pacemaker.intervalMs) pacemaker = entry;
    }
    return pacemaker;
  }
}
