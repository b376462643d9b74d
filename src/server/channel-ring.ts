import type { ChannelMessage } from "../wire/channel-encoder.ts";
import type { Keeper, SharedMemory } from "./bounds/shared-memory.ts";

/** The ring keeps at most MAX_TICKS ticks of each host, and at most MAX_BYTES bytes of all hosts together. */
const MAX_TICKS = 8;
const MAX_BYTES = 8_388_608;
/**
 * For large hosts, the ring keeps this many ticks of each host even if they have more bytes than MAX_BYTES, up to
 * MAX_LARGE_BYTES.
 */
const LARGE_TICKS = 3;
const MAX_LARGE_BYTES = 67_108_864;

interface Kept {
  readonly message: ChannelMessage;
  /** How many bytes and ticks the channel made from its own start until this message, without this message. */
  readonly bytesBefore: number;
  readonly ticksBefore: number;
}

/**
 * The last messages of a channel, for clients that reconnect and for clients that are slightly late. Ticks and bytes
 * are limited, and so are the bytes of all rings together; a client that needs older messages gets a snapshot. While
 * the server sends a snapshot of large hosts, the channel makes the messages of one or two ticks of each host. The ring
 * must still have these messages when the snapshot ends. Otherwise the client would need another snapshot, and then
 * another one, without end. A channel of several hosts has a tick of each host per interval, so the limits count ticks
 * per host.
 */
export class ChannelRing implements Keeper {
  readonly #memory: SharedMemory;
  readonly #kept: Kept[] = [];
  #bytes = 0;
  #ticks = 0;
  #mostBytes = MAX_BYTES;
  /**
   * The value of `#bytes` at the end of each of the last ticks: one tick per host, and the tick before these. So the
   * last value minus the first is the size of one tick of all hosts.
   */
  readonly #tickEnds = [0];

  /** @param memory bounds the bytes of all rings together */
  constructor(memory: SharedMemory) {
    this.#memory = memory;
    memory.join(this);
  }

  /** How many bytes the messages in the ring have. */
  get size(): number {
    return this.#bytes - (this.#kept[0]?.bytesBefore ?? this.#bytes);
  }

  get spare(): number {
    return this.size;
  }

  /** Drops the oldest message. */
  shed(): void {
    const { size } = this;
    this.#kept.shift();
    this.#memory.changed(this.size - size);
  }

  /** Drops all messages, because the channel has ended. */
  clear(): void {
    const { size } = this;
    this.#kept.length = 0;
    this.#memory.changed(-size);
    this.#memory.leave(this);
  }

  /** @param hosts how many hosts have ticks in this channel */
  push(message: ChannelMessage, hosts = 1): void {
    const { size } = this;
    this.#kept.push({ message, bytesBefore: this.#bytes, ticksBefore: this.#ticks });
    this.#bytes += message.size;
    if (message.tick !== undefined) {
      this.#ticks++;
      this.#tickEnds.push(this.#bytes);
      while (this.#tickEnds.length > hosts + 1) this.#tickEnds.shift();
      const large = Math.min(MAX_LARGE_BYTES, LARGE_TICKS * (this.#bytes - this.#tickEnds[0]!));
      this.#mostBytes = Math.max(MAX_BYTES, large);
    }
    const mostTicks = MAX_TICKS * hosts;
    while (this.size > this.#mostBytes || this.#ticks - (this.#kept[0]?.ticksBefore ?? this.#ticks) > mostTicks) {
      this.#kept.shift();
    }
    this.#memory.changed(this.size - size);
  }

  /** The message with this sequence; undefined if the ring no longer has it, or it does not exist yet. */
  get(sequence: number): ChannelMessage | undefined {
    return this.#at(sequence)?.message;
  }

  /**
   * How many bytes and ticks the messages from this sequence to the last message have. The message with this sequence
   * must be in the ring, or must be the next message of the channel.
   */
  since(sequence: number): { readonly bytes: number; readonly ticks: number } {
    const { bytesBefore, ticksBefore } = this.#at(sequence) ?? { bytesBefore: this.#bytes, ticksBefore: this.#ticks };
    return { bytes: this.#bytes - bytesBefore, ticks: this.#ticks - ticksBefore };
  }

  #at(sequence: number): Kept | undefined {
    const first = this.#kept[0]?.message.sequence ?? Number.NaN;
    return this.#kept[sequence - first];
  }
}
