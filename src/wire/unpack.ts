import { malformed } from "./errors.ts";
import { LIMITS } from "./protocol.ts";

/**
 * Decodes a message from the other end. It accepts only the part of msgpack that the protocol uses. Libraries for
 * msgpack trust their input: they build dates, errors, regular expressions and functions from hostile bytes, or spend
 * seconds on arrays whose items are not in the message.
 *
 * Integers become numbers, or bigints beyond 2^53 − 1. Bytes are views of the message. Maps are objects without a
 * prototype.
 *
 * @throws VirstreamError `protocol-error` if the bytes are not exactly one such message
 */
export function unpack(bytes: Uint8Array): unknown {
  const reader = new Reader(bytes);
  const value = reader.value(0);
  if (reader.left !== 0) throw malformed("it is longer than its sizes say");
  return value;
}

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

class Reader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #at = 0;
  /** The number of values so far: the message itself, and the values of all arrays and maps that have begun. */
  #values = 1;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  /** How many bytes are not read yet. */
  get left(): number {
    return this.#bytes.length - this.#at;
  }

  value(depth: number): unknown {
    const view = this.#view;
    const head = view.getUint8(this.#skip(1));
    if (head < 0x80) return head;
    if (head >= 0xe0) return head - 0x100;
    if (head < 0x90) return this.#map(head & 0x0f, depth);
    if (head < 0xa0) return this.#array(head & 0x0f, depth);
    if (head < 0xc0) return this.#text(head & 0x1f);
    switch (head) {
      case 0xc0:
        return null;
      case 0xc2:
        return false;
      case 0xc3:
        return true;
      case 0xc4:
      case 0xc5:
      case 0xc6:
        return this.#slice(this.#size(head - 0xc4));
      case 0xca:
        return view.getFloat32(this.#skip(4));
      case 0xcb:
        return view.getFloat64(this.#skip(8));
      case 0xcc:
      case 0xcd:
      case 0xce:
        return this.#size(head - 0xcc);
      case 0xcf:
        return exact(view.getBigUint64(this.#skip(8)));
      case 0xd0:
        return view.getInt8(this.#skip(1));
      case 0xd1:
        return view.getInt16(this.#skip(2));
      case 0xd2:
        return view.getInt32(this.#skip(4));
      case 0xd3:
        return exact(view.getBigInt64(this.#skip(8)));
      case 0xd9:
      case 0xda:
      case 0xdb:
        return this.#text(this.#size(head - 0xd9));
      case 0xdc:
      case 0xdd:
        return this.#array(this.#size(head - 0xdb), depth);
      case 0xde:
      case 0xdf:
        return this.#map(this.#size(head - 0xdd), depth);
      default:
        throw malformed(`byte 0x${head.toString(16)} is of no valid type`);
    }
  }

  /** Reads an unsigned integer of 1, 2 or 4 bytes, for a `power` of 0, 1 or 2. */
  #size(power: number): number {
    if (power === 0) return this.#view.getUint8(this.#skip(1));
    return power === 1 ? this.#view.getUint16(this.#skip(2)) : this.#view.getUint32(this.#skip(4));
  }

  /** Skips bytes, and returns the position of the first. */
  #skip(size: number): number {
    if (size > this.left) throw malformed("it is shorter than its sizes say");
    const at = this.#at;
    this.#at += size;
    return at;
  }

  #slice(size: number): Uint8Array {
    const at = this.#skip(size);
    return this.#bytes.subarray(at, at + size);
  }

  #text(size: number): string {
    const at = this.#skip(size);
    const end = at + size;
    const short = size < SHORT ? asciiOf(this.#bytes, at, end) : undefined;
    if (short !== undefined) return short;
    try {
      return utf8.decode(this.#bytes.subarray(at, end));
    } catch {
      throw malformed("a text is not UTF-8");
    }
  }

  #array(size: number, depth: number): unknown[] {
    this.#enter(size, depth);
    const array = new Array<unknown>(size);
    for (let i = 0; i < size; i++) array[i] = this.value(depth + 1);
    return array;
  }

  #map(size: number, depth: number): Record<string, unknown> {
    this.#enter(2 * size, depth);
    const map: Record<string, unknown> = Object.create(null);
    for (let i = 0; i < size; i++) {
      const key = this.value(depth + 1);
      if (typeof key !== "string") throw malformed("a map has no valid key");
      map[key] = this.value(depth + 1);
    }
    return map;
  }

  /**
   * Refuses sizes that are too large for the rest of the message, before memory is allocated for them. Each value takes
   * at least one byte. Nested arrays could all claim the same bytes. So the values of an array or a map count
   * towards the limit as soon as it begins.
   */
  #enter(values: number, depth: number): void {
    if (values > this.left) throw malformed("it is shorter than its sizes say");
    this.#values += values;
    if (this.#values > LIMITS.values) throw malformed(`it has more than ${LIMITS.values} values`);
    if (depth >= LIMITS.depth) throw malformed(`it has more than ${LIMITS.depth} levels`);
  }
}

/** Texts shorter than this, in bytes, are decoded faster without TextDecoder. */
const SHORT = 32;

/** The text of these bytes if all of them are ASCII, decoded four characters at a time; otherwise undefined. */
function asciiOf(bytes: Uint8Array, begin: number, end: number): string | undefined {
  let text = "";
  let at = begin;
  for (; at + 4 <= end; at += 4) {
    const [one, two, three, four] = [bytes[at]!, bytes[at + 1]!, bytes[at + 2]!, bytes[at + 3]!];
    if ((one | two | three | four) >= 0x80) return undefined;
    text += String.fromCharCode(one, two, three, four);
  }
  for (; at < end; at++) {
    if (bytes[at]! >= 0x80) return undefined;
    text += String.fromCharCode(bytes[at]!);
  }
  return text;
}

function exact(integer: bigint): number | bigint {
  const number = Number(integer);
  return Number.isSafeInteger(number) ? number : integer;
}
