/** An object whose memory holds data that it can drop. */
export interface Keeper {
  /** How much it can give up now. */
  readonly spare: number;
  /** Drops the oldest part of it, and calls `changed`. */
  shed(): void;
}

/**
 * Bounds the memory of all keepers of a server together. Beyond the bound, the keepers that can spare most drop their
 * oldest data.
 */
export class SharedMemory {
  readonly #most: () => number;
  readonly #keepers = new Set<Keeper>();
  #used = 0;

  /** @param most the bound, in the unit of the keepers; it may change, and a lower one holds from the next addition */
  constructor(most: () => number) {
    this.#most = most;
  }

  get used(): number {
    return this.#used;
  }

  join(keeper: Keeper): void {
    this.#keepers.add(keeper);
  }

  /** The keeper has dropped everything. */
  leave(keeper: Keeper): void {
    this.#keepers.delete(keeper);
  }

  /** A keeper holds this much more than before, or less if negative. */
  changed(by: number): void {
    this.#used += by;
    while (by > 0 && this.#used > this.#most()) {
      let richest: Keeper | undefined;
      for (const keeper of this.#keepers) if (keeper.spare > (richest?.spare ?? 0)) richest = keeper;
      if (richest === undefined) return;
      richest.shed();
    }
  }
}
