import { entryOf } from "../../driver/memo.ts";
import type { Query } from "../../model/query.ts";
import { isComplete } from "../../sampling/completeness.ts";
import type { WatchedQuery } from "../../sampling/sampling.ts";
import { Rate } from "./rate.ts";

/** The load of a query of all domains. Loads are whole hundredths of this load, so that their sums are exact. */
export const WHOLE_LOAD = 100;

/**
 * The load of a query, in hundredths: 1 for each named domain, but at most WHOLE_LOAD. A query that names no domains
 * has WHOLE_LOAD.
 */
export function loadOf({ domains }: Query): number {
  return domains === undefined ? WHOLE_LOAD : Math.min(WHOLE_LOAD, domains.length);
}

/** The load of a watched query with patterns until its first sweep has ended. */
const UNKNOWN_LOAD = WHOLE_LOAD / 4;

/** The load of a watched query. For a query with patterns, it depends on how many domains match. */
export function watchedLoadOf(query: Query, feeds: WatchedQuery["feeds"] | undefined): number {
  if ((query.names ?? query.hosts) === undefined) return loadOf(query);
  for (const feed of feeds?.values() ?? []) if (isComplete(feed)) return Math.min(WHOLE_LOAD, 1 + feed.size);
  return UNKNOWN_LOAD;
}

/** A sweep that waits for its turn. */
interface Waiting {
  /** The load of its query. */
  readonly cost: number;
  readonly begin: () => void;
}

/**
 * Limits how many sweeps the requests of clients begin per second: single sweeps, and the first sweep of a watch that
 * shares no other watch's sweeps. Later sweeps of a watch follow the watch's interval. A client that asks for more
 * sweeps waits. The clients that wait take turns, so a client that asks for very many sweeps delays itself most.
 */
export class SweepPace {
  /** Limits the sum of the loads of the sweeps that begin per second. */
  readonly #rate: Rate;
  /** The sweeps that wait, by client. The client whose turn is next comes first. */
  readonly #clients = new Map<object, Waiting[]>();
  #timer: NodeJS.Timeout | undefined;

  /** @param sweepsPerSecond returns the limit, which may change */
  constructor(sweepsPerSecond: () => number) {
    this.#rate = new Rate(() => WHOLE_LOAD * sweepsPerSecond());
  }

  /** Calls `begin` at the client's turn, perhaps at once. Returns a function that cancels the wait. */
  enter(client: object, cost: number, begin: () => void): () => void {
    const waiting = { cost, begin };
    entryOf(this.#clients, client, () => []).push(waiting);
    if (this.#timer === undefined) this.#serve();
    return () => {
      const left = this.#clients.get(client)?.filter((one) => one !== waiting) ?? [];
      if (left.length > 0) this.#clients.set(client, left);
      else this.#clients.delete(client);
    };
  }

  /**
   * Begins all sweeps that wait. This method is called after all clients have left. So the sweeps that still wait are
   * for watches that the program of this process shared with clients.
   */
  close(): void {
    clearTimeout(this.#timer);
    const waiting = [...this.#clients.values()].flat();
    this.#clients.clear();
    for (const { begin } of waiting) begin();
  }

  #serve(): void {
    this.#timer = undefined;
    for (const [client, [first, ...rest]] of this.#clients) {
      const wait = this.#rate.take(first!.cost);
      if (wait > 0) {
        this.#timer = setTimeout(() => this.#serve(), Math.ceil(wait));
        return;
      }
      this.#clients.delete(client);
      if (rest.length > 0) this.#clients.set(client, rest);
      first!.begin();
    }
  }
}
