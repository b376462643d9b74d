import { malformed } from "./encoding.ts";
import { LIMITS } from "./protocol.ts";
import { sizeOf } from "./text.ts";

/**
 * Cut and join. No WebSocket message is larger than 256 KiB, yet no record is too big: a larger message is cut and
 * travels as consecutive PIECE messages, whose contents put together are the message.
 */

/** Bytes of a message in one piece; the rest of the limit is for the piece's own head. */
const BINARY_PIECE = LIMITS.message - 64;
/** Characters in one piece: as JSON text inside JSON text each takes three bytes at most. */
const TEXT_PIECE = 80_000;

/** The contents of the pieces of a binary message, in order. Views, not copies. */
export function cutBytes(message: Uint8Array): Uint8Array[] {
  const pieces: Uint8Array[] = [];
  for (let at = 0; at < message.length; at += BINARY_PIECE) pieces.push(message.subarray(at, at + BINARY_PIECE));
  return pieces;
}

/** The contents of the pieces of a text message, in order. */
export function cutText(message: string): string[] {
  const pieces: string[] = [];
  let at = 0;
  while (at < message.length) {
    let end = at + TEXT_PIECE;
    // The halves of a surrogate pair stay together: alone, a half is no text to most of the world.
    if (isHighSurrogate(message.charCodeAt(end - 1))) end--;
    pieces.push(message.slice(at, end));
    at = end;
  }
  return pieces;
}

function isHighSurrogate(code: number): boolean {
  return code >= 0xd800 && code < 0xdc00;
}

/** Joins the pieces of one message; refuses one that grows beyond the limit as soon as it does. */
export class PieceJoiner {
  #bytes: Uint8Array[] = [];
  #texts: string[] = [];
  #size = 0;

  /** Whether a message is being joined. */
  get open(): boolean {
    return this.#size > 0;
  }

  /** Takes a piece; with the last one, gives the whole message. */
  add(last: boolean, piece: Uint8Array | string): Uint8Array | string | undefined {
    this.#size += sizeOf(piece);
    if (piece.length === 0) throw malformed("a piece is empty");
    if (this.#size > LIMITS.joinedMessage) throw malformed(`its pieces exceed ${LIMITS.joinedMessage} bytes`);
    if (typeof piece === "string") this.#texts.push(piece);
    else this.#bytes.push(piece.slice());
    if (this.#texts.length > 0 && this.#bytes.length > 0) throw malformed("its pieces are of two kinds");
    if (!last) return undefined;
    const message = this.#texts.length > 0 ? this.#texts.join("") : joinBytes(this.#bytes, this.#size);
    this.#texts = [];
    this.#bytes = [];
    this.#size = 0;
    return message;
  }
}

function joinBytes(pieces: readonly Uint8Array[], size: number): Uint8Array {
  const message = new Uint8Array(size);
  let at = 0;
  for (const piece of pieces) {
    message.set(piece, at);
    at += piece.length;
  }
  return message;
}
