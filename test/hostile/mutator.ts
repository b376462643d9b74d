import type { Dice } from "../lab/dice.ts";

/** Sizes, counts and integers at which decoders err. */
const WORDS = [
  0,
  1,
  4,
  28,
  255,
  65_535,
  16_384,
  16_385,
  262_145,
  4_194_305,
  33_554_436,
  0x7fffffff,
  2 ** 31,
  2 ** 32 - 1,
];
/** The first bytes of msgpack's longest values, extensions and bounds of types; some are also JSON's brackets. */
const HEADS = [
  0x00, 0x7b, 0x7f, 0x80, 0x8f, 0x9f, 0xbf, 0xc0, 0xc1, 0xc6, 0xc9, 0xca, 0xcb, 0xcf, 0xd3, 0xd8, 0xdb, 0xdd, 0xdf,
  0xff,
];

const KEYS = ["__proto__", "constructor", "length", "toString", "0", "", "channel", "id"];

/** Values of every type that JSON and msgpack have, among them those at which decoders err. */
const VALUES: readonly (() => unknown)[] = [
  ...[
    null,
    true,
    false,
    0,
    -1,
    1,
    7,
    0.5,
    -0.5,
    127,
    255,
    65_536,
    2 ** 31,
    -(2 ** 31),
    2 ** 32,
    2 ** 53 - 1,
    2 ** 53,
  ].map((value) => () => value),
  ...[-(2 ** 53), 1e308, -1e308, 5e-324, Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY].map(
    (value) => () => value,
  ),
  ...[2n ** 53n, 2n ** 63n, 2n ** 64n - 1n, -(2n ** 63n)].map((value) => () => value),
  ...["", "x", "0", "\u0000", "\u202e", "🐏", "NaN", "00000000-0000-4000-8000-000000000001", ...KEYS].map(
    (value) => () => value,
  ),
  () => "x".repeat(5_000),
  () => [],
  () => [[]],
  () => new Array(300).fill(0),
  () => [1, 2, 3, 4, 5, 6, 7, 8, 9, 10],
  () => ({}),
  () => ({ type: "beat" }),
  () => JSON.parse(`${"[".repeat(12)}${"]".repeat(12)}`),
  ...[0, 1, 2, 16, 1_000].map((size) => () => new Uint8Array(size).fill(0xff)),
  () => new Uint8Array(16),
];

type Slots = { holder: Record<PropertyKey, unknown>; key: PropertyKey }[];

/** Damages valid messages at random: in their bytes, or in the values that they stand for. Everything follows from the dice. */
export class Mutator {
  readonly dice: Dice;

  constructor(dice: Dice) {
    this.dice = dice;
  }

  /** A copy with one to three kinds of damage to its bytes. @param other a message of which parts may be taken */
  bytes(message: Uint8Array, other: Uint8Array): Uint8Array {
    let bytes: Uint8Array = new Uint8Array(message);
    for (let left = this.#times(); left > 0; left--) bytes = this.#damaged(bytes, other);
    return bytes;
  }

  /** Damages one to three parts of a value, in place. @param other a value of which parts may be taken */
  value(value: unknown, other: unknown): unknown {
    const root = { value };
    for (let left = this.#times(); left > 0; left--) this.#changeOne(root, other);
    return root.value;
  }

  #times(): number {
    return 1 + Math.floor(3 * this.dice.next() ** 3);
  }

  #of<T>(items: readonly T[]): T {
    return items[this.dice.below(items.length)]!;
  }

  #damaged(bytes: Uint8Array, other: Uint8Array): Uint8Array {
    const { dice } = this;
    const at = dice.below(bytes.length + 1);
    const some = Math.min(bytes.length - at, 1 + dice.below(dice.below(4) === 0 ? 64 : 8));
    const rest = bytes.subarray(at + some);
    switch (dice.below(9)) {
      case 0:
        if (at < bytes.length) bytes[at]! ^= 1 << dice.below(8);
        return bytes;
      case 1:
        if (at < bytes.length) bytes[at] = dice.below(2) === 0 ? this.#of(HEADS) : dice.below(256);
        return bytes;
      case 2:
        return joined(
          bytes.subarray(0, at),
          Uint8Array.from({ length: 1 + dice.below(8) }, () => dice.below(256)),
          bytes.subarray(at),
        );
      case 3:
        return joined(bytes.subarray(0, at), rest);
      case 4:
        return bytes.slice(0, at);
      case 5:
        return joined(bytes.subarray(0, at), bytes.subarray(at, at + some), bytes.subarray(at));
      case 6: {
        // A length, where one may be: XDR's are aligned, msgpack's follow their heads.
        const word = at - (dice.below(4) > 0 ? at % 4 : 0);
        if (word + 4 > bytes.length) return bytes;
        const view = new DataView(bytes.buffer, bytes.byteOffset);
        view.setUint32(word, dice.below(3) === 0 ? view.getUint32(word) + dice.below(9) - 4 : this.#of(WORDS));
        return bytes;
      }
      case 7:
        return joined(bytes.subarray(0, at), other.subarray(dice.below(other.length + 1)));
      default: {
        const from = dice.below(other.length + 1);
        return joined(bytes.subarray(0, at), other.subarray(from, from + some), rest);
      }
    }
  }

  #changeOne(root: Record<PropertyKey, unknown>, other: unknown): void {
    const { dice } = this;
    const { holder, key } = this.#of(slotsOf(root));
    const before = holder[key];
    switch (dice.below(6)) {
      case 0:
        put(holder, key, this.#of(VALUES)());
        return;
      case 1: {
        const taken = this.#of(slotsOf({ value: other }));
        put(holder, key, taken.holder[taken.key]);
        return;
      }
      case 2:
        if (holder === root) return;
        if (Array.isArray(holder)) holder.splice(Number(key), 1);
        else delete holder[key];
        return;
      case 3:
        if (Array.isArray(holder)) holder.splice(Number(key), 0, before);
        else put(holder, this.#of(KEYS), before);
        return;
      default:
        put(holder, key, this.#near(before));
    }
  }

  /** A value of the same type, nearby. */
  #near(value: unknown): unknown {
    const { dice } = this;
    if (typeof value === "number") {
      const near = [
        value + 1,
        value - 1,
        -value,
        value * 2 ** dice.below(60),
        value + 0.5,
        Math.floor(value / 2),
        value + 2 ** dice.below(53),
      ];
      return this.#of(near);
    }
    if (typeof value === "bigint") return this.#of([value + 1n, -value, value >> 1n, BigInt.asUintN(64, value * 3n)]);
    if (typeof value === "string") {
      return this.#of([value.slice(1), value + value, `${value}\u0000`, value.toUpperCase(), "x".repeat(value.length)]);
    }
    if (value instanceof Uint8Array) return this.#damaged(new Uint8Array(value), value);
    if (typeof value === "boolean") return !value;
    return this.#of(VALUES)();
  }
}

/** Every place of a value that holds another one. */
function slotsOf(root: object): Slots {
  const slots: Slots = [];
  const visit = (holder: Record<PropertyKey, unknown>): void => {
    for (const key of Object.keys(holder)) {
      slots.push({ holder, key });
      const value = holder[key];
      if (typeof value === "object" && value !== null && !(value instanceof Uint8Array)) visit(value as typeof holder);
    }
  };
  visit(root as Record<PropertyKey, unknown>);
  return slots;
}

/** Sets a member, also one named `__proto__`. What is put into itself is copied first, so that there are no circles. */
function put(holder: Record<PropertyKey, unknown>, key: PropertyKey, value: unknown): void {
  const copy = typeof value === "object" && value !== null ? structuredClone(value) : value;
  Object.defineProperty(holder, key, { value: copy, writable: true, enumerable: true, configurable: true });
}

function joined(...parts: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts));
}
