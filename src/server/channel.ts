import { VirstreamError } from "../model/error.ts";
import type { Domain, DomainStatsRecord } from "../model/record.ts";
import type { GapEvent, StatusEvent, SyncEvent } from "../model/watch.ts";
import type { Feed, FeedEntry, FeedListener } from "../sampling/feed.ts";
import type { ChannelEncoder, ChannelMessage } from "../wire/channel-encoder.ts";
import { Coalescer } from "../wire/flow-control.ts";
import { ChannelRing } from "./channel-ring.ts";
import { type Snapshot, Snapshots } from "./snapshot.ts";

/** How long a channel outlives a reader that was cut off, in ms. */
const LINGER_MS = 30_000;

/** A reader of a channel. */
export interface ChannelReader {
  /** A message was made. The feed may be in the middle of an event: its state is not to be read now. */
  offer(message: ChannelMessage): void;
  /** For now that was all. What the feed knows is in messages, or will be with the next flush. */
  settled(): void;
  /** The channel has ended. */
  ended(error: VirstreamError): void;
}

/**
 * One feed, put into messages once for all who watch it in one profile. They get the same bytes, so that a reader costs
 * only the sending. It keeps the last messages, and goes on for a while when its last reader was cut off: a reader that comes
 * back in time misses nothing.
 */
export class Channel implements FeedListener {
  readonly feed: Feed;
  readonly #encoder: ChannelEncoder;
  readonly #over: () => void;
  readonly #ring = new ChannelRing();
  readonly #snapshots = new Snapshots();
  readonly #readers = new Set<ChannelReader>();
  readonly #coalescer = new Coalescer(() => performance.now());
  #timer: NodeJS.Timeout | undefined;
  #linger: NodeJS.Timeout | undefined;
  /** Where the last reader that was cut off stands. */
  #resumeAt: number | undefined;
  #ended = false;

  /** @param over called once, when it has ended */
  constructor(feed: Feed, encoder: ChannelEncoder, over: () => void) {
    this.feed = feed;
    this.#encoder = encoder;
    this.#over = over;
    feed.listen(this);
  }

  get number(): number {
    return this.#encoder.channel;
  }

  /** The sequence of the last message. */
  get sequence(): number {
    return this.#encoder.sequence;
  }

  /** The last tick; 0: none yet. */
  get tick(): number {
    return this.feed.sync?.tick ?? 0;
  }

  /** The last messages. */
  get ring(): ChannelRing {
    return this.#ring;
  }

  has(reader: ChannelReader): boolean {
    return this.#readers.has(reader);
  }

  join(reader: ChannelReader): void {
    clearTimeout(this.#linger);
    this.#readers.add(reader);
  }

  /** @param resumeAt where the reader stands, if it was cut off and may come back */
  leave(reader: ChannelReader, resumeAt?: number): void {
    if (!this.#readers.delete(reader) || this.#readers.size > 0 || this.#ended) return;
    this.#resumeAt = resumeAt;
    if (this.#resumable) this.#linger = setTimeout(() => this.end(), LINGER_MS);
    else this.end();
  }

  /** Whether a reader that stands at a sequence can go on from there. */
  covers(sequence: number): boolean {
    return sequence === this.sequence || this.#ring.get(sequence + 1) !== undefined;
  }

  /**
   * The state as it is now, which readers that ask for it at the same sequence share; give it back with `close`. Undefined
   * while too many snapshots are being sent, or when the channel has ended. Not while the feed is in the middle of an event.
   */
  snapshot(): Snapshot | undefined {
    this.flushNow();
    return this.#ended ? undefined : this.#snapshots.open(this.sequence, this.feed);
  }

  /** Puts everything that was gathered into messages. Not while the feed is in the middle of an event. */
  flushNow(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#ended) return;
    const message = this.#encoder.changes();
    if (message === undefined) return;
    this.#coalescer.flushed();
    this.#made(message);
  }

  /** Ends it, and says why to its readers. */
  end(error?: VirstreamError): void {
    if (this.#ended) return;
    this.#ended = true;
    clearTimeout(this.#timer);
    clearTimeout(this.#linger);
    this.feed.leave(this);
    const why = error ?? new VirstreamError("server-shutdown", "the watch ended");
    for (const reader of [...this.#readers]) reader.ended(why);
    this.#readers.clear();
    this.#over();
  }

  record(record: DomainStatsRecord, { number }: FeedEntry, before: DomainStatsRecord | undefined): void {
    if (this.#encoder.mustFlush(number)) this.flushNow();
    this.#encoder.add(number, record, before);
    if (this.#encoder.length >= Coalescer.FULL) this.flushNow();
  }

  gone(domain: Domain, { number }: FeedEntry): void {
    if (this.#encoder.hasRows) this.flushNow();
    this.#encoder.gone(number, domain);
  }

  event(event: SyncEvent | GapEvent | StatusEvent): void {
    this.flushNow();
    if (this.#ended) return;
    if (event.type === "sync") this.#made(this.#encoder.sync(event, this.feed.complete));
    else if (event.type === "status") this.#made(this.#encoder.status(event));
    else this.#made(this.#encoder.gap(event));
  }

  flush(): void {
    if (this.#encoder.isOpen) {
      const wait = this.#coalescer.wait(this.#encoder.length);
      if (wait <= 0) this.flushNow();
      else this.#timer ??= setTimeout(() => this.#due(), Math.ceil(wait));
    }
    this.#settled();
  }

  get #resumable(): boolean {
    return this.#resumeAt !== undefined && this.covers(this.#resumeAt);
  }

  #due(): void {
    this.flushNow();
    this.#settled();
  }

  #settled(): void {
    for (const reader of this.#readers) reader.settled();
  }

  #made(message: ChannelMessage): void {
    this.#ring.push(message);
    for (const reader of this.#readers) reader.offer(message);
    if (this.#readers.size === 0 && !this.#resumable) this.end();
  }
}
