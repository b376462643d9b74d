import { Packr, RESET_BUFFER_MODE } from "msgpackr/pack";

// This entry of msgpackr is plain JavaScript; its main entry would load a native addon.
const packr = new Packr({ useRecords: false, encodeUndefinedAsNil: true });

/**
 * A value as msgpack. This function copies the bytes, because the library returns a part of a large buffer, which would
 * stay in memory.
 */
export function pack(value: unknown): Uint8Array {
  return Uint8Array.prototype.slice.call(packr.pack(value, RESET_BUFFER_MODE));
}

/** The size of a buffer that is used again, in bytes: a full message of a sweep, and an eighth more. */
const BUFFER_BYTES = 73_728;
/** Shorter messages would waste more than a third of such a buffer. */
const LEAST_BYTES = (2 / 3) * BUFFER_BYTES;
/** The most buffers that wait for a message. */
const MOST_WAITING = 16;

/**
 * Buffers for the next messages. The system takes the memory of a new buffer from its free pages, one by one, and
 * clears them. With new buffers, this took a third of a sweep's processor time.
 */
const waiting: ArrayBuffer[] = [];

/**
 * A value as msgpack, for a message to one client. The sender calls `recycle` when the system has taken the bytes of
 * the message.
 */
export function packOnce(value: unknown): Uint8Array {
  const packed = packr.pack(value, RESET_BUFFER_MODE);
  const { length } = packed;
  if (length < LEAST_BYTES || length > BUFFER_BYTES) return Uint8Array.prototype.slice.call(packed);
  const message = new Uint8Array(waiting.pop() ?? new ArrayBuffer(BUFFER_BYTES), 0, length);
  message.set(packed);
  return message;
}

/** Keeps the buffer of a message of `packOnce` for a later message. Nothing may refer to the message any more. */
export function recycle(message: Uint8Array | string): void {
  if (typeof message === "string" || message.buffer.byteLength !== BUFFER_BYTES) return;
  if (waiting.length < MOST_WAITING) waiting.push(message.buffer as ArrayBuffer);
}
