import type { RemoteDomain } from "../rpc/remote-domain.ts";

/** How old a listing may be to stand in for a new one, in ms. Domains come and go; what is older would pass over some. */
const RECENT_MS = 60_000;
/** How many filters' listings are kept; filters come from strangers, too. */
const KEPT = 4;

/** The last listing for each of the last few filters. Pure; the clock is handed in. */
export class Listings {
  readonly #now: () => number;
  readonly #kept = new Map<number, { domains: readonly RemoteDomain[]; at: number }>();

  /** @param now milliseconds on any clock that does not jump */
  constructor(now: () => number) {
    this.#now = now;
  }

  remember(filter: number, domains: readonly RemoteDomain[]): void {
    this.#kept.delete(filter);
    this.#kept.set(filter, { domains, at: this.#now() });
    const oldest = this.#kept.keys().next();
    if (this.#kept.size > KEPT && !oldest.done) this.#kept.delete(oldest.value);
  }

  /** The last listing with this filter, if it is recent. */
  recall(filter: number): readonly RemoteDomain[] | undefined {
    const kept = this.#kept.get(filter);
    return kept !== undefined && this.#now() - kept.at <= RECENT_MS ? kept.domains : undefined;
  }
}
