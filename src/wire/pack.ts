import { Packr, RESET_BUFFER_MODE } from "msgpackr/pack";

// This entry of msgpackr is plain JavaScript; its main entry would load a native addon.
const packr = new Packr({ useRecords: false, encodeUndefinedAsNil: true });

/**
 * Encodes a value as msgpack. The result is a copy, because the library returns a part of a large buffer, which would
 * stay in memory.
 */
export function pack(value: unknown): Uint8Array {
  return Uint8Array.prototype.slice.call(packr.pack(value, RESET_BUFFER_MODE));
}

/** The most bytes that all buffers in `waiting` may have together. */
const MOST_WAITING_BYTES = 1_048_576;

/**
 * Buffers for the next messages, by their size in bytes. The system takes the memory of a new buffer from its free
 * pages, one by one, and clears them. With new buffers, this took a third of a sweep's processor time.
 */
const waiting = new Map<number, ArrayBuffer[]>();
let waitingBytes = 0;

/**
 * Encodes a value as msgpack, for a message to one client. The sender calls `recycle` when the system has taken the
 * bytes of the message.
 */
export function packOnce(value: unknown): Uint8Array {
  const packed = packr.pack(value, RESET_BUFFER_MODE);
  const size = bufferSizeOf(packed.length);
  let buffer = waiting.get(size)?.pop();
  if (buffer === undefined) buffer = new ArrayBuffer(size);
  else waitingBytes -= size;
  const message = new Uint8Array(buffer, 0, packed.length);
  message.set(packed);
  return message;
}

/** Keeps the buffer of a message of `packOnce` for a later message. Nothing may refer to the message any more. */
export function recycle(message: Uint8Array | string): void {
  if (typeof message === "string") return;
  const buffer = message.buffer as ArrayBuffer;
  const size = buffer.byteLength;
  if (size > MOST_WAITING_BYTES) return;
  // If too many buffers wait, for example because the messages have other sizes now than before, all are dropped.
  if (waitingBytes + size > MOST_WAITING_BYTES) {
    waiting.clear();
    waitingBytes = 0;
  }
  const same = waiting.get(size);
  if (same === undefined) waiting.set(size, [buffer]);
  else same.push(buffer);
  waitingBytes += size;
}

/**
 * The size of the buffer for a message. It is larger than the message by at most 127 bytes or an eighth, whichever is
 * more. There are few sizes, so that messages of about the same size can use the same buffers.
 */
function bufferSizeOf(length: number): number {
  const step = Math.max(128, 2 ** (28 - Math.clz32(length)));
  return Math.ceil(length / step) * step;
}
