/** Wall time minus steady time, in whole ms. */
let difference = Number.NaN;

/**
 * A wall time of just now on the steady clock of this process, in whole ms. Both clocks are read again each time; the
 * difference between them is kept while it moves by rounding only, so that two samples have the same distance on both clocks
 * unless somebody set the wall clock between them.
 *
 * @param wall in ms since 1970
 */
export function steadyTimeOf(wall: number): number {
  const now = Date.now() - Math.round(performance.now());
  if (!(Math.abs(now - difference) <= 1)) difference = now;
  return Math.round(wall) - difference;
}
