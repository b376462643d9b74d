import { VirstreamError } from "../model/error.ts";
import { ParamType } from "../model/params.ts";
import { writeUuid } from "../model/uuid.ts";
import type { ParamCell } from "./cells.ts";
import type { ChangesHead, WireValue, WireWriter } from "./encoding.ts";
import { CHANGES_HEAD } from "./protocol.ts";
import type { RowBefore } from "./repetition.ts";
import { maxUtf8Length, writeUtf8 } from "./text.ts";

/**
 * The part of msgpack that the protocol uses: nil, booleans, integers, float64, strings, binary, arrays, and maps with
 * string keys. No extensions: they let a stranger's bytes build dates, errors and regular expressions in other decoders.
 * An integer is a number while that is exact and a bigint of 64 bits beyond, in both directions; on the wire it takes
 * the shortest form, and is never a float.
 */

const TWO_32 = 4_294_967_296;
const EMPTY = new Uint8Array(0);
/** So many values may change in a row of changes at most, so that the row's head has 16 bits. */
const MAX_CHANGES = 0xffff - CHANGES_HEAD - 1;

/** Appends msgpack to a buffer of its own that grows as needed. */
export class MsgpackWriter implements WireWriter<Uint8Array> {
  #bytes: Uint8Array;
  #view: DataView;
  readonly #capacity: number;
  #length = 0;

  /** @param capacity bytes of a fresh buffer, which is made once something is written */
  constructor(capacity: number) {
    this.#capacity = capacity;
    this.#bytes = EMPTY;
    this.#view = viewOf(EMPTY);
  }

  /** Bytes written so far. */
  get length(): number {
    return this.#length;
  }

  /** Messages are kept for those who resume: a small one gets bytes of its own rather than a large buffer to itself. */
  take(): Uint8Array {
    const written = this.#bytes.subarray(0, this.#length);
    this.#length = 0;
    if (written.length * 2 < this.#bytes.length) {
      const copy = allocate(written.length);
      copy.set(written);
      return copy;
    }
    this.#bytes = EMPTY;
    this.#view = viewOf(EMPTY);
    return written;
  }

  truncate(length: number): void {
    this.#length = length;
  }

  /**
   * The hot path: nearly all that a server writes passes here. One loop over local variables, room made once for a run
   * of numbers, the commonest kinds of value first, and a comparison of its own for each kind: one that sees only numbers
   * is compiled to a machine's comparison, one that sees everything to a call.
   */
  cells(cells: readonly ParamCell[], row: RowBefore | undefined): void {
    const before = row?.cells;
    const count = cells.length;
    this.#reserve(count * 9);
    let bytes = this.#bytes;
    let at = this.#length;
    for (let i = 0; i < count; i++) {
      const cell = cells[i]!;
      if (typeof cell === "number") {
        const last = before === undefined ? undefined : before[i];
        // As an unsigned integer of 32 bits: what is written byte by byte must not be a float on the way.
        const low = cell >>> 0;
        if (typeof last === "number" && last === cell) {
          bytes[at++] = 0xc0;
        } else if (low === cell) {
          if (low < 0x80) {
            bytes[at++] = low;
          } else if (low < 0x100) {
            bytes[at] = 0xcc;
            bytes[at + 1] = low;
            at += 2;
          } else if (low < 0x10000) {
            bytes[at] = 0xcd;
            bytes[at + 1] = low >>> 8;
            bytes[at + 2] = low;
            at += 3;
          } else {
            bytes[at] = 0xce;
            bytes[at + 1] = low >>> 24;
            bytes[at + 2] = low >>> 16;
            bytes[at + 3] = low >>> 8;
            bytes[at + 4] = low;
            at += 5;
          }
        } else if (cell > 0 && cell <= Number.MAX_SAFE_INTEGER && Math.floor(cell) === cell) {
          const high = (cell / TWO_32) >>> 0;
          bytes[at] = 0xcf;
          bytes[at + 1] = high >>> 24;
          bytes[at + 2] = high >>> 16;
          bytes[at + 3] = high >>> 8;
          bytes[at + 4] = high;
          bytes[at + 5] = low >>> 24;
          bytes[at + 6] = low >>> 16;
          bytes[at + 7] = low >>> 8;
          bytes[at + 8] = low;
          at += 9;
        } else {
          this.#length = at;
          this.number(cell);
          at = this.#length;
        }
      } else {
        this.#length = at;
        if (typeof cell === "string") this.#cellText(cell, row, i);
        else if (cell === before?.[i]) this.nil();
        else if (typeof cell === "bigint") this.bigint(cell);
        else this.boolean(cell);
        // What may be long makes its own room, and the room for what follows is made anew.
        this.#reserve((count - i) * 9);
        bytes = this.#bytes;
        at = this.#length;
      }
    }
    this.#length = at;
  }

  /**
   * The other hot path, in the same manner: one pass over both rows fills the mask and writes what differs. How many items
   * that makes is known at its end, so the row's head has a fixed size.
   */
  changes(head: ChangesHead, types: Uint8Array, cells: readonly ParamCell[], before: readonly ParamCell[]): boolean {
    const count = cells.length;
    if (count > MAX_CHANGES) return false;
    const maskSize = (count + 7) >> 3;
    const maskHead = maskSize < 0x100 ? 2 : 3;
    this.#reserve(3 + CHANGES_HEAD * 9 + maskHead + maskSize + count * 10);
    const start = this.#length;
    this.#length = start + 3;
    this.number(head.number);
    this.number(head.index);
    this.number(head.sampledAt);
    this.number(head.took);
    const mask = this.#length;
    let maskAt = mask + maskHead;
    let at = maskAt + maskSize;
    let bytes = this.#bytes;
    let view = this.#view;
    let bits = 0;
    let changed = 0;
    for (let i = 0; i < count; i++) {
      const cell = cells[i]!;
      const last = before[i]!;
      if (typeof cell === "number" && typeof last === "number") {
        if (cell !== last) {
          const difference = cell - last;
          const low = difference >>> 0;
          bits |= 1 << (i & 7);
          changed++;
          if (types[i] === ParamType.double) {
            if (!Number.isNaN(cell) || !Number.isNaN(last)) {
              this.#length = at;
              this.number(cell);
              at = this.#length;
            } else {
              // Not a number, as before: which is never equal to itself.
              bits &= ~(1 << (i & 7));
              changed--;
            }
          } else if (low === difference) {
            if (low < 0x80) {
              bytes[at++] = low;
            } else if (low < 0x100) {
              bytes[at] = 0xcc;
              bytes[at + 1] = low;
              at += 2;
            } else if (low < 0x10000) {
              bytes[at] = 0xcd;
              view.setUint16(at + 1, low);
              at += 3;
            } else {
              bytes[at] = 0xce;
              view.setUint32(at + 1, low);
              at += 5;
            }
          } else if ((difference | 0) === difference) {
            // Below zero: a gauge that fell, a counter that began anew.
            if (difference >= -0x20) {
              bytes[at++] = difference;
            } else if (difference >= -0x80) {
              bytes[at] = 0xd0;
              bytes[at + 1] = difference;
              at += 2;
            } else if (difference >= -0x8000) {
              bytes[at] = 0xd1;
              view.setInt16(at + 1, difference);
              at += 3;
            } else {
              bytes[at] = 0xd2;
              view.setInt32(at + 1, difference);
              at += 5;
            }
          } else {
            // A difference that is not exact is none: the value itself goes.
            const exact = Number.isSafeInteger(difference) && Number.isSafeInteger(cell) && Number.isSafeInteger(last);
            if (!exact) bytes[at++] = 0x91;
            this.#length = at;
            this.number(exact ? difference : cell);
            at = this.#length;
          }
        }
      } else if (cell !== last) {
        bits |= 1 << (i & 7);
        changed++;
        this.#length = at;
        if (typeof cell === "string") this.string(cell);
        else if (typeof cell === "boolean") this.boolean(cell);
        else {
          this.arrayHead(1);
          if (typeof cell === "bigint") this.bigint(cell);
          else this.number(cell);
        }
        this.#reserve((count - i) * 10);
        bytes = this.#bytes;
        view = this.#view;
        at = this.#length;
      }
      if ((i & 7) === 7) {
        bytes[maskAt++] = bits;
        bits = 0;
      }
    }
    if ((count & 7) !== 0) bytes[maskAt] = bits;
    if (changed === 0) {
      this.#length = mask;
    } else {
      bytes[mask] = maskHead === 2 ? 0xc4 : 0xc5;
      if (maskHead === 3) bytes[mask + 1] = maskSize >> 8;
      bytes[mask + maskHead - 1] = maskSize;
      this.#length = at;
    }
    const items = changed === 0 ? CHANGES_HEAD : CHANGES_HEAD + 1 + changed;
    bytes[start] = 0xdc;
    bytes[start + 1] = items >> 8;
    bytes[start + 2] = items;
    return true;
  }

  #cellText(text: string, row: RowBefore | undefined, position: number): void {
    if (row === undefined) {
      this.string(text);
      return;
    }
    const before = row.cells[position];
    if (typeof before === "string" && before === text) {
      this.nil();
      return;
    }
    const shared = row.sharedStart(text, position);
    if (shared === 0) {
      this.string(text);
    } else {
      this.arrayHead(2);
      this.number(shared);
      this.string(text.slice(shared));
    }
  }

  uuid(text: string): void {
    this.#reserve(18);
    const bytes = this.#bytes;
    bytes[this.#length] = 0xc4;
    bytes[this.#length + 1] = 16;
    if (!writeUuid(text, bytes, this.#length + 2)) {
      throw new VirstreamError("invalid-argument", `${JSON.stringify(text)} is not a uuid in lower case with dashes`);
    }
    this.#length += 18;
  }

  beginArray(): number {
    const mark = this.#length;
    this.#reserve(5);
    this.#bytes[mark] = 0xdd;
    this.#length += 5;
    return mark;
  }

  endArray(mark: number, size: number): void {
    this.#view.setUint32(mark + 1, size);
  }

  nil(): void {
    this.#reserve(1);
    this.#bytes[this.#length++] = 0xc0;
  }

  boolean(value: boolean): void {
    this.#reserve(1);
    this.#bytes[this.#length++] = value ? 0xc3 : 0xc2;
  }

  /** A number: as an integer where it is a safe one, else as float64. Negative zero becomes zero. */
  number(value: number): void {
    this.#reserve(9);
    const bytes = this.#bytes;
    const at = this.#length;
    if (value >>> 0 === value) {
      if (value < 0x80) {
        bytes[at] = value;
        this.#length = at + 1;
      } else if (value < 0x100) {
        bytes[at] = 0xcc;
        bytes[at + 1] = value;
        this.#length = at + 2;
      } else if (value < 0x10000) {
        bytes[at] = 0xcd;
        bytes[at + 1] = value >> 8;
        bytes[at + 2] = value;
        this.#length = at + 3;
      } else {
        bytes[at] = 0xce;
        this.#view.setUint32(at + 1, value);
        this.#length = at + 5;
      }
    } else if (Number.isSafeInteger(value)) {
      if (value > 0) {
        bytes[at] = 0xcf;
        this.#view.setUint32(at + 1, value / TWO_32);
        this.#view.setUint32(at + 5, value >>> 0);
        this.#length = at + 9;
      } else if (value >= -0x20) {
        bytes[at] = value;
        this.#length = at + 1;
      } else if (value >= -0x80) {
        bytes[at] = 0xd0;
        bytes[at + 1] = value;
        this.#length = at + 2;
      } else if (value >= -0x8000) {
        bytes[at] = 0xd1;
        this.#view.setInt16(at + 1, value);
        this.#length = at + 3;
      } else if (value >= -0x80000000) {
        bytes[at] = 0xd2;
        this.#view.setInt32(at + 1, value);
        this.#length = at + 5;
      } else {
        this.bigint(BigInt(value));
      }
    } else {
      bytes[at] = 0xcb;
      this.#view.setFloat64(at + 1, value);
      this.#length = at + 9;
    }
  }

  /** An integer of 64 bits, in nine bytes. */
  bigint(value: bigint): void {
    if (value < -0x8000000000000000n || value > 0xffffffffffffffffn) {
      throw new VirstreamError("invalid-argument", `${value} does not fit 64 bits`);
    }
    this.#reserve(9);
    if (value < 0n) {
      this.#bytes[this.#length] = 0xd3;
      this.#view.setBigInt64(this.#length + 1, value);
    } else {
      this.#bytes[this.#length] = 0xcf;
      this.#view.setBigUint64(this.#length + 1, value);
    }
    this.#length += 9;
  }

  string(text: string): void {
    const most = maxUtf8Length(text);
    this.#reserve(most + 5);
    const at = this.#length;
    // The head's size depends on the length in bytes, which is only known once written: guess it, move if it was wrong.
    const guess = headSize(text.length);
    const size = writeUtf8(text, this.#bytes, at + guess);
    const head = headSize(size);
    if (head !== guess) this.#bytes.copyWithin(at + head, at + guess, at + guess + size);
    const bytes = this.#bytes;
    if (head === 1) {
      bytes[at] = 0xa0 | size;
    } else if (head === 2) {
      bytes[at] = 0xd9;
      bytes[at + 1] = size;
    } else if (head === 3) {
      bytes[at] = 0xda;
      this.#view.setUint16(at + 1, size);
    } else {
      bytes[at] = 0xdb;
      this.#view.setUint32(at + 1, size);
    }
    this.#length = at + head + size;
  }

  binary(value: Uint8Array): void {
    const size = value.length;
    this.#reserve(size + 5);
    const bytes = this.#bytes;
    let at = this.#length;
    if (size < 0x100) {
      bytes[at] = 0xc4;
      bytes[at + 1] = size;
      at += 2;
    } else if (size < 0x10000) {
      bytes[at] = 0xc5;
      this.#view.setUint16(at + 1, size);
      at += 3;
    } else {
      bytes[at] = 0xc6;
      this.#view.setUint32(at + 1, size);
      at += 5;
    }
    bytes.set(value, at);
    this.#length = at + size;
  }

  arrayHead(size: number): void {
    this.#reserve(5);
    if (size < 16) {
      this.#bytes[this.#length++] = 0x90 | size;
    } else if (size < 0x10000) {
      this.#bytes[this.#length] = 0xdc;
      this.#view.setUint16(this.#length + 1, size);
      this.#length += 3;
    } else {
      this.#bytes[this.#length] = 0xdd;
      this.#view.setUint32(this.#length + 1, size);
      this.#length += 5;
    }
  }

  /** Any value of the protocol. */
  value(value: WireValue | undefined): void {
    if (value === null || value === undefined) this.nil();
    else if (typeof value === "number") this.number(value);
    else if (typeof value === "string") this.string(value);
    else if (typeof value === "boolean") this.boolean(value);
    else if (typeof value === "bigint") this.bigint(value);
    else if (value instanceof Uint8Array) this.binary(value);
    else if (Array.isArray(value)) {
      this.arrayHead(value.length);
      for (const item of value) this.value(item);
    } else {
      const entries = Object.entries(value as { [key: string]: WireValue }).filter(([, item]) => item !== undefined);
      this.#mapHead(entries.length);
      for (const [key, item] of entries) {
        this.string(key);
        this.value(item);
      }
    }
  }

  #mapHead(size: number): void {
    this.#reserve(3);
    if (size < 16) {
      this.#bytes[this.#length++] = 0x80 | size;
    } else {
      this.#bytes[this.#length] = 0xde;
      this.#view.setUint16(this.#length + 1, size);
      this.#length += 3;
    }
  }

  #reserve(size: number): void {
    const needed = this.#length + size;
    if (needed <= this.#bytes.length) return;
    const grown = allocate(Math.max(needed, this.#bytes.length * 2, this.#capacity));
    grown.set(this.#bytes.subarray(0, this.#length));
    this.#bytes = grown;
    this.#view = viewOf(grown);
  }
}

/** Bytes to write to. In Node they are not zeroed first; only what was written is ever given away. */
const allocate: (size: number) => Uint8Array =
  (globalThis as { Buffer?: { allocUnsafeSlow(size: number): Uint8Array } }).Buffer?.allocUnsafeSlow ??
  ((size) => new Uint8Array(size));

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function headSize(length: number): number {
  return length < 32 ? 1 : length < 0x100 ? 2 : length < 0x10000 ? 3 : 5;
}
