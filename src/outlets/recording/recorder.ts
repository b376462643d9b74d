import { randomUUID } from "node:crypto";
import { type Clock, STEADY_CLOCK } from "../../driver/clock.ts";
import { encodeFrame, type FrameKind } from "../../drivers/recording/frame.ts";
import { WATCH_ID } from "../../drivers/recording/playback.ts";
import { type Description, FORMAT_VERSION } from "../../drivers/recording/recording.ts";
import type { VirstreamError } from "../../model/error.ts";
import { type Domain, type DomainStatsRecord, steadyTimeOf } from "../../model/record.ts";
import type { GapEvent, StatusEvent, SyncEvent } from "../../model/watch.ts";
import { isComplete } from "../../sampling/completeness.ts";
import type { Feed, FeedEntry, FeedListener } from "../../sampling/feed.ts";
import { VERSION } from "../../version.ts";
import { ChannelEncoder, type ChannelMessage, statusToWire, syncToWire } from "../../wire/channel-encoder.ts";
import { RowBatch } from "../../wire/columns/row-batch.ts";
import { SentSchemas, type SlotSchema } from "../../wire/columns/schema-slots.ts";
import { Coalescer } from "../../wire/flow-control.ts";
import { pack } from "../../wire/pack.ts";
import { profileOf, type WireMessage } from "../../wire/profile.ts";
import { BEAT_MS } from "../../wire/protocol.ts";
import type { FrameWriter } from "./frame-writer.ts";

/**
 * A record waits at most this long for other records, in ms, so that they share a frame. Fewer frames make a smaller
 * file.
 */
const COALESCE_MS = 20;
/**
 * The next key frame comes when the frames after a key frame have this many times the key frame's bytes. So key frames
 * take about a tenth of the recording.
 */
const BYTES_PER_KEY_BYTE = 10;
/** If a recording grows slowly, a key frame comes at least this often, in ms. */
const KEY_INTERVAL_MS = 600_000;
const CHANNEL = 1;

/** The clocks of a recorder; the defaults are those of the machine. */
export interface RecorderClocks {
  /** A steady clock, for the time between frames. */
  readonly clock?: Clock;
  /** Returns the time in ms since 1970. */
  readonly wallNow?: () => number;
}

/** The feed that a recorder records, and its options. */
export interface RecorderOptions extends RecorderClocks {
  readonly feed: Feed;
  readonly writer: FrameWriter;
  readonly source: { readonly host: string; readonly hypervisor: string };
  /** The groups of the query, as a bit mask. */
  readonly groups: number;
  /** Called once, when the feed has ended. */
  readonly over: (error: VirstreamError) => void;
}

/**
 * Writes the events of a feed as a server would send them: messages with the differences to the records before, and a
 * new snapshot of all records from time to time. When the disk is too slow, it leaves events out, and then writes a
 * snapshot. The numbers of the ticks show how many ticks are missing.
 */
export class Recorder implements FeedListener {
  /** Counts of everything that was recorded. */
  readonly figures = { records: 0, ticks: 0, bytes: 0 };
  readonly #options: RecorderOptions;
  readonly #clock: Clock;
  readonly #wallNow: () => number;
  readonly #profile = profileOf("virstream.v1");
  readonly #encoder = new ChannelEncoder(CHANNEL, this.#profile);
  #sent = new SentSchemas();
  readonly #description: Description & { readonly type: string; readonly version: number };
  readonly #startedAt: number;
  /** The ms from the start to the last frame, rounded. */
  #elapsedMs = 0;
  #timer: unknown;
  /** True while events are left out, until the disk has caught up. */
  #isBehind = false;
  #keyDue = true;
  #rotationDue = false;
  #keyBytes = 0;
  #bytesSinceKey = 0;
  #keyAt = 0;
  #ended = false;

  constructor(options: RecorderOptions) {
    const { feed, groups, clock = STEADY_CLOCK, wallNow = Date.now } = options;
    this.#options = options;
    this.#wallNow = wallNow;
    this.#clock = clock;
    this.#startedAt = clock.now();
    const wallMs = wallNow();
    this.#description = {
      ...{ type: "recording", version: FORMAT_VERSION, epoch: randomUUID() },
      ...{ groups, intervalMs: feed.cadence.intervalMs, wallMs, steadyMs: Math.max(0, steadyTimeOf(wallMs)) },
    };
    feed.listen(this);
    // The first key frame has the records that the feed already knows.
    this.figures.records += feed.size;
    this.flush();
  }

  record(record: DomainStatsRecord, { number }: FeedEntry, before: DomainStatsRecord | undefined): void {
    if (this.#isBehind) return;
    this.figures.records++;
    if (this.#encoder.mustFlush(number)) this.#flushNow();
    this.#encoder.add(number, record, before);
    if (this.#encoder.length >= Coalescer.FULL) this.#flushNow();
  }

  gone(domain: Domain, { number }: FeedEntry): void {
    if (this.#isBehind) return;
    if (this.#encoder.hasRows) this.#flushNow();
    this.#encoder.gone(number, domain);
  }

  event(event: SyncEvent | GapEvent | StatusEvent): void {
    if (this.#isBehind) return;
    this.#flushNow();
    this.#message(this.#encoder.event(event, isComplete(this.#options.feed)));
    if (event.type === "sync") this.#ticked();
  }

  flush(): void {
    if (this.#ended) return;
    const { writer } = this.#options;
    if (this.#isBehind && writer.isIdle) {
      this.#isBehind = false;
      this.#keyDue = true;
    }
    if (this.#isBehind) return;
    if (this.#keyDue) {
      this.#flushNow();
      // A file begins with a key frame, so this is the place to rotate.
      if (this.#rotationDue) writer.rotate();
      this.#rotationDue = false;
      this.#writeKey();
    } else if (this.#encoder.isOpen) {
      this.#timer ??= this.#clock.setTimeout(() => this.#flushNow(), COALESCE_MS);
    }
  }

  end(error: VirstreamError): void {
    if (this.#ended) return;
    this.close();
    this.#options.over(error);
  }

  /** Writes the records that wait, and the frame that ends the recording. */
  close(): void {
    if (this.#ended) return;
    if (!this.#isBehind) this.#flushNow();
    this.#ended = true;
    this.#clock.clearTimeout(this.#timer);
    this.#options.feed.leave(this);
    this.#write("end", new Uint8Array());
  }

  #flushNow(): void {
    this.#clock.clearTimeout(this.#timer);
    this.#timer = undefined;
    const message = this.#encoder.changes();
    if (message !== undefined) this.#message(message);
  }

  #ticked(): void {
    this.figures.ticks++;
    const { writer } = this.#options;
    const isLong = this.#bytesSinceKey >= BYTES_PER_KEY_BYTE * this.#keyBytes;
    this.#keyDue ||= isLong || this.#clock.now() - this.#keyAt >= KEY_INTERVAL_MS;
    this.#rotationDue = writer.mustRotate(this.#wallNow());
    this.#keyDue ||= this.#rotationDue;
    this.#isBehind = writer.isBehind;
  }

  /**
   * Writes a key frame: the description, the `welcome` message, and the newest record of each domain. The encoder must
   * have no open message.
   */
  #writeKey(): void {
    const { feed, source } = this.#options;
    const { epoch, intervalMs, steadyMs } = this.#description;
    this.#keyDue = false;
    this.#keyAt = this.#clock.now();
    this.#bytesSinceKey = 0;
    this.#sent = new SentSchemas();
    this.#write("key", pack(this.#description));
    const state = (message: WireMessage): void => this.#write("state", message as Uint8Array);
    const { host, hypervisor } = source;
    state(
      this.#profile.message({
        ...{ type: "welcome", epoch, server: `virstream ${VERSION}`, host, hypervisor },
        ...{ beatMs: BEAT_MS, minIntervalMs: intervalMs, steadyMs },
      }),
    );
    const { sync, size } = feed;
    state(
      this.#profile.message({
        ...{ type: "begin", id: WATCH_ID, channel: CHANNEL, sequence: this.#encoder.sequence, resumed: false },
        ...{ domains: size, ...(sync && { sync: syncToWire(sync) }) },
        ...{ statuses: [...feed.statuses].map(statusToWire), complete: isComplete(feed) },
      }),
    );
    const batch = new RowBatch();
    const send = (): void => {
      const { messages, bytes, schemas } = this.#profile.rows({ id: WATCH_ID }, batch);
      this.#define("state", schemas);
      for (const message of messages) state(message);
      batch.clear(bytes);
    };
    for (const [number, record] of feed.records().entries()) {
      if (record === undefined) continue;
      batch.add(number, record);
      if (batch.isFull || batch.length >= Coalescer.FULL) send();
    }
    if (batch.rows > 0) send();
    this.#keyBytes = this.#bytesSinceKey;
    this.#bytesSinceKey = 0;
  }

  #message({ messages, schemas }: ChannelMessage): void {
    this.#define("event", schemas);
    for (const message of messages) this.#write("event", message as Uint8Array);
  }

  #define(kind: FrameKind, schemas: readonly SlotSchema[]): void {
    for (const { slot, schema } of this.#sent.missing(schemas)) {
      const [keys, types] = [schema?.keys ?? [], [...(schema?.types ?? [])]];
      this.#write(kind, this.#profile.message({ type: "schema", slot, keys, types }) as Uint8Array);
    }
  }

  #write(kind: FrameKind, payload: Uint8Array): void {
    const elapsedMs = Math.round(this.#clock.now() - this.#startedAt);
    const at = this.#wallNow();
    const frame = encodeFrame(kind, payload, at, elapsedMs - this.#elapsedMs);
    this.#elapsedMs = elapsedMs;
    this.#bytesSinceKey += frame.length;
    this.figures.bytes += frame.length;
    this.#options.writer.write(frame, at);
  }
}
