import { type LifecycleEvent, LifecycleEventType, type RemoteDomain } from "../rpc/remote-domain.ts";

/** How old a listing may be to replace a new one, in ms, where no events keep it current. */
const RECENT_MS = 60_000;
/** For how many filters the last listing is kept. The number is bounded because clients choose the filters. */
const KEPT = 4;

/**
 * The domains of a host, as far as they are known: the last listing of all, kept current by libvirt's lifecycle events,
 * and the last listing for each of a few filters. Pure; the caller passes the clock.
 *
 * Events arrive a moment after the change. An event also does not say whether the domain that stopped was transient,
 * and so no longer exists. Therefore a sweep compares the cache with the daemon's own count before it relies on the cache.
 */
export class DomainCache {
  /** Whether the daemon sends events. */
  live = false;

  readonly #now: () => number;
  readonly #kept = new Map<number, { domains: readonly RemoteDomain[]; at: number }>();
  #all: Map<string, RemoteDomain> | undefined;

  /** @param now milliseconds on a steady clock */
  constructor(now: () => number) {
    this.#now = now;
  }

  /**
   * Stores a new listing.
   *
   * @param live whether the daemon sent events already when it was asked. A listing from before may lack a change of
   *   which no event came
   */
  remember(filter: number, domains: readonly RemoteDomain[], live: boolean): void {
    if (filter === 0 && live) this.#all = new Map(domains.map((domain) => [domain.uuid, domain]));
    this.#kept.delete(filter);
    this.#kept.set(filter, { domains, at: this.#now() });
    const oldest = this.#kept.keys().next();
    if (this.#kept.size > KEPT && !oldest.done) this.#kept.delete(oldest.value);
  }

  /** The connection has ended, so changes are missed from now on. */
  disconnected(): void {
    this.live = false;
    this.#all = undefined;
  }

  /** All domains, kept current by events; undefined where they are not known. */
  current(): readonly RemoteDomain[] | undefined {
    return this.#all === undefined ? undefined : [...this.#all.values()];
  }

  /**
   * The replacement for a listing that does not come: the current domains, or else the last listing, if it is recent.
   */
  recall(filter: number): readonly RemoteDomain[] | undefined {
    const current = filter === 0 ? this.current() : undefined;
    if (current !== undefined) return current;
    const kept = this.#kept.get(filter);
    return kept !== undefined && this.#now() - kept.at <= RECENT_MS ? kept.domains : undefined;
  }

  /** Applies a change that the daemon reports. */
  apply({ type, domain }: LifecycleEvent): void {
    const all = this.#all;
    if (all === undefined) return;
    switch (type) {
      case LifecycleEventType.undefined:
        // A running domain stays until it stops.
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
