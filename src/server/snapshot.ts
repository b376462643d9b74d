import type { DomainStatsRecord } from "../model/record.ts";
import type { StatusEvent, SyncEvent } from "../model/watch.ts";
import type { Feed } from "../sampling/feed.ts";

/**
 * Snapshots of one channel that may be alive at a time. Each is two words per domain, and holds the records of its moment
 * for as long as its slowest reader takes.
 */
const MAX_ALIVE = 8;

/** The state of a channel at one sequence: a consistent copy, which all readers that join there share. */
export interface Snapshot {
  readonly sequence: number;
  /** The records by their domains' numbers, with holes. */
  readonly records: readonly (DomainStatsRecord | undefined)[];
  /** How many there are. */
  readonly size: number;
  /** The last tick; undefined: none yet. */
  readonly sync: SyncEvent | undefined;
  /** The sources that are not connected. */
  readonly statuses: readonly StatusEvent[];
  /** Whether all domains are in it, of all hosts that can be reached. */
  readonly complete: boolean;
  /** Its reader is done with it. Once for each time that it was opened. */
  close(): void;
}

/** The snapshots of one channel. */
export class Snapshots {
  /** How many readers each has. */
  readonly #alive = new Map<Snapshot, number>();
  #newest: Snapshot | undefined;

  /** The state of a feed at a sequence; undefined: too many are alive. */
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
