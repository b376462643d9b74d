import type { ChannelMessage } from "../wire/channel-encoder.ts";

/** So many ticks of a channel are kept, and so many bytes. */
const MAX_TICKS = 8;
const MAX_BYTES = 8_388_608;
/** Of a large host so many ticks are kept even if they are more than that, up to so many bytes. */
const LARGE_TICKS = 3;
const MAX_LARGE_BYTES = 67_108_864;

interface Kept {
  readonly message: ChannelMessage;
  /** Bytes and ticks of all messages that were made before this one. */
  readonly bytesBefore: number;
  readonly ticksBefore: number;
}

/**
 * The last messages of a channel: for those who were cut off and come back, and for those who are a moment late. Bounded by
 * ticks and by bytes; what is older has to be made good by a snapshot. While a snapshot of a large host is sent, a tick or
 * two of its messages are made, which must still be here when it ends: or it would be in vain, and so would the next one.
 */
export class ChannelRing {
  readonly #kept: Kept[] = [];
  #bytes = 0;
  #ticks = 0;
  #mostBytes = MAX_BYTES;
  /** Bytes of all messages up to the last tick's end. */
  #bytesAtTick = 0;

  /** Bytes that it holds. */
  get size(): number {
    return this.#bytes - (this.#kept[0]?.bytesBefore ?? this.#bytes);
  }

  push(message: ChannelMessage): void {
    this.#kept.push({ message, bytesBefore: this.#bytes, ticksBefore: this.#ticks });
    this.#bytes += message.size;
    if (message.tick !== undefined) {
      this.#ticks++;
      const large = Math.min(MAX_LARGE_BYTES, LARGE_TICKS * (this.#bytes - this.#bytesAtTick));
      this.#mostBytes = Math.max(MAX_BYTES, large);
      this.#bytesAtTick = this.#bytes;
    }
    while (this.size > this.#mostBytes || this.#ticks - (this.#kept[0]?.ticksBefore ?? this.#ticks) > MAX_TICKS) {
      this.#kept.shift();
    }
  }

  /** The message of a sequence; undefined when it is not kept, or not made yet. */
  get(sequence: number): ChannelMessage | undefined {
    return this.#at(sequence)?.message;
  }

  /** How much was made from the message of this sequence on, which must be kept, or be the next to be made. */
  since(sequence: number): { readonly bytes: number; readonly ticks: number } {
    const { bytesBefore, ticksBefore } = this.#at(sequence) ?? { bytesBefore: this.#bytes, ticksBefore: this.#ticks };
    return { bytes: this.#bytes - bytesBefore, ticks: this.#ticks - ticksBefore };
  }

  #at(sequence: number): Kept | undefined {
    const first = this.#kept[0]?.message.sequence ?? Number.NaN;
    return this.#kept[sequence - first];
  }
}
