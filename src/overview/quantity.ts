/**
 * Quantities for people. The narrow forms are for columns of a table: they have six characters at most, and no space.
 */

/** The text for an unknown value, which is never shown as zero. */
export const UNKNOWN = "-";

/** The text that `words` makes of a value; UNKNOWN if the value is undefined. */
export function known<Value>(value: Value | undefined, words: (value: Value) => string): string {
  return value === undefined ? UNKNOWN : words(value);
}

/** Writes a time in ns as seconds, hours or days: `12.5s`, `4210s`, `12.5h`, `120d`. */
export function narrowSeconds(nanoseconds: number): string {
  const value = nanoseconds / 1e9;
  if (value < 99.95) return `${value.toFixed(1)}s`;
  if (value < 9_999.5) return `${Math.round(value)}s`;
  if (value < 359_820) return `${(value / 3_600).toFixed(1)}h`;
  return `${Math.round(value / 86_400)}d`;
}

const BYTE_UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

/** Bytes with their unit, e.g. `1.5 GiB`. */
export function bytes(value: number): string {
  const [amount, step] = scaled(value, 1_000, 1_024, BYTE_UNITS.length - 1);
  return `${step === 0 || amount >= 100 ? Math.round(amount) : amount.toFixed(1)} ${BYTE_UNITS[step]}`;
}

/** Bytes in a narrow form, by powers of 1,024: `512`, `1.5K`, `200M`. */
export function narrowBytes(value: number): string {
  return narrow(value, 1_024, "KMGTPE");
}

/**
 * A number in a narrow form, by powers of 1,000: `0.5`, `12.3`, `450`, `1.5k`. Below 100 it has a decimal, because
 * rates are often small.
 */
export function narrowCount(value: number): string {
  if (value > 0 && value < 99.95) return value.toFixed(1);
  return narrow(value, 1_000, "kMGTPE");
}

/** A percentage without its sign: `0.5`, `99.9`, `800`. */
export function percent(value: number): string {
  return value < 999.95 ? value.toFixed(1) : String(Math.round(value));
}

/** A duration in at most six characters: `0.25ms`, `12ms`, `15s`. */
export function narrowMs(ms: number): string {
  if (ms < 9.995) return `${ms.toFixed(2)}ms`;
  return ms < 9_999.5 ? `${Math.round(ms)}ms` : `${Math.round(ms / 1_000)}s`;
}

/** A duration in at most four characters: `12s`, `3m`, `7h`, `12d`. */
export function span(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1_000));
  if (seconds < 120) return `${seconds}s`;
  if (seconds < 7_200) return `${Math.floor(seconds / 60)}m`;
  if (seconds < 172_800) return `${Math.floor(seconds / 3_600)}h`;
  return `${Math.floor(seconds / 86_400)}d`;
}

function narrow(value: number, base: number, units: string): string {
  const [amount, step] = scaled(value, 999.5, base, units.length);
  if (step === 0) return String(Math.round(amount));
  return `${amount < 99.95 ? amount.toFixed(1) : Math.round(amount)}${units[step - 1]}`;
}

/**
 * Divides an amount by the base until it is below the limit, or `most` times. Returns the result, and the number of
 * divisions.
 */
function scaled(amount: number, limit: number, base: number, most: number): [amount: number, steps: number] {
  let steps = 0;
  for (; amount >= limit && steps < most; steps++) amount /= base;
  return [amount, steps];
}

/** A duration in words: `9.5 s`, `12 s`, `34 min`, `5 h`. */
export function lasting(ms: number): string {
  const seconds = Math.round(ms / 1_000);
  if (seconds < 120) return `${ms < 9_950 ? (ms / 1_000).toFixed(1) : seconds} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 120 ? `${minutes} min` : `${Math.round(minutes / 60)} h`;
}
