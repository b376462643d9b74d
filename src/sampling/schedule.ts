/**
 * When to sweep for several cadences at once. One of the fastest sets the pace, and the others take part in the sweep
 * that is nearest to their own time: so that the hypervisor is swept no more often than the fastest asks for, and each
 * cadence keeps its mean interval exactly. One alone sets it, also among equals: were it whoever is due next, cadences
 * whose times lie evenly apart would cause a sweep for every half of them, for ever. A time that passes while a sweep is
 * still at work is left out, and counted: sweeps never overlap, and a hypervisor that cannot keep up gets a rest until
 * the next time. Pure: the clock is handed in.
 */

/** A new cadence begins at once, but does not make sweeps follow each other faster than this, in ms. */
const NEWCOMER_SPACING_MS = 1_000;

interface Entry {
  readonly intervalMs: number;
  dueAt: number;
  /** It has not taken part in any sweep yet. */
  fresh: boolean;
  /** Times that passed before the sweep that it takes part in now. */
  leftOut: number;
}

/** Keeps the times of cadences, each known by an item of the caller's. */
export class Schedule<Item extends object> {
  readonly #entries = new Map<Item, Entry>();
  #sweptAt = Number.NEGATIVE_INFINITY;

  get size(): number {
    return this.#entries.size;
  }

  add(item: Item, intervalMs: number, now: number): void {
    const fastest = this.#pacemaker()?.intervalMs ?? intervalMs;
    const spacing = Math.min(intervalMs, fastest, NEWCOMER_SPACING_MS);
    this.#entries.set(item, { intervalMs, dueAt: Math.max(now, this.#sweptAt + spacing), fresh: true, leftOut: 0 });
  }

  remove(item: Item): void {
    this.#entries.delete(item);
  }

  /** When the next sweep begins; undefined when there is nothing to sweep for. */
  next(): number | undefined {
    const pacemaker = this.#pacemaker();
    if (pacemaker === undefined) return undefined;
    let next = pacemaker.dueAt;
    for (const { dueAt, fresh } of this.#entries.values()) if (fresh) next = Math.min(next, dueAt);
    return next;
  }

  /** A sweep begins: which items take part in it. */
  begin(now: number): Item[] {
    this.#sweptAt = now;
    const near = now + (this.#pacemaker()?.intervalMs ?? 0) / 2;
    const items: Item[] = [];
    for (const [item, entry] of this.#entries) {
      if (!entry.fresh && entry.dueAt > near) continue;
      items.push(item);
      if (entry.fresh) entry.dueAt = now;
      entry.fresh = false;
      // A timer that fired late does not shift the times that follow; of those that it fired after, it makes up for one.
      const times = Math.max(1, Math.ceil((now - entry.dueAt) / entry.intervalMs));
      entry.leftOut = times - 1;
      entry.dueAt += times * entry.intervalMs;
    }
    return items;
  }

  /** The sweep is at its end: how many times of an item that took part passed before it and meanwhile. They are left out. */
  end(item: Item, now: number): number {
    const entry = this.#entries.get(item);
    if (entry === undefined) return 0;
    const passed = entry.dueAt > now ? 0 : Math.floor((now - entry.dueAt) / entry.intervalMs) + 1;
    entry.dueAt += passed * entry.intervalMs;
    return entry.leftOut + passed;
  }

  /** The first of those that are fastest. */
  #pacemaker(): Entry | undefined {
    let pacemaker: Entry | undefined;
    for (const entry of this.#entries.values()) {
      if (pacemaker === undefined || entry.intervalMs < pacemaker.intervalMs) pacemaker = entry;
    }
    return pacemaker;
  }
}
