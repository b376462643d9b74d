import type { DomainStatsRecord, RecordStatus } from "../model/record.ts";
import { notWhole } from "./format/table.ts";

const ERASE_LINE = "\r\u001b[K";
/** The least time between two drawings, in ms. */
const REDRAW_MS = 100;

/**
 * One line at the bottom of a terminal, e.g. `17 of 41 domains, 2 partial`. Records are printed above it: `hide`
 * before, `show` after.
 */
export class Progress {
  readonly #output: { write(text: string): unknown };
  readonly #now: () => number;
  readonly #counts: Record<RecordStatus, number> = { ok: 0, partial: 0, failed: 0, gone: 0 };
  #expected: number | undefined;
  #seen = 0;
  #visible = false;
  #shownAt = Number.NEGATIVE_INFINITY;

  /** @param now a clock in ms */
  constructor(output: { write(text: string): unknown }, now: () => number) {
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

  /** Whether some record is not `ok`. */
  get incomplete(): boolean {
    return this.#counts.ok < this.#seen;
  }

  /** The counts in words. */
  get text(): string {
    const of = this.#expected === undefined ? "" : ` of ${this.#expected}`;
    return `${this.#seen}${of} domain${(this.#expected ?? this.#seen) === 1 ? "" : "s"}${notWhole(this.#counts)}`;
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
