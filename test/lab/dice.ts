/** Random numbers that follow from a seed: what they made happen can be made to happen again. */
export class Dice {
  readonly seed: number;
  #state: number;

  /** @param seed 32 bits; without one it is drawn from the clock */
  constructor(seed = Date.now() >>> 0) {
    this.seed = seed;
    this.#state = seed;
  }

  /** From 0 to 1, 1 excluded (mulberry32). */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let bits = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1);
    bits ^= bits + Math.imul(bits ^ (bits >>> 7), bits | 61);
    return ((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32;
  }

  /** A whole number from 0 to one less than the bound. */
  below(bound: number): number {
    return Math.floor(this.next() * bound);
  }
}
