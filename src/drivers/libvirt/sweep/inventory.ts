import { type LifecycleEvent, LifecycleEventType } from "../rpc/lifecycle-event.ts";
import type { RemoteDomain } from "../rpc/remote-domain.ts";

/** How old a listing may be to stand in for a new one, in ms, where no events keep it current. */
const RECENT_MS = 60_000;
/** How many filters' listings are kept; filters come from strangers, too. */
const KEPT = 4;

/**
 * Which domains there are, as far as is known: the listing of all, kept current by libvirt's lifecycle events, and the last
 * listing for each of the last few filters. Pure; the clock is handed in.
 *
 * Events come a moment after what they tell of, and do not say whether a domain that stops was transient, and so is no more.
 * So the inventory is checked against the daemon's own count before a sweep goes by it.
 */
export class Inventory {
  /** Whether the daemon tells of changes. */
  live = false;

  readonly #now: () => number;
  readonly #kept = new Map<number, { domains: readonly RemoteDomain[]; at: number }>();
  #all: Map<string, RemoteDomain> | undefined;

  /** @param now milliseconds on any clock that does not jump */
  constructor(now: () => number) {
    this.#now = now;
  }

  /** Takes in a new listing. */
  remember(filter: number, domains: readonly RemoteDomain[]): void {
    if (filter === 0) this.#all = new Map(domains.map((domain) => [domain.uuid, domain]));
    this.#kept.delete(filter);
    this.#kept.set(filter, { domains, at: this.#now() });
    const oldest = this.#kept.keys().next();
    if (this.#kept.size > KEPT && !oldest.done) this.#kept.delete(oldest.value);
  }

  /** The connection has ended: what happens from now on is not known. */
  disconnected(): void {
    this.live = false;
    this.#all = undefined;
  }

  /** All domains, kept current by events; undefined where it is not known. */
  current(): readonly RemoteDomain[] | undefined {
    return this.live && this.#all !== undefined ? [...this.#all.values()] : undefined;
  }

  /** What may stand in for a listing that cannot be had: the current inventory, or the last listing if it is recent. */
  recall(filter: number): readonly RemoteDomain[] | undefined {
    const current = filter === 0 ? this.current() : undefined;
    if (current !== undefined) return current;
    const kept = this.#kept.get(filter);
    return kept !== undefined && this.#now() - kept.at <= RECENT_MS ? kept.domains : undefined;
  }

  /** Takes in what has happened to a domain. */
  apply({ type, domain }: LifecycleEvent): void {
    const all = this.#all;
    if (all === undefined) return;
    switch (type) {
      case LifecycleEventType.undefined:
        // One that runs is still there, and goes when it stops.
        if ((all.get(domain.uuid)?.id ?? -1) === -1) all.delete(domain.uuid);
        break;
      case LifecycleEventType.stopped:
        if (all.has(domain.uuid)) all.set(domain.uuid, { ...domain, id: -1 });
        break;
      default:
        all.set(domain.uuid, domain);
    }
  }
}
