import { UsageError } from "../usage.ts";

const NUMBER = "-?\\d+(?:\\.\\d+)?";
const RANGE = new RegExp(`^(@?)(?:(~|${NUMBER}):)?(${NUMBER})?$`);

/**
 * A range of the Monitoring Plugins guidelines, `[@][start:][end]`. A value outside the range alerts; with `@`, a value
 * inside alerts. The default start is 0, `~` is minus infinity, and without an end there is no upper limit.
 */
export class Range {
  readonly text: string;
  readonly #inverted: boolean;
  readonly #start: number;
  readonly #end: number;

  /** @throws UsageError */
  constructor(text: string) {
    const [, at, start, end] = RANGE.exec(text) ?? [];
    this.text = text;
    this.#inverted = at === "@";
    this.#start = start === "~" ? Number.NEGATIVE_INFINITY : Number(start ?? 0);
    this.#end = end === undefined ? Number.POSITIVE_INFINITY : Number(end);
    if (at === undefined || (start === undefined && end === undefined) || this.#start > this.#end) {
      throw new UsageError(`a threshold is a range such as 90, 10:, 10:20 or @10:20, not ${JSON.stringify(text)}`);
    }
  }

  /** True if a value alerts. */
  alerts(value: number): boolean {
    const inside = value >= this.#start && value <= this.#end;
    return inside === this.#inverted;
  }
}
