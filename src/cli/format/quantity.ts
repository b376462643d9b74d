/**
 * Quantities as people read them. Tables of totals have the wide forms; tables of rates have the narrow ones, of six
 * characters at most, as top has.
 */

/** A time in ns, in seconds, hours or days, e.g. `12.50 s`. */
export function seconds(nanoseconds: number): string {
  const value = nanoseconds / 1e9;
  if (value < 100) return `${value.toFixed(2)} s`;
  if (value < 36_000) return `${Math.round(value)} s`;
  if (value < 360_000) return `${(value / 3_600).toFixed(1)} h`;
  return `${(value / 86_400).toFixed(1)} d`;
}

const BYTE_UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

/** Bytes with their unit, e.g. `1.5 GiB`. */
export function bytes(value: number): string {
  const [amount, step] = scaled(value, 1_000, 1_024, BYTE_UNITS.length - 1);
  return `${step === 0 || amount >= 100 ? Math.round(amount) : amount.toFixed(1)} ${BYTE_UNITS[step]}`;
}

/** KiB with a larger unit. */
export function kibibytes(value: number): string {
  return bytes(value * 1_024);
}

/** Bytes in a narrow form, by powers of 1,024: `512`, `1.5K`, `200M`. */
export function narrowBytes(value: number): string {
  return narrow(value, 1_024, "KMGTPE");
}

/**
 * A number in a narrow form, by powers of 1,000: `0.5`, `12.3`, `450`, `1.5k`. Below 100 it has a decimal: rates are
 * often small.
 */
export function narrowCount(value: number): string {
  if (value > 0 && value < 99.95) return value.toFixed(1);
  return narrow(value, 1_000, "kMGTPE");
}

/** A percentage without its sign: `0.5`, `99.9`, `800`. */
export function percent(value: number): string {
  return value < 999.95 ? value.toFixed(1) : String(Math.round(value));
}

/** A time in ms: `0.25 ms`, `12.5 ms`, `1.5 s`. */
export function milliseconds(value: number): string {
  if (value < 9.995) return `${value.toFixed(2)} ms`;
  if (value < 99.95) return `${value.toFixed(1)} ms`;
  if (value < 999.5) return `${Math.round(value)} ms`;
  return `${(value / 1_000).toFixed(1)} s`;
}

function narrow(value: number, base: number, units: string): string {
  const [amount, step] = scaled(value, 999.5, base, units.length);
  if (step === 0) return String(Math.round(amount));
  return `${amount < 99.95 ? amount.toFixed(1) : Math.round(amount)}${units[step - 1]}`;
}

/** An amount divided by the base until it is below the limit, and how often. */
function scaled(amount: number, limit: number, base: number, most: number): [amount: number, steps: number] {
  let steps = 0;
  for (; amount >= limit && steps < most; steps++) amount /= base;
  return [amount, steps];
}
