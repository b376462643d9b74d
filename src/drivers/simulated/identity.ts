/**
 * Who a simulated guest is: its uuid, its name and the words in its paths, all computed from its index and back.
 *
 * A host of ten million guests must find one by its uuid without a table and without a scan. So the uuid's first 32
 * bits are the index itself behind a keyed permutation (a Feistel network: any round function makes it invertible), and
 * the rest is chosen from small seeded tables by the same bits. To look up a uuid, run the permutation backwards and
 * compare the whole.
 */
export class Identities {
  readonly #domains: number;
  readonly #keys: readonly number[];
  readonly #middles: readonly string[];
  readonly #ends: readonly string[];

  /**
   * @param domains how many guests there are: indexes run from 0 to one less
   * @param key decides on the uuids; hosts with different keys share none
   */
  constructor(domains: number, key: number) {
    this.#domains = domains;
    this.#keys = [1, 2, 3, 4].map((round) => mix(key, round));
    this.#middles = Array.from({ length: 256 }, (_, i) => {
      const bits = mix(key, 0x100 + i);
      return `-${hex16(bits >>> 16)}-4${hex16(bits).slice(1)}-`;
    });
    this.#ends = Array.from({ length: 256 }, (_, i) => {
      const high = mix(key, 0x200 + i);
      const low = mix(key, 0x300 + i);
      const variant = "89ab"[high & 3]!;
      return `${variant}${hex16(high >>> 16).slice(1)}-${hex16(high)}${hex16(low >>> 16)}${hex16(low)}`;
    });
  }

  /** The uuid of a guest. */
  uuid(index: number): string {
    const word = this.#permute(index);
    const head = HEX[word >>> 24]! + HEX[(word >>> 16) & 255]! + HEX[(word >>> 8) & 255]! + HEX[word & 255]!;
    return head + this.#middles[(word >>> 8) & 255]! + this.#ends[word & 255]!;
  }

  /** The index of the guest with this uuid (lower case, with dashes), or −1. */
  indexOfUuid(uuid: string): number {
    const word = Number.parseInt(uuid.slice(0, 8), 16);
    if (Number.isNaN(word)) return -1;
    const index = this.#invert(word);
    return index < this.#domains && this.uuid(index) === uuid ? index : -1;
  }

  /** The name of a guest, e.g. `guest-00042`. */
  name(index: number): string {
    const digits =
      index < 100_000 ? TWO_DIGITS[Math.floor(index / 1000)]! + THREE_DIGITS[index % 1000]! : decimal(index);
    return `guest-${digits}`;
  }

  /** The index of the guest with this name, or −1. */
  indexOfName(name: string): number {
    if (!name.startsWith("guest-")) return -1;
    const index = Number(name.slice(6));
    return index < this.#domains && this.name(index) === name ? index : -1;
  }

  #permute(index: number): number {
    let left = index >>> 16;
    let right = index & 0xffff;
    for (let i = 0; i < 4; i++) {
      const next = left ^ (scramble(right ^ this.#keys[i]!) & 0xffff);
      left = right;
      right = next;
    }
    return ((left << 16) | right) >>> 0;
  }

  #invert(word: number): number {
    let left = word >>> 16;
    let right = word & 0xffff;
    for (let i = 3; i >= 0; i--) {
      const previous = right ^ (scramble(left ^ this.#keys[i]!) & 0xffff);
      right = left;
      left = previous;
    }
    return ((left << 16) | right) >>> 0;
  }
}

/** The decimal text of a whole number from 0 to 999,999,999: a few times faster than String(), and used on every record. */
export function decimal(value: number): string {
  if (value < 1000) return NUMBERS[value]!;
  const thousands = Math.floor(value / 1000);
  const rest = THREE_DIGITS[value - thousands * 1000]!;
  if (thousands < 1000) return NUMBERS[thousands]! + rest;
  const millions = Math.floor(thousands / 1000);
  return NUMBERS[millions]! + THREE_DIGITS[thousands - millions * 1000]! + rest;
}

/** 32 bits from 32 bits, each of the result's depending on each of the input's. */
export function scramble(bits: number): number {
  let x = bits | 0;
  x = Math.imul(x ^ (x >>> 16), 0x7feb352d);
  x = Math.imul(x ^ (x >>> 15), 0x846ca68b);
  return x ^ (x >>> 16);
}

/** The `k`-th 32 bits that belong to a key. */
export function mix(key: number, k: number): number {
  return scramble(key ^ Math.imul(k + 1, 0x9e3779b1));
}

/** 32 bits from a text. */
export function textKey(text: string): number {
  let key = 0;
  for (let i = 0; i < text.length; i++) key = scramble(key ^ text.charCodeAt(i));
  return key;
}

const HEX = Array.from({ length: 256 }, (_, i) => i.toString(16).padStart(2, "0"));
const NUMBERS = Array.from({ length: 1000 }, (_, i) => String(i));
const TWO_DIGITS = Array.from({ length: 100 }, (_, i) => String(i).padStart(2, "0"));
const THREE_DIGITS = Array.from({ length: 1000 }, (_, i) => String(i).padStart(3, "0"));

function hex16(bits: number): string {
  return (bits & 0xffff).toString(16).padStart(4, "0");
}
