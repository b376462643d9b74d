import { ParamType, type ParamTypeName, type ParamValue } from "../../model/params.ts";
import type { Fault } from "./fault.ts";
import type { Key } from "./shape.ts";

/**
 * What faults add to the end of a record: with `extremes` every type at its limits, under keys that no field table
 * knows, as a newer libvirt would send; with `huge` a latency histogram with as many bins as it takes. Both come with the block group.
 */
const EXTREMES: readonly (readonly [name: string, type: ParamTypeName, value: ParamValue])[] = [
  ["int.min", "int", -2_147_483_648],
  ["int.max", "int", 2_147_483_647],
  ["uint.min", "uint", 0],
  ["uint.max", "uint", 4_294_967_295],
  ["llong.min", "llong", -(2n ** 63n)],
  ["llong.max", "llong", 2n ** 63n - 1n],
  ["llong.minus-one", "llong", -1n],
  ["llong.below-exact", "llong", -(2n ** 53n)],
  ["llong.lowest-exact", "llong", -(2n ** 53n) + 1n],
  ["ullong.zero", "ullong", 0n],
  ["ullong.highest-exact", "ullong", 2n ** 53n - 1n],
  ["ullong.above-exact", "ullong", 2n ** 53n],
  ["ullong.odd-above-exact", "ullong", 2n ** 53n + 1n],
  ["ullong.max", "ullong", 2n ** 64n - 1n],
  ["double.max", "double", Number.MAX_VALUE],
  ["double.lowest", "double", -Number.MAX_VALUE],
  ["double.smallest", "double", Number.MIN_VALUE],
  ["double.tenth", "double", 0.1],
  ["double.whole", "double", 3],
  ["double.above-exact", "double", 2 ** 63],
  ["boolean.true", "boolean", true],
  ["boolean.false", "boolean", false],
  ["string.empty", "string", ""],
  ["string.quoted", "string", 'a "quoted\\path"\n\tand a line'],
  ["string.wide", "string", "gäst-客-🖥️"],
  ["string.long", "string", "x".repeat(4_096)],
];

/** What a guest with this fault has beyond its own parameters; undefined when that is nothing. */
export class Extension {
  /** Tells this extension's schema from others. */
  readonly name: string;
  /** How many parameters it adds. */
  readonly size: number;
  readonly #extremes: boolean;
  readonly #bins: number;
  readonly #padded: boolean;

  /** @param own how many parameters the guest has without it */
  static of(fault: Fault, own: number): Extension | undefined {
    const usual = own + (fault.extremes ? EXTREMES.length : 0);
    const extension = new Extension(fault.extremes, Math.max(0, fault.parameters - usual));
    return extension.size === 0 ? undefined : extension;
  }

  private constructor(extremes: boolean, histogram: number) {
    this.name = `${extremes} ${histogram}`;
    this.size = (extremes ? EXTREMES.length : 0) + histogram;
    this.#extremes = extremes;
    // A histogram is its count and two parameters for each bin; an even number needs a second, empty one beside it.
    this.#padded = histogram > 0 && histogram % 2 === 0;
    this.#bins = histogram === 0 ? -1 : Math.floor((histogram - 1) / 2);
  }

  keys(): Key[] {
    const keys: Key[] = [];
    if (this.#extremes) keys.push(...EXTREMES.map(([name, type]): Key => [`extreme.${name}`, ParamType[type]]));
    if (this.#bins < 0) return keys;
    keys.push(["block.0.latency_histogram.read.bin.count", ParamType.ullong]);
    for (let bin = 0; bin < this.#bins; bin++) {
      keys.push([`block.0.latency_histogram.read.bin.${bin}.start`, ParamType.ullong]);
      keys.push([`block.0.latency_histogram.read.bin.${bin}.value`, ParamType.ullong]);
    }
    if (this.#padded) keys.push(["block.0.latency_histogram.write.bin.count", ParamType.ullong]);
    return keys;
  }

  /** The values of its parameters. */
  values(upSeconds: number): ParamValue[] {
    const values = this.#extremes ? EXTREMES.map(([, , value]) => value) : [];
    if (this.#bins < 0) return values;
    values.push(this.#bins);
    for (let bin = 0; bin < this.#bins; bin++) {
      values.push(bin * 1_000, Math.floor(upSeconds / (1 + (bin % 100))));
    }
    if (this.#padded) values.push(0);
    return values;
  }
}
