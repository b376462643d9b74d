import type { DomainStatsRecord } from "../model/record.ts";
import type { StatusEvent, SyncEvent } from "../model/watch.ts";
import { isComplete } from "../sampling/completeness.ts";
import type { Feed } from "../sampling/feed.ts";
import type { Keeper, SharedMemory } from "./bounds/shared-memory.ts";

/**
 * The most snapshots of one channel at a time. Each snapshot takes two machine words per domain, and keeps its records
 * in memory.
 */
const MAX_ALIVE = 8;

/**
 * A consistent copy of a channel's state at one sequence. All readers that open a snapshot at this sequence share this
 * copy.
 */
export class Snapshot {
  readonly sequence: number;
  /** How many records the snapshot has. */
  readonly size: number;
  /** The event for the end of the last tick; undefined if no tick has ended yet. */
  readonly sync: SyncEvent | undefined;
  /** The states of the sources that are not connected. */
  readonly statuses: readonly StatusEvent[];
  /** True if the snapshot has the domains of all hosts that can be reached. */
  readonly complete: boolean;
  /**
   * The records, each at the position of its domain's number; a position without a domain is undefined. If `records`
   * itself is undefined, the snapshot was dropped, and its readers need a new snapshot.
   */
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

/**
 * The snapshots of one channel. Slow readers of old snapshots must not make new readers wait, so a ninth snapshot
 * replaces the oldest. If the snapshots of all channels together become too large, the channel that can spare most
 * records drops its oldest snapshot.
 */
export class Snapshots implements Keeper {
  readonly #memory: SharedMemory;
  /** The snapshots that have readers, the oldest first. */
  readonly #alive: Snapshot[] = [];

  /** @param memory bounds the records of the snapshots of all channels together */
  constructor(memory: SharedMemory) {
    this.#memory = memory;
    memory.join(this);
  }

  /**
   * The number of records of all snapshots except the newest. The channel always keeps the newest snapshot, because
   * otherwise the readers would begin a new snapshot again and again.
   */
  get spare(): number {
    return this.#alive.slice(0, -1).reduce((sum, { size }) => sum + size, 0);
  }

  /** Drops the oldest snapshot. Its readers begin a new snapshot. */
  shed(): void {
    const oldest = this.#alive.shift()!;
    oldest.records = undefined;
    this.#memory.changed(-oldest.size);
  }

  /** Drops all snapshots, because the channel has ended and has no readers. */
  clear(): void {
    while (this.#alive.length > 0) this.shed();
    this.#memory.leave(this);
  }

  /**
   * Returns a snapshot of the feed's present state. Each reader must `close` the snapshot.
   *
   * @param sequence the sequence of the channel's last message; the messages up to it must have all rows of this state
   */
  open(sequence: number, feed: Feed): Snapshot {
    let snapshot = this.#alive.at(-1);
    if (snapshot?.sequence !== sequence) {
      snapshot = new Snapshot(sequence, feed);
      if (this.#alive.push(snapshot) > MAX_ALIVE) this.shed();
      this.#memory.changed(snapshot.size);
    }
    snapshot.readers++;
    return snapshot;
  }

  /** Called when a reader has finished with a snapshot. */
  close(snapshot: Snapshot): void {
    snapshot.readers--;
    const position = this.#alive.indexOf(snapshot);
    if (snapshot.readers > 0 || position < 0) return;
    this.#alive.splice(position, 1);
    this.#memory.changed(-snapshot.size);
  }
}
