/** Wall time minus steady time, in whole ms. */
let difference = Number.NaN;

/**
 * Converts a recent wall time to this process's steady clock, in whole ms. Each call reads both clocks. It keeps the old
 * difference between them while the new one differs only by rounding; so two samples are the same time apart on both clocks,
 * unless somebody set the wall clock between them.
 *
 * @param wall in ms since 1970
 */
export function steadyTimeOf(wall: number): number {
  const now = Date.now() - Math.round(performance.now());
  if (!(Math.abs(now - difference) <= 1)) difference = now;
  return Math.round(wall) - difference;
}
