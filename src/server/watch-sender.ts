import { VirstreamError } from "../model/error.ts";
import type { Sampling } from "../sampling/sampling.ts";
import type { ChannelMessage } from "../wire/channel-encoder.ts";
import { Coalescer } from "../wire/coalescer.ts";
import { CreditAccount } from "../wire/credit.ts";
import type { MessageEncoder } from "../wire/message-encoder.ts";
import type { Channel, ChannelReader } from "./channel.ts";
import type { Outbound } from "./outbound.ts";

/** Who is further behind than this gets the newest state rather than what it missed: so many ticks, if they are large. */
const MAX_TICKS_BEHIND = 2;
const MAX_BYTES_BEHIND = 262_144;
/** A reader that takes nothing has so many intervals beyond the time that a sweep's reader has. */
const PATIENT_INTERVALS = 3;

/** What a watch is sent with. */
export interface WatchSenderOptions {
  readonly id: number;
  readonly credit: number;
  readonly channel: Channel;
  readonly sampling: Sampling;
  readonly encoder: MessageEncoder;
  readonly outbound: Outbound;
  readonly progressTimeoutMs: number;
  /** The last message of this channel that the client has; undefined: it has none. */
  readonly since: number | undefined;
  /** Called once at its end. */
  readonly done: () => void;
}

/**
 * Sends one watch to one client. All it keeps is where the client stands in its channel: a client that takes what comes is
 * sent the channel's messages as they are made. One that does not is sent nothing; when it takes something again it is
 * sent what it missed, if that is little, or else the newest state of each domain, read from the feed while it is sent.
 * So a slow or sleeping reader costs a number, and what waits in its socket.
 */
export class WatchSender implements ChannelReader {
  readonly #options: WatchSenderOptions;
  readonly #credit: CreditAccount;
  #unlisten: () => void = () => {};
  /** The last message of the channel that was sent, or that the snapshot under way stands for. */
  #position = 0;
  /** Up to here it is sent what it missed, however much that is: it asked for that, or its snapshot is whole only then. */
  #replayThrough = 0;
  /** The next domain of the snapshot that is under way. */
  #cursor: number | undefined;
  /** The last tick that was sent, or is known to be skipped. */
  #lastTick = 0;
  /** Making messages makes the channel offer them: that must not send within sending. */
  #sending = true;
  #timer: NodeJS.Timeout | undefined;
  #stopped = false;

  constructor(options: WatchSenderOptions) {
    this.#options = options;
    this.#credit = new CreditAccount(options.credit);
    options.channel.join(this);
  }

  /** Tells the client where it stands, and goes on from there. */
  start(): void {
    const { channel, outbound, since } = this.#options;
    this.#unlisten = outbound.onWritable(() => this.#advance());
    channel.encode();
    if (this.#stopped) return;
    if (since !== undefined && channel.covers(since)) {
      this.#position = since;
      this.#replayThrough = channel.sequence;
      this.#lastTick = channel.tick - channel.ring.since(since + 1).ticks;
      this.#sendPosition(true);
    } else {
      // Nobody skips what was before its watch.
      this.#lastTick = Math.max(0, channel.tick - 1);
      this.#snapshot();
    }
    this.#sending = false;
    this.#advance();
  }

  get channel(): Channel {
    return this.#options.channel;
  }

  /** @throws VirstreamError `protocol-error` for credit beyond the limit */
  grant(bytes: number): void {
    this.#credit.grant(bytes);
    this.#advance();
  }

  offer(message: ChannelMessage): void {
    if (this.#sending || this.#cursor !== undefined || this.#position + 1 !== message.sequence) return;
    if (this.#options.outbound.writable) this.#take(message);
  }

  settled(): void {
    this.#advance();
  }

  ended(error: VirstreamError): void {
    this.stop(error);
  }

  /** Ends it: for the client if it has an error to hear, else because the client asked. */
  stop(error?: VirstreamError): void {
    this.#end(undefined, error);
  }

  /** The connection is lost; the client may come back. */
  cut(): void {
    this.#leave(this.#resumeAt);
  }

  /** Where the client could go on; not from within a snapshot. */
  get #resumeAt(): number | undefined {
    return this.#cursor === undefined ? this.#position : undefined;
  }

  #end(resumeAt: number | undefined, error: VirstreamError | undefined): void {
    if (!this.#leave(resumeAt)) return;
    this.#options.outbound.send(this.#options.encoder.end(this.#options.id, undefined, error));
  }

  #leave(resumeAt: number | undefined): boolean {
    if (this.#stopped) return false;
    this.#stopped = true;
    clearTimeout(this.#timer);
    this.#unlisten();
    this.channel.leave(this, resumeAt);
    this.#options.done();
    return true;
  }

  /** Sends as much as there is and as may be sent. */
  #advance(): void {
    if (this.#sending) return;
    this.#sending = true;
    while (!this.#stopped && (this.#cursor !== undefined || this.#position !== this.channel.sequence)) {
      if (this.#options.outbound.writable && this.#sendNext()) continue;
      this.#awaitProgress();
      break;
    }
    this.#sending = false;
  }

  /** Sends the next of what there is; false: there is no credit for it. */
  #sendNext(): boolean {
    if (this.#cursor !== undefined) return this.#sendState(this.#cursor);
    if (!this.#tooFarBehind()) return this.#take(this.channel.ring.get(this.#position + 1)!);
    if (!this.#credit.open) return false;
    this.#snapshot();
    return true;
  }

  #tooFarBehind(): boolean {
    const { ring } = this.channel;
    const next = this.#position + 1;
    if (ring.get(next) === undefined) return true;
    if (next <= this.#replayThrough) return false;
    const { bytes, ticks } = ring.since(next);
    return ticks > MAX_TICKS_BEHIND && bytes > MAX_BYTES_BEHIND;
  }

  /** Sends the channel's next message; false: there is no credit for it. */
  #take(message: ChannelMessage): boolean {
    if (message.bytes > 0 && !this.#credit.open) return false;
    const { encoder, outbound } = this.#options;
    const told = message.schemas.length > 0 || message.hosts > 0 ? encoder.tell(message) : [];
    outbound.send(told.length === 0 ? message.messages : [...told, ...message.messages]);
    this.#position = message.sequence;
    this.#lastTick = Math.max(this.#lastTick, message.tick ?? 0);
    this.#progressed(message.bytes);
    return true;
  }

  /** Begins to send the state as it is now, and passes over what was missed. */
  #snapshot(): void {
    const { channel } = this;
    channel.encode();
    if (this.#stopped) return;
    this.#position = channel.sequence;
    this.#cursor = 0;
    this.#sendPosition(false);
    this.#skipBefore(channel.tick);
  }

  #sendPosition(resumed: boolean): void {
    const { id, encoder, outbound } = this.#options;
    const { number, tick } = this.channel;
    outbound.send(encoder.position(id, number, this.#position, tick, resumed));
  }

  /** The end of a tick is sent with the state; of those between that and the last one the client hears only their number. */
  #skipBefore(tick: number): void {
    const skipped = tick - 1 - this.#lastTick;
    if (skipped <= 0) return;
    this.#options.sampling.conflated(skipped);
    this.#lastTick = tick - 1;
  }

  /** Sends a part of the snapshot, from a domain on, or its end; false: there is no credit for it. */
  #sendState(from: number): boolean {
    const { id, encoder, outbound } = this.#options;
    const { channel } = this;
    const { numbers } = channel.feed;
    let cursor = from;
    while (cursor < numbers.length && numbers[cursor] === undefined) cursor++;
    if (cursor < numbers.length && !this.#credit.open) return false;
    // What the feed knows must be in messages, or these rows would be newer than they say.
    channel.encode();
    if (this.#stopped) return true;
    if (cursor === numbers.length) {
      this.#sendCurrent();
      return true;
    }
    try {
      const frame = encoder.stateFrame(id, channel.sequence);
      for (; cursor < numbers.length && frame.length < Coalescer.FULL; cursor++) {
        const entry = numbers[cursor];
        if (entry === undefined) continue;
        if (!frame.fits(entry.record)) break;
        frame.add(entry.number, entry.record, undefined);
      }
      this.#cursor = cursor;
      const { messages, credit } = encoder.state(frame);
      outbound.send(messages);
      this.#progressed(credit);
    } catch (thrown) {
      this.stop(VirstreamError.from(thrown));
    }
    return true;
  }

  #sendCurrent(): void {
    const { id, encoder, outbound } = this.#options;
    const { feed, sequence, tick } = this.channel;
    const { host = "", overrun = 0, summary } = feed.sync ?? {};
    const statuses = [...feed.statuses];
    const { complete } = feed;
    outbound.send(encoder.current(id, { through: sequence, tick, host, overrun, summary, statuses, complete }));
    this.#cursor = undefined;
    this.#replayThrough = sequence;
    this.#skipBefore(tick);
    this.#lastTick = tick;
    this.#progressed(0);
  }

  #progressed(bytes: number): void {
    this.#credit.spend(bytes);
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  /** There is something to send, and it may not be sent: for so long, and no longer. */
  #awaitProgress(): void {
    const ms = this.#options.progressTimeoutMs + PATIENT_INTERVALS * this.channel.feed.cadence.intervalMs;
    this.#timer ??= setTimeout(() => {
      const seconds = Math.round(ms / 1000);
      const advice = `the reader took nothing for ${seconds} s: read faster, ask for fewer groups, or less often`;
      this.#end(this.#resumeAt, new VirstreamError("slow-consumer", advice));
    }, ms);
  }
}
