import type { Dice } from "../lab/dice.ts";

/** Packs any value as msgpack, with heads of any size that fits, as senders in other languages have them. */
export function packLoosely(value: unknown, dice: Dice): Uint8Array {
  const parts: Uint8Array[] = [];
  write(value, dice, parts);
  return new Uint8Array(Buffer.concat(parts));
}

function write(value: unknown, dice: Dice, parts: Uint8Array[]): void {
  if (typeof value === "number") parts.push(numberOf(value, dice));
  else if (typeof value === "bigint") parts.push(bigOf(value));
  else if (typeof value === "boolean") parts.push(Uint8Array.of(value ? 0xc3 : 0xc2));
  else if (typeof value === "string") {
    const bytes = Buffer.from(value);
    parts.push(sized(bytes.length, dice, [0xa0, 32], [0xd9, 0xda, 0xdb]), bytes);
  } else if (value instanceof Uint8Array) {
    parts.push(sized(value.length, dice, undefined, [0xc4, 0xc5, 0xc6]), value);
  } else if (Array.isArray(value)) {
    parts.push(sized(value.length, dice, [0x90, 16], [undefined, 0xdc, 0xdd]));
    for (const item of value) write(item, dice, parts);
  } else if (typeof value === "object" && value !== null) {
    const keys = Object.keys(value);
    parts.push(sized(keys.length, dice, [0x80, 16], [undefined, 0xde, 0xdf]));
    for (const key of keys) {
      write(key, dice, parts);
      write((value as Record<string, unknown>)[key], dice, parts);
    }
  } else parts.push(Uint8Array.of(0xc0));
}

function numberOf(value: number, dice: Dice): Uint8Array {
  if (!Number.isSafeInteger(value) || dice.below(8) === 0) {
    const float = Buffer.alloc(9);
    float[0] = 0xcb;
    float.writeDoubleBE(value, 1);
    return float;
  }
  if (dice.below(2) === 0 && value >= -32 && value < 128) return Uint8Array.of(value & 0xff);
  return bigOf(BigInt(value));
}

function bigOf(value: bigint): Uint8Array {
  const bytes = Buffer.alloc(9);
  bytes[0] = value < 0n ? 0xd3 : 0xcf;
  bytes.writeBigUInt64BE(BigInt.asUintN(64, value), 1);
  return bytes;
}

/** The head of a value of some size. @param short the head of small sizes, and how many there are */
function sized(
  size: number,
  dice: Dice,
  short: readonly [head: number, sizes: number] | undefined,
  heads: readonly (number | undefined)[],
): Uint8Array {
  if (short !== undefined && size < short[1] && dice.below(4) > 0) return Uint8Array.of(short[0] | size);
  const fits = heads.flatMap((head, power) => (head !== undefined && size < 2 ** (8 << power) ? [[head, power]] : []));
  const [head, power] = fits[dice.below(4) > 0 ? 0 : dice.below(fits.length)]! as [number, number];
  const bytes = Buffer.alloc(1 + (1 << power));
  bytes[0] = head;
  bytes.writeUIntBE(size, 1, 1 << power);
  return bytes;
}
