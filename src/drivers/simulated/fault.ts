import { ParamType, type ParamTypeCode } from "../../model/schema.ts";
import type { Row } from "./row.ts";

/** The faults that a guest can have, with the values of a guest without a fault. */
export const NO_FAULT = {
  /** The guest's monitor answers after this many ms; 0: at once, Infinity: never. */
  slowMs: 0,
  /** True if the guest's statistics call fails. */
  failing: false,
  /** True if the guest is still listed, but will not exist any more at the next call for it. */
  vanishing: false,
  /** The guest does not exist before this time, in ms since 1970. */
  appearsAt: Number.NEGATIVE_INFINITY,
  /** The guest's counters restart at every multiple of this many ms since 1970; 0: never. */
  resetMs: 0,
  /** Each of the guest's records with the block group has at least this many parameters. */
  parameters: 0,
  /** True if each of the guest's records with the block group has values at the limits of every type. */
  extremes: false,
};

/** The faults of one guest. */
export type Fault = Readonly<typeof NO_FAULT>;

interface FaultParameter {
  /** The number that may follow a guest's index and a colon, as in `slow=3:500`; undefined if the fault has none. */
  readonly amount?: { readonly unit: string; readonly usual: number; readonly most: number };
  change(amount: number, now: number): Partial<Fault>;
}

/** The faults that a URI can ask for, by parameter. A guest with both `slow` and `freeze` is frozen. */
export const FAULT_PARAMETERS: Readonly<Record<string, FaultParameter>> = {
  slow: { amount: { unit: "ms", usual: 500, most: 600_000 }, change: (slowMs) => ({ slowMs }) },
  freeze: { change: () => ({ slowMs: Number.POSITIVE_INFINITY }) },
  vanish: { change: () => ({ vanishing: true }) },
  error: { change: () => ({ failing: true }) },
  appear: {
    amount: { unit: "ms", usual: 5_000, most: 86_400_000 },
    change: (delayMs, now) => ({ appearsAt: now + delayMs }),
  },
  reset: { amount: { unit: "ms", usual: 60_000, most: 86_400_000 }, change: (resetMs) => ({ resetMs }) },
  // libvirt's protocol allows 262,144 parameters for one domain.
  huge: { amount: { unit: "parameters", usual: 200_000, most: 262_144 }, change: (parameters) => ({ parameters }) },
  extremes: { change: () => ({ extremes: true }) },
};

const { int, uint, llong, ullong, double, boolean, string } = ParamType;

/** Values at the limits of their types, under keys that no field table knows, as a newer libvirt would send them. */
const EXTREMES: readonly (readonly [name: string, value: number | bigint | string, type: ParamTypeCode])[] = [
  ["int.min", -2_147_483_648, int],
  ["int.max", 2_147_483_647, int],
  ["uint.min", 0, uint],
  ["uint.max", 4_294_967_295, uint],
  ["llong.min", -(2n ** 63n), llong],
  ["llong.max", 2n ** 63n - 1n, llong],
  ["llong.minus-one", -1, llong],
  ["llong.below-exact", -(2n ** 53n), llong],
  ["llong.lowest-exact", Number.MIN_SAFE_INTEGER, llong],
  ["ullong.zero", 0, ullong],
  ["ullong.highest-exact", Number.MAX_SAFE_INTEGER, ullong],
  ["ullong.above-exact", 2n ** 53n, ullong],
  ["ullong.odd-above-exact", 2n ** 53n + 1n, ullong],
  ["ullong.max", 2n ** 64n - 1n, ullong],
  ["double.max", Number.MAX_VALUE, double],
  ["double.lowest", -Number.MAX_VALUE, double],
  ["double.smallest", Number.MIN_VALUE, double],
  ["double.tenth", 0.1, double],
  ["double.whole", 3, double],
  ["double.above-exact", 2 ** 63, double],
  ["boolean.true", 1, boolean],
  ["boolean.false", 0, boolean],
  ["string.empty", "", string],
  ["string.quoted", 'a "quoted\\path"\n\tand a line', string],
  ["string.wide", "gäst-客-🖥️", string],
  ["string.long", "x".repeat(4_096), string],
];

/** Writes the parameters that the faults `extremes` and `huge` add to the end of a record. */
export function writeExtension(row: Row, { extremes, parameters }: Fault, upSeconds: number): void {
  if (extremes) {
    row.of("extreme");
    for (const [name, value, type] of EXTREMES) {
      if (typeof value === "bigint") row.big(name, value, type);
      else if (typeof value === "string") row.text(name, value);
      else row.number(name, value, type);
    }
  }
  const missing = parameters - row.size;
  if (missing <= 0) return;
  // A latency histogram has a count, and two parameters for each bin, so the number of its parameters is odd. If
  // an even number of parameters is missing, a second histogram is added, which has a count and no bins.
  const bins = Math.floor((missing - 1) / 2);
  row.of("block.0.latency_histogram.read.bin");
  row.number("count", bins);
  for (let bin = 0; bin < bins; bin++) {
    row.number(`${bin}.start`, bin * 1_000);
    row.number(`${bin}.value`, Math.floor(upSeconds / (1 + (bin % 100))));
  }
  row.of("block.0.latency_histogram.write.bin");
  if (missing % 2 === 0) row.number("count", 0);
}
