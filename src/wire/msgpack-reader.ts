import { ParamType } from "../model/params.ts";
import { formatUuid } from "../model/uuid.ts";
import type { ParamCell } from "./cells.ts";
import { malformed, type WireReader, type WireValue } from "./encoding.ts";
import { goOn, repeated } from "./repetition.ts";
import { readUtf8 } from "./text.ts";
import { changedCell, typedCell } from "./typed-cell.ts";

const TWO_32 = 4_294_967_296;
/** The least and the most that a value of an integer's type may come to by a difference. */
const LEAST: readonly number[] = [0, -0x80000000, 0, -Number.MAX_SAFE_INTEGER, 0];
const MOST: readonly number[] = [0, 0x7fffffff, 0xffffffff, Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER];

/** Reads the part of msgpack that MsgpackWriter writes. Everything is checked: what does not fit is `protocol-error`, never a wrong value. */
export class MsgpackReader implements WireReader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  integer(): number {
    const head = this.#bytes[this.#at]!;
    if (head < 0x80) {
      this.#at++;
      return head;
    }
    const value = this.#item(0);
    if (Number.isSafeInteger(value)) return value as number;
    throw malformed("something else stands where a whole number belongs");
  }

  text(): string {
    const value = this.#item(0);
    if (typeof value === "string") return value;
    throw malformed("something else stands where text belongs");
  }

  /**
   * The hot path: nearly all that a client reads passes here. The bytes that begin the commonest values are looked at in
   * place; all others go the general way, and are checked against their declared type there.
   */
  cells(types: Uint8Array, before: readonly ParamCell[] | undefined): ParamCell[] {
    const count = types.length;
    // Each value takes a byte at least: a schema cannot make more values of a message than it has bytes.
    this.#need(count);
    const bytes = this.#bytes;
    const view = this.#view;
    const end = bytes.length;
    const cells = new Array<ParamCell>(count);
    let at = this.#at;
    for (let i = 0; i < count; i++) {
      const head = at < end ? bytes[at]! : 0xc1;
      const type = types[i]!;
      if (head < 0x80 && type <= ParamType.double) {
        cells[i] = head;
        at += 1;
      } else if (head === 0xc0) {
        cells[i] = before === undefined ? repeated(before, i) : before[i]!;
        at += 1;
      } else if (head === 0xcf && type === ParamType.ullong && at + 9 <= end) {
        const high = view.getUint32(at + 1);
        cells[i] = high < 0x200000 ? high * TWO_32 + view.getUint32(at + 5) : view.getBigUint64(at + 1);
        at += 9;
      } else if (head === 0xce && type === ParamType.ullong && at + 5 <= end) {
        cells[i] = view.getUint32(at + 1);
        at += 5;
      } else if (head === 0xcd && type === ParamType.ullong && at + 3 <= end) {
        cells[i] = (bytes[at + 1]! << 8) | bytes[at + 2]!;
        at += 3;
      } else if (head === 0x92 && type === ParamType.string) {
        this.#at = at + 1;
        const shared = this.#item(0);
        cells[i] = goOn(before?.[i], shared, this.#item(0));
        at = this.#at;
      } else {
        this.#at = at;
        cells[i] = typedCell(this.#item(0), type);
        at = this.#at;
      }
    }
    this.#at = at;
    return cells;
  }

  /** The other hot path, in the same manner: the mask leads to what has changed. */
  changes(types: Uint8Array, before: readonly ParamCell[], items: number): ParamCell[] {
    const bytes = this.#bytes;
    const view = this.#view;
    const end = bytes.length;
    const maskEnd = this.#maskEnd((types.length + 7) >> 3);
    const cells = before.slice();
    let left = items;
    let at = maskEnd;
    let first = 0;
    for (let mask = this.#at; mask < maskEnd; mask++, first += 8) {
      for (let bits = bytes[mask]!; bits !== 0; bits &= bits - 1) {
        const i = first + 31 - Math.clz32(bits & -bits);
        const type = types[i]!;
        const last = before[i];
        left--;
        if (typeof last === "number" && type <= ParamType.ullong) {
          const head = at < end ? bytes[at]! : 0xc1;
          let difference = head;
          if (head < 0x80) {
            at += 1;
          } else if (head === 0xce && at + 5 <= end) {
            difference = view.getUint32(at + 1);
            at += 5;
          } else if (head === 0xcd && at + 3 <= end) {
            difference = (bytes[at + 1]! << 8) | bytes[at + 2]!;
            at += 3;
          } else if (head === 0xcc && at + 2 <= end) {
            difference = bytes[at + 1]!;
            at += 2;
          } else if (head === 0xd2 && at + 5 <= end) {
            difference = view.getInt32(at + 1);
            at += 5;
          } else if (head === 0xd1 && at + 3 <= end) {
            difference = view.getInt16(at + 1);
            at += 3;
          } else {
            this.#at = at;
            cells[i] = changedCell(last, this.#item(1), type);
            at = this.#at;
            continue;
          }
          const sum = last + difference;
          if (sum > MOST[type]! || sum < LEAST[type]!) throw malformed("a value comes to more than its type holds");
          cells[i] = sum;
        } else {
          if (i >= types.length) throw malformed("a mask does not fit its schema");
          this.#at = at;
          cells[i] = changedCell(last!, this.#item(1), type);
          at = this.#at;
        }
      }
    }
    if (left !== 0) throw malformed("a mask does not fit its row");
    this.#at = at;
    return cells;
  }

  /** Goes past the head of a mask of so many bytes; gives where it ends. */
  #maskEnd(size: number): number {
    this.#need(1);
    const head = this.#bytes[this.#at++]!;
    const length = head === 0xc4 ? this.#uint(1) : head === 0xc5 ? this.#uint(2) : head === 0xc6 ? this.#uint(4) : -1;
    if (length !== size) throw malformed("the mask of a row of changes does not fit its schema");
    this.#need(size);
    return this.#at + size;
  }

  uuidIsNext(): boolean {
    const head = this.#bytes[this.#at];
    return head === 0xc4 || head === 0xc5 || head === 0xc6;
  }

  uuid(): string {
    this.#need(18);
    const at = this.#at;
    if (this.#bytes[at] !== 0xc4 || this.#bytes[at + 1] !== 16) {
      throw malformed("something else stands where the 16 bytes of a uuid belong");
    }
    this.#at = at + 18;
    return formatUuid(this.#bytes, at + 2);
  }

  arrayHead(): number {
    this.#need(1);
    const head = this.#bytes[this.#at++]!;
    if (head >= 0x90 && head < 0xa0) return this.#fits(head & 15);
    if (head === 0xdc) return this.#fits(this.#uint(2));
    if (head === 0xdd) return this.#fits(this.#uint(4));
    throw malformed("something else stands where an array belongs");
  }

  value(depth: number): WireValue {
    return this.#item(depth);
  }

  #item(depth: number): WireValue {
    this.#need(1);
    const head = this.#bytes[this.#at++]!;
    if (head < 0x80) return head;
    if (head >= 0xe0) return head - 0x100;
    if (head < 0x90) return this.#map(head & 15, depth);
    if (head < 0xa0) return this.#array(head & 15, depth);
    if (head < 0xc0) return this.#text(head & 31);
    switch (head) {
      case 0xc0:
        return null;
      case 0xc2:
        return false;
      case 0xc3:
        return true;
      case 0xc4:
        return this.#bin(this.#uint(1));
      case 0xc5:
        return this.#bin(this.#uint(2));
      case 0xc6:
        return this.#bin(this.#uint(4));
      case 0xca:
        this.#need(4);
        this.#at += 4;
        return this.#view.getFloat32(this.#at - 4);
      case 0xcb:
        this.#need(8);
        this.#at += 8;
        return this.#view.getFloat64(this.#at - 8);
      case 0xcc:
        return this.#uint(1);
      case 0xcd:
        return this.#uint(2);
      case 0xce:
        return this.#uint(4);
      case 0xcf: {
        this.#need(8);
        const at = this.#at;
        this.#at = at + 8;
        const high = this.#view.getUint32(at);
        return high < 0x200000 ? high * TWO_32 + this.#view.getUint32(at + 4) : this.#view.getBigUint64(at);
      }
      case 0xd0:
        this.#need(1);
        return this.#view.getInt8(this.#at++);
      case 0xd1:
        this.#need(2);
        this.#at += 2;
        return this.#view.getInt16(this.#at - 2);
      case 0xd2:
        this.#need(4);
        this.#at += 4;
        return this.#view.getInt32(this.#at - 4);
      case 0xd3: {
        this.#need(8);
        this.#at += 8;
        const value = this.#view.getBigInt64(this.#at - 8);
        return value >= -9007199254740991n && value <= 9007199254740991n ? Number(value) : value;
      }
      case 0xd9:
        return this.#text(this.#uint(1));
      case 0xda:
        return this.#text(this.#uint(2));
      case 0xdb:
        return this.#text(this.#uint(4));
      case 0xdc:
        return this.#array(this.#uint(2), depth);
      case 0xdd:
        return this.#array(this.#uint(4), depth);
      case 0xde:
        return this.#map(this.#uint(2), depth);
      case 0xdf:
        return this.#map(this.#uint(4), depth);
      default:
        throw malformed(`byte 0x${head.toString(16)} begins nothing that the protocol uses`);
    }
  }

  #uint(size: 1 | 2 | 4): number {
    this.#need(size);
    const at = this.#at;
    this.#at = at + size;
    return size === 1 ? this.#bytes[at]! : size === 2 ? this.#view.getUint16(at) : this.#view.getUint32(at);
  }

  #text(size: number): string {
    this.#need(size);
    const start = this.#at;
    this.#at = start + size;
    return readUtf8(this.#bytes, start, start + size);
  }

  #bin(size: number): Uint8Array {
    this.#need(size);
    const start = this.#at;
    this.#at = start + size;
    return this.#bytes.subarray(start, start + size);
  }

  #array(size: number, depth: number): WireValue[] {
    this.#deeper(depth);
    const items: WireValue[] = [];
    for (let left = this.#fits(size); left > 0; left--) items.push(this.#item(depth - 1));
    return items;
  }

  #map(size: number, depth: number): { [key: string]: WireValue } {
    this.#deeper(depth);
    // Without a prototype, so that no key of a stranger's means anything.
    const map: { [key: string]: WireValue } = Object.create(null);
    for (let left = this.#fits(size * 2) / 2; left > 0; left--) {
      const key = this.#item(0);
      if (typeof key !== "string") throw malformed("a map's key is not text");
      map[key] = this.#item(depth - 1);
    }
    return map;
  }

  /** Refuses to nest without end, which would exhaust the stack. */
  #deeper(depth: number): void {
    if (depth <= 0) throw malformed("it is nested too deep, or nested where a plain value belongs");
  }

  /** Refuses a size that the rest of the message cannot hold, before anything is made of that size. */
  #fits(size: number): number {
    const left = this.#bytes.length - this.#at;
    if (size > left) throw malformed(`${size} items cannot be in the ${left} bytes that are left`);
    return size;
  }

  #need(size: number): void {
    if (size > this.#bytes.length - this.#at) throw malformed("it ends in the middle of a value");
  }
}
