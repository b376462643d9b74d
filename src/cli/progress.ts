import type { DomainStatsRecord, RecordStatus } from "../model/record.ts";

/** What a terminal is to progress. */
export interface ProgressOutput {
  write(text: string): unknown;
}

const ERASE_LINE = "\r\u001b[K";
/** The line is rewritten at most so often, in ms. */
const REDRAW_MS = 100;

/**
 * One line at the bottom of a terminal, e.g. `17 of 41 domains, 2 partial`. Records are printed above it: `hide` before,
 * `show` after. Pure but for the output: the clock is handed in.
 */
export class Progress {
  readonly #output: ProgressOutput;
  readonly #now: () => number;
  readonly #counts: Record<RecordStatus, number> = { ok: 0, partial: 0, failed: 0, gone: 0 };
  #expected: number | undefined;
  #seen = 0;
  #visible = false;
  #shownAt = Number.NEGATIVE_INFINITY;

  /** @param now a clock in ms */
  constructor(output: ProgressOutput, now: () => number) {
    this.#output = output;
    this.#now = now;
  }

  expect(domains: number): void {
    this.#expected = domains;
  }

  add(record: DomainStatsRecord): void {
    this.#seen++;
    this.#counts[record.status]++;
  }

  /** Whether some domain's statistics were not to be had, or not all of them. */
  get incomplete(): boolean {
    return this.#counts.ok < this.#seen;
  }

  /** Counts in words. */
  get text(): string {
    const of = this.#expected === undefined ? "" : ` of ${this.#expected}`;
    const rest = (["partial", "failed", "gone"] as const)
      .filter((status) => this.#counts[status] > 0)
      .map((status) => `, ${this.#counts[status]} ${status}`);
    return `${this.#seen}${of} domain${(this.#expected ?? this.#seen) === 1 ? "" : "s"}${rest.join("")}`;
  }

  show(): void {
    if (this.#now() - this.#shownAt < REDRAW_MS) return;
    this.#shownAt = this.#now();
    this.#output.write(`${ERASE_LINE}${this.text}`);
    this.#visible = true;
  }

  hide(): void {
    if (!this.#visible) return;
    this.#output.write(ERASE_LINE);
    this.#visible = false;
    this.#shownAt = Number.NEGATIVE_INFINITY;
  }
}
