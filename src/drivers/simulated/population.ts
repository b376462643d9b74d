import { STATE_NUMBERS } from "../../model/field/state-numbers.ts";
import { type DomainSelector, LIST_FILTERS } from "../../model/query.ts";
import { formatUuid } from "../../model/uuid.ts";
import type { SimulatedOptions } from "./parameters.ts";

/**
 * Multiplying by FACTOR spreads indexes over 32 bits. Because FACTOR is odd, it has an inverse modulo 2^32, and
 * multiplying by INVERSE undoes this.
 */
const FACTOR = 0x9e3779b1;
const INVERSE = 0x0e8b2f51;

/**
 * The names and uuids of a host's guests. Both are computed from a guest's index, and the index from either of them, so
 * there is no table.
 */
export class Identities {
  readonly #domains: number;
  readonly #key: number;
  readonly #bytes = new Uint8Array(16);
  readonly #words = new DataView(this.#bytes.buffer);

  /**
   * @param domains the number of guests: indexes run from 0 to `domains` - 1
   * @param key hosts with different keys share no uuid
   */
  constructor(domains: number, key: number) {
    this.#domains = domains;
    this.#key = key;
  }

  /**
   * The uuid of a guest, of version 4. Its first 32 bits are the scrambled index; the other bits are computed from
   * them.
   */
  uuid(index: number): string {
    const word = Math.imul(index, FACTOR) ^ this.#key;
    this.#words.setUint32(0, word);
    for (let i = 1; i < 4; i++) this.#words.setUint32(4 * i, mix(word ^ Math.imul(this.#key, FACTOR), i));
    this.#bytes[6] = 0x40 | (this.#bytes[6]! & 0x0f);
    this.#bytes[8] = 0x80 | (this.#bytes[8]! & 0x3f);
    return formatUuid(this.#bytes, 0);
  }

  /** The name of a guest, e.g. `guest-00042`. */
  name(index: number): string {
    if (index >= 100_000) return `guest-${decimal(index)}`;
    return `guest-${TWO_DIGITS[Math.floor(index / 1000)]! + THREE_DIGITS[index % 1000]!}`;
  }

  /** The index of the guest with this name or uuid (lower case, with dashes), or −1. */
  find(selector: DomainSelector): number {
    if ("uuid" in selector) {
      const index = Math.imul(Number.parseInt(selector.uuid.slice(0, 8), 16) ^ this.#key, INVERSE) >>> 0;
      return index < this.#domains && this.uuid(index) === selector.uuid ? index : -1;
    }
    const index = Number(selector.name.slice("guest-".length));
    return Number.isInteger(index) && index >= 0 && index < this.#domains && this.name(index) === selector.name
      ? index
      : -1;
  }
}

const { active, inactive, persistent, transient, running, paused, shutoff } = LIST_FILTERS;

/**
 * The traits of every guest, as the filter bits that apply to the guest: one byte for each guest. The numbers of guests
 * that are shut off, paused and transient are exactly those of the options; the seed decides which guests these are.
 */
export function populate(options: SimulatedOptions): Uint8Array {
  const { domains, seed } = options;
  const traits = new Uint8Array(domains).fill(active | running | persistent);
  let off = options.shutoff;
  let resting = options.paused;
  let passing = options.transient;
  if (off + resting + passing === 0) return traits;
  // Selection sampling: takes each guest with the probability (number still wanted) / (number of guests left).
  let alive = domains - off;
  for (let index = 0; index < domains; index++) {
    const draw = (mix(seed, 2 * index) >>> 0) % (domains - index);
    if (draw < off) {
      traits[index] = inactive | shutoff | persistent;
      off--;
      continue;
    }
    const rests = draw < off + resting;
    const passes = (mix(seed, 2 * index + 1) >>> 0) % alive < passing;
    traits[index] = active | (rests ? paused : running) | (passes ? transient : persistent);
    if (rests) resting--;
    if (passes) passing--;
    alive--;
  }
  return traits;
}

/** libvirt's number of the state that these traits mean. */
export function stateOf(traits: number): number {
  if ((traits & running) !== 0) return STATE_NUMBERS.running;
  return (traits & paused) !== 0 ? STATE_NUMBERS.paused : STATE_NUMBERS.shutoff;
}

/** Mixes 32 bits: each bit of the result depends on each bit of the input. */
export function scramble(bits: number): number {
  let x = bits | 0;
  x = Math.imul(x ^ (x >>> 16), 0x7feb352d);
  x = Math.imul(x ^ (x >>> 15), 0x846ca68b);
  return x ^ (x >>> 16);
}

/** Computes the `k`-th group of 32 pseudo-random bits for a key. */
export function mix(key: number, k: number): number {
  return scramble(key ^ Math.imul(k + 1, 0x9e3779b1));
}

/** Computes 32 bits from a text. */
export function textKey(text: string): number {
  let key = 0;
  for (let i = 0; i < text.length; i++) key = scramble(key ^ text.charCodeAt(i));
  return key;
}

const NUMBERS = Array.from({ length: 1000 }, (_, i) => String(i));
const TWO_DIGITS = NUMBERS.map((digits) => digits.padStart(2, "0"));
const THREE_DIGITS = NUMBERS.map((digits) => digits.padStart(3, "0"));

/**
 * The decimal text of a whole number below 10^9. This function is several times faster than String(), and every record
 * needs a few such texts.
 */
export function decimal(value: number): string {
  if (value < 1000) return NUMBERS[value]!;
  const thousands = Math.floor(value / 1000);
  return decimal(thousands) + THREE_DIGITS[value - thousands * 1000]!;
}
