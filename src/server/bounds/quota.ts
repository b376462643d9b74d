import { VirstreamError } from "../../model/error.ts";

/** Counts how much of a limit is in use. */
export class Quota {
  readonly #most: number;
  readonly #rule: string;
  #used = 0;

  /** @param rule what the limit allows, and what to do beyond it: the message of the error */
  constructor(most: number, rule: string) {
    this.#most = most;
    this.#rule = rule;
  }

  /**
   * Returns a function that gives it back, to be called once.
   *
   * @throws VirstreamError `limit-exceeded`
   */
  hold(amount: number): () => void {
    if (this.#used + amount > this.#most) throw new VirstreamError("limit-exceeded", this.#rule);
    this.#used += amount;
    return () => {
      this.#used -= amount;
    };
  }
}

/** Counts all of these, and returns a function that does the opposite; or none of them, if one throws. */
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
