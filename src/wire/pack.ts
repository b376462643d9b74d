import { Packr, RESET_BUFFER_MODE } from "msgpackr/pack";

// This entry of msgpackr is plain JavaScript; its main entry would load a native addon.
const packr = new Packr({ useRecords: false, encodeUndefinedAsNil: true });

/** The least size of a message in a recycled buffer, in bytes. */
const RECYCLED_BYTES = 32_768;
/** Sizes of such buffers are multiples of this, in bytes, so that a message fits into the buffer of another. */
const STEP_BYTES = 8_192;
/** Larger buffers are not recycled, and no more than this number of buffers waits for a message. */
const MAX_BYTES = 131_072;
const MAX_WAITING = 16;

/**
 * Buffers for the next messages. The system takes the memory of a new buffer from its free pages, one by one, and clears
 * them: that took a third of a sweep's processor time.
 */
const waiting: ArrayBuffer[] = [];

/**
 * A value as msgpack. It copies the bytes, because the library returns a part of a large buffer, which would stay in memory.
 */
export function pack(value: unknown): Uint8Array {
  const packed = packr.pack(value, RESET_BUFFER_MODE);
  const { length } = packed;
  if (length < RECYCLED_BYTES) return Uint8Array.prototype.slice.call(packed);
  const last = waiting.pop();
  const buffer =
    last !== undefined && last.byteLength >= length
      ? last
      : new ArrayBuffer(Math.ceil(length / STEP_BYTES) * STEP_BYTES);
  const message = new Uint8Array(buffer, 0, length);
  message.set(packed);
  return message;
}

/** Takes the buffer of a message that nothing refers to any more. */
export function recycle(message: Uint8Array | string): void {
  if (typeof message === "string") return;
  const { buffer } = message;
  if (buffer.byteLength % STEP_BYTES !== 0 || buffer.byteLength < RECYCLED_BYTES || buffer.byteLength > MAX_BYTES)
    return;
  if (waiting.length < MAX_WAITING) waiting.push(buffer as ArrayBuffer);
}
