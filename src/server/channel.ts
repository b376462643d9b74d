import { VirstreamError } from "../model/error.ts";
import type { Domain, DomainStatsRecord } from "../model/record.ts";
import type { GapEvent, StatusEvent, SyncEvent } from "../model/watch.ts";
import { isComplete } from "../sampling/completeness.ts";
import type { Feed, FeedEntry, FeedListener } from "../sampling/feed.ts";
import { ChannelEncoder, type ChannelMessage } from "../wire/channel-encoder.ts";
import { Coalescer } from "../wire/flow-control.ts";
import type { Profile } from "../wire/profile.ts";
import type { SharedMemory } from "./bounds/shared-memory.ts";
import { ChannelRing } from "./channel-ring.ts";
import { Snapshots } from "./snapshot.ts";

/** How long a channel continues after its last client was cut off, in ms. */
const LINGER_MS = 30_000;

/** The memory that all channels of a server share. */
export interface ChannelMemory {
  /** Bounds the bytes of the channels' rings. */
  readonly rings: SharedMemory;
  /** Bounds the records of the channels' snapshots. */
  readonly snapshots: SharedMemory;
}

/** One client's watch, which reads a channel. */
export interface ChannelReader {
  /**
   * Called for each new message of the channel. The channel's feed may be in the middle of an event, so the reader must
   * not read the feed's state now.
   */
  offer(message: ChannelMessage): void;
  /**
   * Called when the channel has no more messages for now. Everything that the channel's feed has is in the channel's
   * messages already, or will be after the next `flushNow`.
   */
  advance(): void;
  /** Called when the channel has ended, with the reason. */
  stop(error: VirstreamError): void;
}

/**
 * Encodes one feed for the watches that use one profile. All readers of the channel get the same bytes, so a further
 * reader costs only the sending. The channel keeps its last messages, and continues for a while after its last reader
 * was cut off. So a client that reconnects while the channel continues misses nothing.
 */
export class Channel implements FeedListener {
  readonly feed: Feed;
  readonly number: number;
  readonly profile: Profile;
  readonly #encoder: ChannelEncoder;
  readonly #over: () => void;
  /** The channel's last messages. */
  readonly ring: ChannelRing;
  /**
   * The channel's snapshots. Open a snapshot only right after `flushNow`, so that the channel's messages up to the
   * snapshot's sequence have all rows of the snapshot.
   */
  readonly snapshots: Snapshots;
  readonly #readers = new Set<ChannelReader>();
  readonly #coalescer = new Coalescer(() => performance.now());
  #timer: NodeJS.Timeout | undefined;
  #linger: NodeJS.Timeout | undefined;
  /**
   * Set when a reader leaves and no reader remains: the sequence of the last message that the reader got; undefined if
   * that reader will not come back.
   */
  #resumeAt: number | undefined;
  #ended = false;

  /** @param over called once, when the channel has ended */
  constructor(feed: Feed, number: number, profile: Profile, memory: ChannelMemory, over: () => void) {
    this.feed = feed;
    this.number = number;
    this.profile = profile;
    this.#encoder = new ChannelEncoder(number, profile);
    this.ring = new ChannelRing(memory.rings);
    this.snapshots = new Snapshots(memory.snapshots);
    this.#over = over;
    feed.listen(this);
  }

  /** The sequence of the last message. */
  get sequence(): number {
    return this.#encoder.sequence;
  }

  /** How many hosts have ticks in this channel; at least 1. */
  get hosts(): number {
    return Math.max(1, this.feed.swept.size);
  }

  join(reader: ChannelReader): void {
    clearTimeout(this.#linger);
    this.#readers.add(reader);
  }

  /** @param resumeAt the sequence of the reader's last message, if the reader was cut off and may come back */
  leave(reader: ChannelReader, resumeAt?: number): void {
    if (!this.#readers.delete(reader) || this.#readers.size > 0 || this.#ended) return;
    this.#resumeAt = resumeAt;
    if (this.#resumable) this.#linger = setTimeout(() => this.end(), LINGER_MS);
    else this.end();
  }

  /** True if a reader whose last message has this sequence can continue with the ring's messages. */
  covers(sequence: number): boolean {
    return sequence === this.sequence || this.ring.get(sequence + 1) !== undefined;
  }

  /** Encodes all collected rows as one message. Not to be called while the feed is in the middle of an event. */
  flushNow(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#ended) return;
    const message = this.#encoder.changes();
    if (message === undefined) return;
    this.#coalescer.flushed();
    this.#made(message);
  }

  /** Ends the channel, and gives its readers the reason. */
  end(error?: VirstreamError): void {
    if (this.#ended) return;
    this.#ended = true;
    clearTimeout(this.#timer);
    clearTimeout(this.#linger);
    this.feed.leave(this);
    const why = error ?? new VirstreamError("server-shutdown", "the watch ended");
    for (const reader of [...this.#readers]) reader.stop(why);
    this.#readers.clear();
    this.ring.clear();
    this.snapshots.clear();
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
    this.#made(this.#encoder.event(event, isComplete(this.feed)));
  }

  flush(): void {
    if (this.#encoder.isOpen) {
      const wait = this.#coalescer.wait(this.#encoder.length);
      if (wait <= 0) this.flushNow();
      else this.#timer ??= setTimeout(() => this.#due(), Math.ceil(wait));
    }
    for (const reader of this.#readers) reader.advance();
  }

  get #resumable(): boolean {
    return this.#resumeAt !== undefined && this.covers(this.#resumeAt);
  }

  #due(): void {
    this.flushNow();
    this.flush();
  }

  #made(message: ChannelMessage): void {
    this.ring.push(message, this.hosts);
    for (const reader of this.#readers) reader.offer(message);
    if (this.#readers.size === 0 && !this.#resumable) this.end();
  }
}
