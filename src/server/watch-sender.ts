import { VirstreamError } from "../model/error.ts";
import type { Sampling } from "../sampling/sampling.ts";
import { type ChannelMessage, statusToWire, syncToWire } from "../wire/channel-encoder.ts";
import { RowBatch } from "../wire/columns/row-batch.ts";
import { Coalescer, CreditAccount } from "../wire/flow-control.ts";
import { recycle } from "../wire/pack.ts";
import { PATIENT_CLOCK } from "./bounds/patient-clock.ts";
import type { Channel, ChannelReader } from "./channel.ts";
import type { Outbound } from "./outbound.ts";
import type { Snapshot } from "./snapshot.ts";

/**
 * A reader that is behind by more than this many ticks of each host, and by more than MAX_BYTES_BEHIND bytes, gets a
 * snapshot instead of the missed messages.
 */
const MAX_TICKS_BEHIND = 2;
const MAX_BYTES_BEHIND = 262_144;
/** A watch waits for a reader that takes nothing as long as a sweep does, and this many of its intervals longer. */
const PATIENT_INTERVALS = 3;

/** The options of a WatchSender. */
interface WatchSenderOptions {
  readonly id: number;
  /** The initial credit in bytes; undefined: no limit. */
  readonly credit: number | undefined;
  readonly channel: Channel;
  readonly sampling: Sampling;
  readonly outbound: Outbound;
  readonly progressTimeoutMs: number;
  /** The sequence of the last message of this channel that the client has; undefined: the client has none. */
  readonly since: number | undefined;
  /** Called once when the watch ends. */
  readonly done: () => void;
}

/**
 * Sends one watch to one client. It keeps only the client's position in its channel. A client that reads gets the
 * channel's messages as soon as they exist. A client that does not read gets nothing. When it reads again, it gets the
 * messages that it missed if they are few, or else a snapshot with the newest state of each domain. So for a slow or
 * sleeping client the server keeps only a number, a share of a snapshot, and the bytes in its socket.
 */
export class WatchSender implements ChannelReader {
  readonly #options: WatchSenderOptions;
  readonly #credit: CreditAccount;
  readonly #batch = new RowBatch();
  #unlisten: () => void = () => {};
  /** The sequence of the last message that was sent, or of the snapshot; undefined: the client needs a snapshot. */
  #position: number | undefined;
  /** Up to this sequence, the sender sends all missed messages, however many, because the client asked to resume. */
  #replayThrough = 0;
  #snapshot: Snapshot | undefined;
  /** The number of the domain from which the next message of the snapshot continues. */
  #cursor = 0;
  /** The number of the last tick that was sent or skipped. */
  #lastTick = 0;
  /**
   * True while the sender sends, and before `start`. A flush makes the channel offer messages, which must not be sent
   * in the middle of another send.
   */
  #sending = true;
  #timer: unknown;
  #stopped = false;

  constructor(options: WatchSenderOptions) {
    this.#options = options;
    this.#credit = new CreditAccount(options.credit);
    options.channel.join(this);
  }

  /** Sends `begin`, and then the messages or the snapshot that the client needs. */
  start(): void {
    const { id, channel, outbound, since } = this.#options;
    this.#unlisten = outbound.onWritable(() => this.advance());
    channel.flushNow();
    if (this.#stopped) return;
    const tick = channel.feed.sync?.tick ?? 0;
    if (since !== undefined && channel.covers(since)) {
      this.#position = since;
      this.#replayThrough = channel.sequence;
      this.#lastTick = tick - channel.ring.since(since + 1).ticks;
      outbound.say({ type: "begin", id, channel: channel.number, sequence: since, resumed: true });
    } else {
      // Ticks from before the watch do not count as skipped.
      this.#lastTick = Math.max(0, tick - 1);
      this.#beginSnapshot();
    }
    this.#sending = false;
    this.advance();
  }

  get channel(): Channel {
    return this.#options.channel;
  }

  /** @throws VirstreamError `protocol-error` for credit beyond the limit */
  grant(bytes: number): void {
    this.#credit.grant(bytes);
    this.advance();
  }

  offer(message: ChannelMessage): void {
    if (this.#sending || this.#snapshot !== undefined || this.#position === undefined) return;
    if (this.#position + 1 === message.sequence && this.#options.outbound.writable) this.#take(message);
  }

  /**
   * Ends the watch: with an error, or because the client cancelled it or closed its connection.
   *
   * @param resumeAt the sequence after which the client could resume; undefined if the client will not resume
   */
  stop(error?: VirstreamError, resumeAt?: number): void {
    if (this.#leave(resumeAt)) this.#options.outbound.end(this.#options.id, error);
  }

  /** Ends the sending because the connection was lost. The client may come back and resume the watch. */
  cut(): void {
    this.#leave(this.#resumeAt);
  }

  /** The sequence after which the client could resume; undefined while a snapshot is being sent. */
  get #resumeAt(): number | undefined {
    return this.#snapshot === undefined ? this.#position : undefined;
  }

  #leave(resumeAt: number | undefined): boolean {
    if (this.#stopped) return false;
    this.#stopped = true;
    PATIENT_CLOCK.clearTimeout(this.#timer);
    this.#unlisten();
    if (this.#snapshot !== undefined) this.channel.snapshots.close(this.#snapshot);
    this.#snapshot = undefined;
    this.channel.leave(this, resumeAt);
    this.#options.done();
    return true;
  }

  /** Sends all messages that exist and may be sent. */
  advance(): void {
    if (this.#sending) return;
    this.#sending = true;
    while (!this.#stopped && (this.#snapshot !== undefined || this.#position !== this.channel.sequence)) {
      if (this.#options.outbound.writable && this.#sendNext()) continue;
      this.#awaitProgress();
      break;
    }
    this.#sending = false;
  }

  /** Sends the next message, or the next part of the snapshot. Returns false if it may not be sent yet. */
  #sendNext(): boolean {
    const snapshot = this.#snapshot;
    const position = this.#position;
    if (snapshot === undefined && position !== undefined && !this.#tooFarBehind(position)) {
      return this.#take(this.channel.ring.get(position + 1)!);
    }
    if (!this.#credit.open) return false;
    if (snapshot?.records === undefined) this.#beginSnapshot();
    else this.#sendRows(snapshot, snapshot.records);
    return true;
  }

  #tooFarBehind(position: number): boolean {
    const { ring, hosts } = this.channel;
    const next = position + 1;
    if (ring.get(next) === undefined) return true;
    if (next <= this.#replayThrough) return false;
    const { bytes, ticks } = ring.since(next);
    return ticks > MAX_TICKS_BEHIND * hosts && bytes > MAX_BYTES_BEHIND;
  }

  /** Sends the channel's next message. Returns false if there is no credit for this message. */
  #take(message: ChannelMessage): boolean {
    if (message.bytes > 0 && !this.#credit.open) return false;
    this.#options.outbound.sendRows(message);
    this.#position = message.sequence;
    this.#lastTick = Math.max(this.#lastTick, message.tick ?? 0);
    this.#progressed(message.bytes);
    return true;
  }

  /** Starts the first snapshot, or a snapshot in place of missed messages or of a snapshot that was dropped. */
  #beginSnapshot(): void {
    const { id, channel, sampling, outbound } = this.#options;
    channel.flushNow();
    if (this.#stopped) return;
    const snapshot = channel.snapshots.open(channel.sequence, channel.feed);
    const { sequence, size, sync, statuses, complete } = snapshot;
    outbound.say({
      type: "begin",
      id,
      channel: channel.number,
      sequence,
      resumed: false,
      domains: size,
      ...(sync && { sync: syncToWire(sync) }),
      statuses: statuses.map(statusToWire),
      complete,
    });
    this.#position = sequence;
    this.#cursor = 0;
    // The next three lines only count skipped ticks for the metrics. The client sees from the ticks' numbers how many
    // ticks it missed.
    const before = (sync?.tick ?? 0) - 1;
    if (before > this.#lastTick) sampling.conflated(before - this.#lastTick);
    this.#lastTick = Math.max(this.#lastTick, before);
    if (size > 0) {
      this.#snapshot = snapshot;
    } else {
      this.#endSnapshot(snapshot);
      this.#progressed(0);
    }
  }

  #endSnapshot(snapshot: Snapshot): void {
    this.#snapshot = undefined;
    this.channel.snapshots.close(snapshot);
    this.#lastTick = Math.max(this.#lastTick, snapshot.sync?.tick ?? 0);
  }

  /** Sends the snapshot's next rows, as one message. */
  #sendRows(snapshot: Snapshot, records: NonNullable<Snapshot["records"]>): void {
    const { id, outbound } = this.#options;
    const batch = this.#batch;
    let cursor = this.#cursor;
    for (; cursor < records.length && batch.length < Coalescer.FULL && !batch.isFull; cursor++) {
      const record = records[cursor];
      if (record !== undefined) batch.add(cursor, record);
    }
    while (cursor < records.length && records[cursor] === undefined) cursor++;
    this.#cursor = cursor;
    if (cursor === records.length) this.#endSnapshot(snapshot);
    const rows = outbound.profile.rows({ id }, batch);
    batch.clear(rows.bytes);
    outbound.sendRows(rows, recycle);
    this.#progressed(rows.bytes);
  }

  #progressed(bytes: number): void {
    this.#credit.spend(bytes);
    PATIENT_CLOCK.clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  /** Starts the timeout for a client that does not take the next message. */
  #awaitProgress(): void {
    const ms = this.#options.progressTimeoutMs + PATIENT_INTERVALS * this.channel.feed.cadence.intervalMs;
    this.#timer ??= PATIENT_CLOCK.setTimeout(() => {
      const seconds = Math.round(ms / 1000);
      const advice = `the reader took nothing for ${seconds} s: read faster, request fewer groups, or use a longer interval`;
      this.stop(new VirstreamError("slow-consumer", advice), this.#resumeAt);
    }, ms);
  }
}
