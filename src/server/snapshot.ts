import type { DomainStatsRecord } from "../model/record.ts";
import type { StatusEvent, SyncEvent } from "../model/watch.ts";
import { isComplete } from "../sampling/completeness.ts";
import type { Feed } from "../sampling/feed.ts";

/**
 * The most snapshots of one channel at a time. Each snapshot takes two machine words per domain, and keeps its records
 * in memory.
 */
const MAX_ALIVE = 8;

/** A consistent copy of a channel's state at one sequence. All readers that join at this sequence share it. */
export class Snapshot {
  readonly sequence: number;
  /** How many records there are. */
  readonly size: number;
  /** The end of the last tick; undefined: there was none yet. */
  readonly sync: SyncEvent | undefined;
  /** The sources that are not connected. */
  readonly statuses: readonly StatusEvent[];
  /** True if it has the domains of all hosts that can be reached. */
  readonly complete: boolean;
  /** The records by their domains' numbers, with holes; undefined: it was dropped, and its readers need a new snapshot. */
  records: readonly (DomainStatsRecord | undefined)[] | undefined;
  readers = 0;

  constructor(sequence: number, feed: Feed) {
    this.sequence = sequence;
    this.size = feed.size;
    this.sync = feed.sync;
    this.statuses = [...feed.statuses];
    this.complete = isComplete(feed);
    this.records = feed.records();
  }
}

/** The snapshots of one channel. Slow readers of old snapshots must not delay others, so a ninth replaces the oldest. */
export class Snapshots {
  /** Those that have readers, the oldest first. */
  readonly #alive: Snapshot[] = [];

  /** The state of a feed at a sequence. Each reader must `close` it. */
  open(sequence: number, feed: Feed): Snapshot {
    let snapshot = this.#alive.at(-1);
    if (snapshot?.sequence !== sequence) {
      snapshot = new Snapshot(sequence, feed);
      if (this.#alive.push(snapshot) > MAX_ALIVE) this.#alive.shift()!.records = undefined;
    }
    snapshot.readers++;
    return snapshot;
  }

  /** A reader has finished with it. */
  close(snapshot: Snapshot): void {
    snapshot.readers--;
    const position = this.#alive.indexOf(snapshot);
    if (snapshot.readers === 0 && position >= 0) this.#alive.splice(position, 1);
  }
}
