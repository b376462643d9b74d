import { type LifecycleEvent, LifecycleEventType, type RemoteDomain } from "../rpc/remote-domain.ts";

/** For this many ms, a sweep may use a listing in place of a new one, even if no events keep the listing current. */
const RECENT_MS = 60_000;
/**
 * The cache keeps the last listings of at most this many filters. Clients choose the filters, so without this limit the
 * listings could fill the memory.
 */
const KEPT = 4;
/**
 * The cache keeps no list of domains that needs more memory than this, in bytes. It is enough for more than 60,000
 * domains. Without this limit, a daemon could fill the memory with events about invented domains.
 */
const BYTES_MAX = 16_777_216;
/** The memory that a domain in the cache needs besides the characters of its name, in bytes. */
const BYTES_PER_DOMAIN = 192;

/**
 * The domains of a host, as far as they are known: the last listing of all domains, which libvirt's lifecycle events
 * keep current, and the last listing for each of a few filters. Pure; the caller passes the clock.
 *
 * Events arrive a moment after the change that they report. And when a domain has stopped, the event does not say
 * whether the domain was transient and no longer exists. Therefore a sweep compares the number of domains in the cache
 * with the daemon's own count before it relies on the cache.
 */
export class DomainCache {
  /** True while the daemon sends lifecycle events. */
  live = false;

  readonly #now: () => number;
  readonly #kept = new Map<number, { domains: readonly RemoteDomain[]; at: number }>();
  #all: Map<string, RemoteDomain> | undefined;
  #bytes = 0;

  /** @param now returns the time of a steady clock, in ms */
  constructor(now: () => number) {
    this.#now = now;
  }

  /**
   * Stores a new listing of the domains that pass a filter. The filter 0 means all domains.
   *
   * @param live true if the daemon already sent events when the listing was requested. If not, the listing may lack a
   *   change that no event reports
   */
  remember(filter: number, domains: readonly RemoteDomain[], live: boolean): void {
    const bytes = domains.reduce((sum, domain) => sum + bytesOf(domain), 0);
    this.#kept.delete(filter);
    if (bytes > BYTES_MAX) {
      if (filter === 0) this.#all = undefined;
      return;
    }
    if (filter === 0 && live) {
      this.#all = new Map(domains.map((domain) => [domain.uuid, domain]));
      this.#bytes = bytes;
    }
    this.#kept.set(filter, { domains, at: this.#now() });
    const oldest = this.#kept.keys().next();
    if (this.#kept.size > KEPT && !oldest.done) this.#kept.delete(oldest.value);
  }

  /** Called when the connection has ended: from now on, no events report changes. */
  disconnected(): void {
    this.live = false;
    this.#all = undefined;
  }

  /** All domains, as the last listing and the events since then show them; undefined if they are not known. */
  current(): readonly RemoteDomain[] | undefined {
    return this.#all === undefined ? undefined : [...this.#all.values()];
  }

  /** True if the cache knows that a domain with this uuid exists. */
  has(uuid: string): boolean {
    return this.#all?.has(uuid) ?? false;
  }

  /**
   * The domains to use when a listing call gets no answer: for all domains, the result of `current` if there is one;
   * else the last listing with this filter if it is recent.
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
    const known = all.get(domain.uuid);
    const replace = (by: RemoteDomain | undefined): void => {
      this.#bytes += bytesOf(by) - bytesOf(known);
      if (by === undefined) all.delete(domain.uuid);
      else all.set(domain.uuid, by);
    };
    switch (type) {
      case LifecycleEventType.undefined:
        // A running domain whose definition was deleted still exists until it stops.
        if ((known?.id ?? -1) === -1) replace(undefined);
        break;
      case LifecycleEventType.stopped:
        if (known !== undefined) replace({ ...domain, id: -1 });
        break;
      default:
        replace(domain);
    }
    if (this.#bytes > BYTES_MAX) this.#all = undefined;
  }
}

/** An upper limit of the memory that a domain in the cache needs, in bytes. */
function bytesOf(domain: RemoteDomain | undefined): number {
  return domain === undefined ? 0 : BYTES_PER_DOMAIN + 2 * domain.name.length;
}
