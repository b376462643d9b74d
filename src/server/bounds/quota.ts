import { VirstreamError } from "../../model/error.ts";

/** Counts how much of a limit is in use. */
export class Quota {
  readonly #most: () => number;
  readonly #rule: (most: number) => string;
  #used = 0;

  /**
   * @param most returns the limit, which may change; a new limit applies to amounts that are taken later
   * @param rule returns the message of the error: what the limit allows, and what to do beyond the limit
   */
  constructor(most: () => number, rule: (most: number) => string) {
    this.#most = most;
    this.#rule = rule;
  }

  /**
   * Takes an amount. Returns a function that gives the amount back; call this function only once.
   *
   * @throws VirstreamError `limit-exceeded`
   */
  hold(amount: number): () => void {
    const most = this.#most();
    if (this.#used + amount > most) throw new VirstreamError("limit-exceeded", this.#rule(most));
    this.#used += amount;
    return () => {
      this.#used -= amount;
    };
  }
}

/**
 * Calls all of these functions, each of which takes an amount. Returns a function that gives all amounts back. If one
 * of the functions throws, the amounts that were taken before it are given back.
 */
export function holdAll(holds: readonly (() => () => void)[]): () => void {
  const releases: (() => void)[] = [];
  const release = (): void => {
    for (const give of releases) give();
  };
  try {
    for (const hold of holds) releases.push(hold());
    return release;
  } catch (thrown) {
    release();
    throw thrown;
  }
}
