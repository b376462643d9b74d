import { invalid, VirstreamError } from "../../../model/error.ts";
import { formatUuid, writeUuid } from "../../../model/uuid.ts";

/**
 * XDR (RFC 4506) as libvirt's RPC uses it: big-endian, each value padded to four bytes. The reader does not trust the
 * daemon: before it allocates anything, it compares every length with the number of bytes left.
 */

/** The longest string in libvirt's protocol, in bytes (REMOTE_STRING_MAX). */
export const STRING_MAX = 4 * 1024 * 1024;

/**
 * The longest name of a domain, a host or a hypervisor, in bytes. libvirt has no limit of its own, but it uses a
 * domain's name as the name of a file, so real names are shorter. Many records keep a name, so this limit keeps a
 * daemon from filling the memory with long names.
 */
export const NAME_MAX = 4_096;

/** Reads XDR from a buffer. Every error that it throws is a VirstreamError `protocol-error`. */
export class XdrReader {
  readonly bytes: Buffer;
  readonly view: DataView;
  /** Where the next value begins, in `bytes`. */
  offset = 0;

  constructor(bytes: Buffer) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** How many bytes are left. */
  get remaining(): number {
    return this.bytes.length - this.offset;
  }

  int(): number {
    return this.view.getInt32(this.#take(4, "an integer"));
  }

  uint(): number {
    return this.view.getUint32(this.#take(4, "an integer"));
  }

  /** An unsigned 64-bit integer, rounded to the nearest double. StatsReader reads statistics without rounding. */
  uhyper(): number {
    return Number(this.view.getBigUint64(this.#take(8, "a 64-bit integer")));
  }

  /** Passes over a value of this many bytes. */
  skip(length: number): void {
    this.#take(length, "a value");
  }

  /**
   * A string. libvirt guarantees no encoding of names and paths, so bytes that are not UTF-8 become U+FFFD.
   *
   * @param most a string of more than this many bytes is refused
   */
  string(most = STRING_MAX): string {
    const { at, length } = this.#string(most);
    return this.bytes.toString("utf8", at, at + length);
  }

  /**
   * A string for people, such as a message. Of a string that is longer than `most` bytes, returns the beginning and an
   * ellipsis.
   */
  excerpt(most: number): string {
    const { at, length } = this.#string(STRING_MAX);
    return length <= most
      ? this.bytes.toString("utf8", at, at + length)
      : `${this.bytes.toString("utf8", at, at + most)}…`;
  }

  /** The 16 bytes of a uuid, as text. */
  uuid(): string {
    return formatUuid(this.bytes, this.#take(16, "a uuid"));
  }

  /**
   * A value that may be absent. A flag other than 0 and 1 is refused: it shows that the reader is at a wrong position.
   */
  optional<T>(read: () => T): T | undefined {
    const present = this.uint();
    if (present > 1) throw invalidMessage(`the flag of an optional value is ${present}`);
    return present === 1 ? read() : undefined;
  }

  /**
   * The length of an array. A count that does not fit into the rest of the message is refused, so a false count cannot
   * cause a large allocation.
   *
   * @param maximum the protocol's own limit
   * @param itemBytes the size of the smallest item
   */
  count(maximum: number, itemBytes: number): number {
    const count = this.uint();
    if (count > maximum) throw invalidMessage(`an array of ${count} items, at most ${maximum} are allowed`);
    if (count * itemBytes > this.remaining) {
      throw invalidMessage(`an array of ${count} items in the last ${this.remaining} bytes`);
    }
    return count;
  }

  #string(most: number): { at: number; length: number } {
    const length = this.uint();
    if (length > most) throw invalidMessage(`a string of ${length} bytes, at most ${most} are allowed`);
    return { at: this.#take(padded(length), "a string"), length };
  }

  #take(length: number, what: string): number {
    const at = this.offset;
    if (length > this.remaining) {
      throw invalidMessage(`it ends within ${what}, at byte ${at} of ${this.bytes.length}`);
    }
    this.offset = at + length;
    return at;
  }
}

/** Writes XDR into a buffer that grows. Throws `invalid-argument` for a string that is too long, or an invalid uuid. */
export class XdrWriter {
  #bytes: Buffer = Buffer.allocUnsafe(128);
  #length = 0;

  int(value: number): void {
    const at = this.#grow(4);
    this.#bytes.writeInt32BE(value, at);
  }

  uint(value: number): void {
    const at = this.#grow(4);
    this.#bytes.writeUInt32BE(value, at);
  }

  string(text: string): void {
    const length = Buffer.byteLength(text);
    if (length > STRING_MAX) {
      throw invalid(`a text of ${length} bytes is too long, at most ${STRING_MAX} are sent`);
    }
    this.uint(length);
    const at = this.#grow(padded(length));
    this.#bytes.write(text, at);
    this.#bytes.fill(0, at + length, this.#length);
  }

  uuid(text: string): void {
    const at = this.#grow(16);
    if (!writeUuid(text, this.#bytes, at)) {
      throw invalid(`${JSON.stringify(text)} is not a uuid`);
    }
  }

  /** Returns the bytes. The writer must not be used afterwards. */
  take(): Buffer {
    return this.#bytes.subarray(0, this.#length);
  }

  #grow(length: number): number {
    const at = this.#length;
    this.#length += length;
    if (this.#length > this.#bytes.length) {
      const grown = Buffer.allocUnsafe(Math.max(this.#length, 2 * this.#bytes.length));
      this.#bytes.copy(grown, 0, 0, at);
      this.#bytes = grown;
    }
    return at;
  }
}

/** Rounds a length up to XDR's unit of four bytes. */
export function padded(length: number): number {
  return (length + 3) & ~3;
}

/** The error for a message that breaks the protocol. */
export function invalidMessage(what: string): VirstreamError {
  return new VirstreamError("protocol-error", `malformed message from the libvirt daemon: ${what}`);
}
