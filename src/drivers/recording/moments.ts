import type { DomainStatsRecord } from "../../model/record.ts";
import type { StatusEvent } from "../../model/watch.ts";
import { Playback } from "./playback.ts";
import type { FilePiece, Recording } from "./recording.ts";

/**
 * The state of a recording at a moment. It is valid only while the callback of `Moments.read` runs, because a later
 * query may advance it to another moment.
 */
export interface State {
  /** The newest record of each domain. */
  readonly records: Iterable<DomainStatsRecord>;
  /** The newest `status` event of each source that was not connected. */
  readonly statuses: Iterable<StatusEvent>;
}

/**
 * The most cursors that are kept, so that a later query can read on from them. The live page in a browser needs three:
 * for its list of guests, for the earlier sweep from which it computes the list's rates, and for one open guest.
 */
const MOST_CURSORS = 3;
/**
 * If a moment is later than a cursor's latest moment by more than this, in ms of recorded time, the search starts at
 * the key frame before the moment, and not at the cursor.
 */
const NEAR_MS = 30_000;

/** A place in a recording, and the state there. */
class Cursor {
  readonly recording: Recording;
  readonly #playback: Playback;
  readonly #pieces: AsyncGenerator<FilePiece>;
  /** The piece that was read and is not applied yet. */
  #next: FilePiece | undefined;
  /**
   * The recorded time of the last frame that was applied, and the latest moment up to which a query has advanced this
   * cursor.
   */
  #at = Number.NEGATIVE_INFINITY;
  #reached = Number.NEGATIVE_INFINITY;
  #ended = false;
  /** The last key frame that was applied. */
  #key: FilePiece | undefined;

  constructor(owner: object, recording: Recording, time: number) {
    this.recording = recording;
    this.#playback = new Playback(owner);
    this.#pieces = recording.pieces(time);
  }

  get state(): State {
    return { records: this.#playback.records(), statuses: this.#playback.statuses };
  }

  /** True if nothing follows in the files that existed when the cursor was opened. Later frames need another cursor. */
  get ended(): boolean {
    return this.#ended;
  }

  /**
   * The last key frame, if it lacks records because it was cut or is being written; otherwise undefined. The frames
   * before it contain the records that it lacks.
   */
  get brokenKey(): FilePiece | undefined {
    return this.#playback.isWhole ? undefined : this.#key;
  }

  /** True if a moment is found faster by reading on from this cursor than by a new search. */
  isNear(time: number): boolean {
    return !this.#ended && this.#at <= time && time - this.#reached <= NEAR_MS;
  }

  /** True if this cursor is nearer to a moment than another cursor. Both cursors must be before the moment. */
  isNearerThan(other: Cursor): boolean {
    return this.#at > other.#at;
  }

  /** Applies the pieces up to a moment, or up to a broken key frame, which it does not apply. */
  async advance(time: number, signal: AbortSignal, broken: FilePiece | undefined): Promise<void> {
    while (!signal.aborted) {
      if (this.#next === undefined) {
        const { value, done } = await this.#pieces.next();
        if (done === true) {
          this.#ended = true;
          break;
        }
        this.#next = value;
      }
      const piece = this.#next;
      if (piece.offset === broken?.offset && piece.path === broken.path) break;
      const isMoment = piece.kind !== "damage" && piece.kind !== "state";
      // The `state` parts of a key frame belong to the moment of its first part, although they are written later.
      if (isMoment && piece.at > time) break;
      this.#playback.apply(piece);
      if (piece.kind === "key") this.#key = piece;
      if (isMoment) this.#at = piece.at;
      this.#next = undefined;
    }
    this.#reached = Math.max(this.#reached, Math.min(time, Number.MAX_SAFE_INTEGER));
  }

  async close(): Promise<void> {
    await this.#pieces.return(undefined);
  }
}

/**
 * Finds the state of a recording at any moment. It keeps a few cursors, so a reader that moves forward, such as a page
 * that replays, reads each frame once. It searches for one moment at a time, in the order of the calls.
 */
export class Moments {
  readonly #owner: object;
  /** In the order of their last use: the cursor that was used last is at the end. */
  readonly #cursors: Cursor[] = [];
  #turn: Promise<unknown> = Promise.resolve();

  /** @param owner the driver that the domains belong to */
  constructor(owner: object) {
    this.#owner = owner;
  }

  /**
   * Calls back with the state at a moment, and resolves with the callback's result, or with undefined when the signal
   * was aborted.
   *
   * @param time in ms since 1970; Infinity: the end
   */
  async read<T>(
    recording: Recording,
    time: number,
    signal: AbortSignal,
    take: (state: State) => T,
  ): Promise<T | undefined> {
    const reading = this.#turn.then(() => this.#read(recording, time, signal, take));
    this.#turn = reading.catch(() => {});
    return reading;
  }

  /** Closes the files. */
  async close(): Promise<void> {
    await this.#turn;
    await Promise.all(this.#cursors.splice(0).map((cursor) => cursor.close()));
  }

  async #read<T>(
    recording: Recording,
    time: number,
    signal: AbortSignal,
    take: (state: State) => T,
  ): Promise<T | undefined> {
    let broken: FilePiece | undefined;
    while (!signal.aborted) {
      const cursor = await this.#cursorFor(recording, time, broken);
      let keep = false;
      try {
        await cursor.advance(time, signal, broken);
        if (signal.aborted) return undefined;
        const { ended, brokenKey } = cursor;
        keep = !ended && brokenKey === undefined && broken === undefined;
        // A cursor that has reached its end may have been opened when the recording was shorter. Then the loop tries
        // again with a new cursor.
        if (brokenKey !== undefined) broken = brokenKey;
        else if (!ended || cursor.recording === recording) return take(cursor.state);
      } finally {
        if (!keep) await this.#remove(cursor);
      }
    }
    return undefined;
  }

  async #remove(cursor: Cursor): Promise<void> {
    this.#cursors.splice(this.#cursors.indexOf(cursor), 1);
    await cursor.close();
  }

  /** A cursor for a time. @param broken the broken key frame before which the cursor must begin */
  async #cursorFor(recording: Recording, time: number, broken: FilePiece | undefined): Promise<Cursor> {
    let found: Cursor | undefined;
    for (const cursor of broken === undefined ? this.#cursors : []) {
      if (cursor.isNear(time) && (found === undefined || cursor.isNearerThan(found))) found = cursor;
    }
    if (found === undefined) {
      if (this.#cursors.length === MOST_CURSORS) await this.#remove(this.#cursors[0]!);
      found = new Cursor(this.#owner, recording, broken?.kind === "key" ? broken.at - 1 : time);
    } else this.#cursors.splice(this.#cursors.indexOf(found), 1);
    this.#cursors.push(found);
    return found;
  }
}
