/** Something that keeps what it could do without. */
export interface Keeper {
  /** How much it can give up now. */
  readonly spare: number;
  /** Gives up the oldest part of it, and reports that as a change. */
  shed(): void;
}

/** Bounds what all keepers of a server keep together. Beyond the bound, the keepers that can spare most give up their oldest. */
export class SharedMemory {
  readonly #most: number;
  readonly #keepers = new Set<Keeper>();
  #used = 0;

  /** @param most in the unit of the keepers */
  constructor(most: number) {
    this.#most = most;
  }

  get used(): number {
    return this.#used;
  }

  join(keeper: Keeper): void {
    this.#keepers.add(keeper);
  }

  /** The keeper has given up everything. */
  leave(keeper: Keeper): void {
    this.#keepers.delete(keeper);
  }

  /** A keeper keeps so much more than before, or less. */
  changed(by: number): void {
    this.#used += by;
    while (by > 0 && this.#used > this.#most) {
      let richest: Keeper | undefined;
      for (const keeper of this.#keepers) if (keeper.spare > (richest?.spare ?? 0)) richest = keeper;
      if (richest === undefined) return;
      richest.shed();
    }
  }
}
