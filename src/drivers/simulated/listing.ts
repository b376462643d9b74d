import type { DomainSelector } from "../../model/query.ts";

/** What `next` gives besides indexes, all below 0. */
export const Listed = {
  /** There are no more. */
  end: -1,
  /** None was found among a good many; come again. */
  later: -2,
  /** A domain was named that does not exist: see `unknown`. */
  unknown: -3,
} as const;

/** So many guests are looked at before the caller gets a say: a few hundred µs. */
const STRIDE = 4_096;

/**
 * The guests of one sweep, in order, as they were when it began: who appears later is not in it, who vanishes later
 * still is. Nothing is collected; a listing of ten million is a position and two numbers.
 */
export interface Listing {
  /** Does a stretch of the work that comes before the size is known. True once it is done. */
  prepare(): boolean;
  /** How many guests it has, unknown ones included. Known once it is prepared. */
  readonly size: number;
  /** The next guest's index, or one of `Listed`. */
  next(): number;
  /** The selector that led to `Listed.unknown`. */
  readonly unknown: DomainSelector | undefined;
}

/** Which guests to list, as the host knows it. */
export interface Census {
  readonly domains: number;
  /** How many pass the filters, those included that are not there. */
  readonly passing: number;
  /** Whether one passes the filters. */
  passes(index: number): boolean;
  /** The ones that are not there at the moment of the listing. */
  readonly absent: ReadonlySet<number> | undefined;
  /** The index of a named guest, or −1. */
  find(selector: DomainSelector): number;
}

/** Every guest that is there and passes the filters, by index. */
export class FullListing implements Listing {
  readonly size: number;
  readonly unknown = undefined;
  readonly #census: Census;
  readonly #all: boolean;
  #position = 0;

  /** @param filtered false when all pass, which spares the question */
  constructor(census: Census, filtered: boolean) {
    this.#census = census;
    this.#all = !filtered && census.absent === undefined;
    let size = census.passing;
    for (const index of census.absent ?? []) if (census.passes(index)) size--;
    this.size = size;
  }

  prepare(): boolean {
    return true;
  }

  next(): number {
    const { domains, absent } = this.#census;
    if (this.#all) return this.#position < domains ? this.#position++ : Listed.end;
    const stop = Math.min(domains, this.#position + STRIDE);
    while (this.#position < stop) {
      const index = this.#position++;
      if (!absent?.has(index) && this.#census.passes(index)) return index;
    }
    return this.#position < domains ? Listed.later : Listed.end;
  }
}

/**
 * The guests that a query names, each once, in the order in which they were named. One that does not pass the filters is
 * left out; one that is not there is answered as unknown.
 */
export class SelectedListing implements Listing {
  unknown: DomainSelector | undefined;
  readonly #census: Census;
  readonly #selectors: readonly DomainSelector[];
  /** Indexes; an unknown selector is its position's complement, which is below 0. */
  readonly #found: number[] = [];
  readonly #seen = new Set<number>();
  #looked = 0;
  #position = 0;

  constructor(census: Census, selectors: readonly DomainSelector[]) {
    this.#census = census;
    this.#selectors = selectors;
  }

  get size(): number {
    return this.#found.length;
  }

  prepare(): boolean {
    const { absent } = this.#census;
    const stop = Math.min(this.#selectors.length, this.#looked + STRIDE);
    for (; this.#looked < stop; this.#looked++) {
      const index = this.#census.find(this.#selectors[this.#looked]!);
      if (index < 0 || absent?.has(index)) {
        this.#found.push(~this.#looked);
      } else if (!this.#seen.has(index)) {
        this.#seen.add(index);
        if (this.#census.passes(index)) this.#found.push(index);
      }
    }
    return stop === this.#selectors.length;
  }

  next(): number {
    if (this.#position >= this.#found.length) return Listed.end;
    const found = this.#found[this.#position++]!;
    if (found >= 0) return found;
    this.unknown = this.#selectors[~found];
    return Listed.unknown;
  }
}
