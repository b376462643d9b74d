/** An object that keeps data in memory, and can drop data. */
export interface Keeper {
  /** How much the keeper can drop now, in the unit of its SharedMemory (bytes or records). */
  readonly spare: number;
  /** Drops the oldest data, and calls `changed` of the SharedMemory. */
  shed(): void;
}

/**
 * Bounds the memory that all keepers of one kind use together in a server. Beyond the bound, the keepers that can spare
 * most drop their oldest data.
 */
export class SharedMemory {
  readonly #most: () => number;
  readonly #keepers = new Set<Keeper>();
  #used = 0;

  /**
   * @param most returns the bound, in the unit of the keepers; it may change, and a lower bound applies from the next
   *   addition
   */
  constructor(most: () => number) {
    this.#most = most;
  }

  get used(): number {
    return this.#used;
  }

  join(keeper: Keeper): void {
    this.#keepers.add(keeper);
  }

  /** Removes a keeper that has dropped everything. */
  leave(keeper: Keeper): void {
    this.#keepers.delete(keeper);
  }

  /** Called when a keeper keeps this much more than before; a negative number means less. */
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
