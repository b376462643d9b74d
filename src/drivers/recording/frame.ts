import { crc32 } from "node:zlib";
import { LIMITS } from "../../wire/protocol.ts";

/**
 * The files of a recording consist of frames. A frame is a header of 24 bytes and a payload, as msgpack: the
 * description of the recording in a `key` frame, one message of the protocol in a `state` or `event` frame, and nothing
 * in an `end` frame. The header, in little-endian: 3 bytes of mark, 1 of kind, the payload's length (uint32), a CRC-32
 * of all other bytes of the frame (uint32), the time of writing in ms since 1970 (float64), and the ms since the frame
 * before it (uint32).
 */
export const HEADER_BYTES = 24;

/**
 * The first bytes of every frame. No UTF-8 text contains the byte 0xff, so texts of guests cannot look like a frame.
 */
const MARK = Buffer.from([0xff, 0x56, 0x53]);

/**
 * `key`: the first part of a key frame. A reader can start there without earlier frames. The payload describes the
 * recording. `state`: each further part of the key frame. Together these parts have the `welcome` message and the
 * newest record of each domain. `event`: a message of the watch after the key frame. `end`: the recorder ended in an
 * orderly way.
 */
export const FRAME_KINDS = ["key", "state", "event", "end"] as const;
/** The kind of a frame. */
export type FrameKind = (typeof FRAME_KINDS)[number];

/**
 * The most bytes of the payload of a `key` frame. With this limit, a search for key frames reads little at each place
 * that only looks like the beginning of one.
 */
const MAX_KEY_BYTES = 1_024;

/** A frame, with its place in the file. */
export interface Frame {
  readonly kind: FrameKind;
  /** When it was written, in ms since 1970. */
  readonly at: number;
  /**
   * The time since the frame before this one, in whole ms of a steady clock; 0 for the first frame after a recorder's
   * start.
   */
  readonly delayMs: number;
  readonly payload: Uint8Array;
  readonly offset: number;
  /** The position in the file at which the next frame begins. */
  readonly end: number;
}

/** Returns the bytes of a frame: its header and its payload. */
export function encodeFrame(kind: FrameKind, payload: Uint8Array, at: number, delayMs: number): Buffer {
  if (kind === "key" && payload.length > MAX_KEY_BYTES) throw new Error("a key frame's description is too long");
  const frame = Buffer.allocUnsafe(HEADER_BYTES + payload.length);
  MARK.copy(frame);
  frame[3] = FRAME_KINDS.indexOf(kind);
  frame.writeUInt32LE(payload.length, 4);
  frame.writeDoubleLE(at, 12);
  frame.writeUInt32LE(Math.min(delayMs, 0xffffffff), 20);
  frame.set(payload, HEADER_BYTES);
  frame.writeUInt32LE(checksum(frame), 8);
  return frame;
}

function checksum(frame: Buffer): number {
  return crc32(frame.subarray(12), crc32(frame.subarray(0, 8)));
}

/**
 * Returns the frame at a position of a buffer. The buffer's first byte is at `base` in the file. If the buffer ends
 * before the frame does, returns how many bytes from the position on are needed. If there is no valid frame, returns
 * undefined.
 */
export function frameAt(buffer: Buffer, position: number, base: number): Frame | number | undefined {
  const left = buffer.length - position;
  const known = Math.min(left, MARK.length);
  if (MARK.compare(buffer, position, position + known, 0, known) !== 0) return undefined;
  if (left < HEADER_BYTES) return HEADER_BYTES;
  const kind = FRAME_KINDS[buffer[position + 3]!];
  const length = buffer.readUInt32LE(position + 4);
  if (kind === undefined || length > (kind === "key" ? MAX_KEY_BYTES : LIMITS.message)) return undefined;
  const size = HEADER_BYTES + length;
  if (left < size) return size;
  const frame = buffer.subarray(position, position + size);
  const at = frame.readDoubleLE(12);
  if (frame.readUInt32LE(8) !== checksum(frame) || !Number.isFinite(at)) return undefined;
  const offset = base + position;
  const payload = frame.subarray(HEADER_BYTES);
  return { kind, at, delayMs: frame.readUInt32LE(20), payload, offset, end: offset + size };
}

/** The first position from `position` on at which a key frame may begin; undefined: none in this buffer. */
export function possibleKeyAt(buffer: Buffer, position: number): number | undefined {
  for (let at = position; ; at++) {
    at = buffer.indexOf(MARK[0]!, at);
    if (at < 0) return undefined;
    const known = Math.min(buffer.length - at, MARK.length);
    if (MARK.compare(buffer, at, at + known, 0, known) !== 0) continue;
    if (at + MARK.length >= buffer.length || FRAME_KINDS[buffer[at + MARK.length]!] === "key") return at;
  }
}
