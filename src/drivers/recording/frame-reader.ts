import type { FileHandle } from "node:fs/promises";
import { type Frame, frameAt, possibleKeyAt } from "./frame.ts";

/** The size of the buffer for one read, in bytes, unless a frame needs more. */
const CHUNK_BYTES = 262_144;

/** Bytes of a file that cannot be used: invalid bytes, and any valid frames between them and the next key frame. */
export interface Damage {
  readonly kind: "damage";
  readonly offset: number;
  readonly bytes: number;
  /**
   * True if the damage reaches to the end of the file: a frame there was not completely written, or is being written.
   */
  readonly last: boolean;
}

/** A part of a file: a frame, or damage. */
export type Piece = Frame | Damage;

/**
 * Reads the frames of a file, from a position at which a frame begins. After damage the reader continues at the next
 * key frame, because the frames before that key frame depend on frames that were lost. It needs memory for one frame
 * and one chunk.
 */
export class FrameReader {
  readonly #file: FileHandle;
  #buffer: Buffer = Buffer.alloc(0);
  /** The position in the file of the buffer's first byte. */
  #base: number;
  #position = 0;
  #atEnd = false;
  /** The position in the file at which the damage begins that is being skipped; undefined: nothing is being skipped. */
  #damagedAt: number | undefined;

  constructor(file: FileHandle, offset: number) {
    this.#file = file;
    this.#base = offset;
  }

  /** Reads the next pieces, at least one; undefined at the end of the file. */
  async next(): Promise<Piece[] | undefined> {
    const pieces: Piece[] = [];
    let needed = 1;
    for (;;) {
      if (this.#buffer.length - this.#position < needed) {
        if (pieces.length > 0) return pieces;
        await this.#read(needed);
      }
      const rest = this.#buffer.length - this.#position;
      if (rest === 0 && this.#damagedAt === undefined) return undefined;
      const found = rest < needed ? undefined : this.#found();
      if (typeof found === "number") {
        needed = found;
        if (!this.#atEnd || rest >= needed) continue;
      } else if (found !== undefined) {
        this.#endDamage(pieces, found.offset, false);
        pieces.push(found);
        this.#position = found.end - this.#base;
        needed = 1;
        continue;
      }
      // These bytes cannot become a frame, so skip them. They may look like a frame whose end would be beyond the end
      // of the file.
      needed = this.#skip();
      if (this.#atEnd && this.#position === this.#buffer.length) {
        this.#endDamage(pieces, this.#base + this.#position, true);
        return pieces;
      }
    }
  }

  #found(): Frame | number | undefined {
    const found = frameAt(this.#buffer, this.#position, this.#base);
    // After damage, only a key frame can be read without earlier frames.
    const isKey = typeof found !== "object" || found.kind === "key";
    return this.#damagedAt === undefined || isKey ? found : undefined;
  }

  /**
   * Goes to the next place where a key frame may begin. Returns how many bytes are needed to look for a frame there.
   */
  #skip(): number {
    this.#damagedAt ??= this.#base + this.#position;
    this.#position = possibleKeyAt(this.#buffer, this.#position + 1) ?? this.#buffer.length;
    return 1;
  }

  #endDamage(pieces: Piece[], end: number, last: boolean): void {
    const offset = this.#damagedAt;
    if (offset === undefined) return;
    pieces.push({ kind: "damage", offset, bytes: end - offset, last });
    this.#damagedAt = undefined;
  }

  /**
   * Reads until the buffer has `needed` bytes, or the file ends. Each call makes a new buffer, because frames that were
   * returned keep views of the earlier buffer.
   */
  async #read(needed: number): Promise<void> {
    const rest = this.#buffer.subarray(this.#position);
    const buffer = Buffer.allocUnsafe(Math.max(CHUNK_BYTES, needed));
    rest.copy(buffer);
    this.#base += this.#position;
    this.#position = 0;
    let length = rest.length;
    this.#atEnd = false;
    while (length < needed) {
      const { bytesRead } = await this.#file.read(buffer, length, buffer.length - length, this.#base + length);
      length += bytesRead;
      if (bytesRead === 0) {
        this.#atEnd = true;
        break;
      }
    }
    this.#buffer = buffer.subarray(0, length);
  }
}

/**
 * The binary search for a key frame stops when its range has at most this many bytes. The file is then read from the
 * beginning of the range.
 */
const NEAR_BYTES = 262_144;

/**
 * The offset of the last key frame that was written at or before a time; 0, the beginning of the file, if all key
 * frames are later.
 */
export async function keyBefore(file: FileHandle, size: number, time: number): Promise<number> {
  let [low, high] = [0, size];
  while (high - low > NEAR_BYTES) {
    const middle = low + Math.floor((high - low) / 2);
    const key = await keyFrom(file, middle, high);
    if (key !== undefined && key.at <= time) low = key.offset;
    else high = middle;
  }
  let found = low;
  for await (const piece of pieces(file, low)) {
    if (piece.kind === "damage") continue;
    if (piece.at > time) break;
    if (piece.kind === "key") found = piece.offset;
  }
  return found;
}

/** The first key frame that begins at or after a position, and before another position. */
export async function keyFrom(file: FileHandle, from: number, before: number): Promise<Frame | undefined> {
  for (let at = from; at < before; ) {
    const buffer = Buffer.allocUnsafe(NEAR_BYTES);
    const { bytesRead } = await file.read(buffer, 0, buffer.length, at);
    const here = buffer.subarray(0, bytesRead);
    let position = possibleKeyAt(here, 0);
    for (; position !== undefined && at + position < before; position = possibleKeyAt(here, position + 1)) {
      const found = frameAt(here, position, at);
      if (typeof found === "object") return found;
      // The frame continues after this buffer: reads again from the frame's beginning, unless the file ends in this
      // buffer.
      if (typeof found === "number" && position > 0 && bytesRead === buffer.length) break;
    }
    if (bytesRead < buffer.length) return undefined;
    at += position ?? bytesRead;
  }
  return undefined;
}

/** All pieces of a file from a position at which a frame begins. */
export async function* pieces(file: FileHandle, from: number): AsyncGenerator<Piece> {
  const reader = new FrameReader(file, from);
  for (let next = await reader.next(); next !== undefined; next = await reader.next()) yield* next;
}
