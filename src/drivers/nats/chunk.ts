import { malformed } from "../../wire/errors.ts";
import { mapOf, textOf, wholeOf } from "../../wire/messages.ts";
import { pack } from "../../wire/pack.ts";
import { LIMITS } from "../../wire/protocol.ts";
import { unpack } from "../../wire/unpack.ts";

/** The version of the format of chunks. */
export const CHUNK_VERSION = 1;
/** The most bytes of a chunk besides its body: its other members, and the headers of its message. */
const CHUNK_OVERHEAD = 1_024;
/** The most chunks of a tick. */
const MAX_CHUNKS = 65_536;
/** The most characters of an epoch. */
const MAX_EPOCH = 64;
/**
 * The most bytes that the waiting chunks of all hosts may have together. A chunk waits for the other chunks of its
 * tick.
 */
export const MAX_WAITING = 134_217_728;

/** A part of a tick that fits into one message. */
export interface Chunk {
  /** A text that is different after each start of the publisher. */
  readonly epoch: string;
  /** The number of the tick, from 1. */
  readonly sequence: number;
  /** The number of the chunk in its tick, from 0. */
  readonly chunk: number;
  /** How many chunks the tick has. */
  readonly chunks: number;
  readonly body: Uint8Array;
}

/**
 * Cuts a tick into messages.
 *
 * @param maxPayload the most bytes of a message that the server accepts
 */
export function cut(epoch: string, sequence: number, tick: Uint8Array, maxPayload: number): Uint8Array[] {
  const size = Math.max(1, maxPayload - CHUNK_OVERHEAD);
  const chunks = Math.ceil(tick.length / size);
  return Array.from({ length: chunks }, (_, chunk) => {
    const body = tick.subarray(chunk * size, (chunk + 1) * size);
    return pack({ v: CHUNK_VERSION, epoch, sequence, chunk, chunks, body });
  });
}

/**
 * Reads a chunk from a message. @throws VirstreamError `protocol-error` for bytes that are not a chunk of this version
 */
export function readChunk(bytes: Uint8Array): Chunk {
  const message = mapOf(unpack(bytes), "a chunk");
  const version = wholeOf(message, "v");
  if (version !== CHUNK_VERSION) throw malformed(`it has version ${version}, and this program reads ${CHUNK_VERSION}`);
  const epoch = textOf(message, "epoch");
  if (epoch.length > MAX_EPOCH) throw malformed("a chunk has no valid epoch");
  const sequence = wholeOf(message, "sequence");
  const chunks = wholeOf(message, "chunks", MAX_CHUNKS);
  const chunk = wholeOf(message, "chunk", chunks - 1);
  const { body } = message;
  if (!(body instanceof Uint8Array) || body.length === 0) throw malformed("a chunk has no valid body");
  return { epoch, sequence, chunk, chunks, body };
}

/** Counts the bytes that wait in the assemblers of all hosts. */
export interface WaitingBytes {
  total: number;
}

/**
 * Puts the chunks of one host's ticks together. It keeps the chunks of only one tick at a time, so it never mixes the
 * chunks of two ticks.
 */
export class Assembler {
  readonly #waiting: WaitingBytes;
  #epoch = "";
  #sequence = 0;
  readonly #parts = new Map<number, Uint8Array>();
  #chunks = 0;
  #bytes = 0;

  constructor(waiting: WaitingBytes) {
    this.#waiting = waiting;
  }

  /** True if chunks wait for the other chunks of their tick. */
  get isWaiting(): boolean {
    return this.#parts.size > 0;
  }

  /**
   * Adds a chunk. A chunk of a newer tick replaces the chunks of an older tick that is not complete.
   *
   * @returns the tick if it is complete now; otherwise the kind of the chunk (see Outcome in host-state.ts)
   * @throws VirstreamError `protocol-error` for a chunk that contradicts earlier chunks of its tick, and for a tick
   *   that is too large
   */
  add({ epoch, sequence, chunk, chunks, body }: Chunk): Uint8Array | "waiting" | "incomplete" {
    const isSame = this.isWaiting && epoch === this.#epoch && sequence === this.#sequence;
    if (!isSame) {
      if (this.isWaiting && epoch === this.#epoch && sequence < this.#sequence) return "incomplete";
      this.clear();
      if (chunks === 1) return body;
      this.#epoch = epoch;
      this.#sequence = sequence;
      this.#chunks = chunks;
    }
    if (chunks !== this.#chunks) throw this.#refuse("the chunks of a tick have different numbers of chunks");
    if (this.#parts.has(chunk)) return "waiting";
    this.#bytes += body.length;
    this.#waiting.total += body.length;
    if (this.#bytes > LIMITS.message || this.#waiting.total > MAX_WAITING) throw this.#refuse("its tick is too large");
    // The chunk is copied, because its body is a part of the socket's buffer.
    this.#parts.set(chunk, body.slice());
    if (this.#parts.size < chunks) return "waiting";
    const tick = new Uint8Array(this.#bytes);
    let at = 0;
    for (let i = 0; i < chunks; i++) {
      const part = this.#parts.get(i)!;
      tick.set(part, at);
      at += part.length;
    }
    this.clear();
    return tick;
  }

  /** Drops the chunks that wait. */
  clear(): void {
    this.#waiting.total -= this.#bytes;
    this.#bytes = 0;
    this.#parts.clear();
  }

  #refuse(why: string): Error {
    this.clear();
    return malformed(why);
  }
}
