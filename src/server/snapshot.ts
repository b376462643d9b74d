import type { DomainStatsRecord } from "../model/record.ts";
import type { StatusEvent, SyncEvent } from "../model/watch.ts";
import type { Feed } from "../sampling/feed.ts";

/**
 * The most snapshots of one channel at a time. Each takes two words per domain, and keeps its records in memory until its
 * slowest reader has finished.
 */
const MAX_ALIVE = 8;

/** A consistent copy of a channel's state at one sequence. All readers that join at this sequence share it. */
export interface Snapshot {
  readonly sequence: number;
  /** The records by their domains' numbers, with holes. */
  readonly records: readonly (DomainStatsRecord | undefined)[];
  /** How many records there are. */
  readonly size: number;
  /** The end of the last tick; undefined: there was none yet. */
  readonly sync: SyncEvent | undefined;
  /** The sources that are not connected. */
  readonly statuses: readonly StatusEvent[];
  /** Whether it has the domains of all hosts that can be reached. */
  readonly complete: boolean;
  /** A reader has finished with it. To be called once per `open`. */
  close(): void;
}

/** The snapshots of one channel. */
export class Snapshots {
  /** How many readers each snapshot has. */
  readonly #alive = new Map<Snapshot, number>();
  #newest: Snapshot | undefined;

  /** The state of a feed at a sequence; undefined: there are too many snapshots. */
  open(sequence: number, feed: Feed): Snapshot | undefined {
    let snapshot = this.#newest?.sequence === sequence ? this.#newest : undefined;
    if (snapshot === undefined) {
      if (this.#alive.size >= MAX_ALIVE) return undefined;
      snapshot = this.#take(sequence, feed);
    }
    this.#newest = snapshot;
    this.#alive.set(snapshot, (this.#alive.get(snapshot) ?? 0) + 1);
    return snapshot;
  }

  #take(sequence: number, feed: Feed): Snapshot {
    const snapshot: Snapshot = {
      sequence,
      records: feed.records(),
      size: feed.size,
      sync: feed.sync,
      statuses: [...feed.statuses],
      complete: feed.complete,
      close: () => {
        const readers = this.#alive.get(snapshot)! - 1;
        if (readers > 0) {
          this.#alive.set(snapshot, readers);
        } else {
          this.#alive.delete(snapshot);
          if (this.#newest === snapshot) this.#newest = undefined;
        }
      },
    };
    return snapshot;
  }
}
