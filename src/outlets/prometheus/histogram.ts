/** The upper bounds of the buckets, in seconds. */
const BOUNDS = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10] as const;

/** For each bound, counts the values up to this bound, since the histogram was made. */
export class Histogram {
  /** The counts by bound. Each count includes the counts of the smaller bounds. */
  readonly buckets: Map<number, number> = new Map(BOUNDS.map((bound) => [bound, 0]));
  count = 0;
  sum = 0;

  observe(value: number): void {
    this.count++;
    this.sum += value;
    for (const bound of BOUNDS) if (value <= bound) this.buckets.set(bound, this.buckets.get(bound)! + 1);
  }
}
