/**
 * The keys of the table's rows that have changed since the last item that the reader got. No key occurs twice. A domain
 * that left and came back since then counts as changed.
 */
export interface TableChange {
  /** The keys of rows that are new. The first item of each reader has all rows here. */
  readonly came: readonly string[];
  /** The keys of rows that have a newer record, or have become stale. */
  readonly changed: readonly string[];
  /** The keys of rows that the table no longer has. */
  readonly left: readonly string[];
}

/** How a key has changed since the reader's last item. */
type Difference = keyof TableChange;

/** Collects changes. Of two changes of the same key, only the net effect remains. */
export class ChangeSet {
  readonly #differences = new Map<string, Difference>();

  get size(): number {
    return this.#differences.size;
  }

  note(key: string, difference: Difference): void {
    const before = this.#differences.get(key);
    if (before === undefined) this.#differences.set(key, difference);
    else if (difference === "left") {
      // A reader that never had the key need not know that it left.
      if (before === "came") this.#differences.delete(key);
      else this.#differences.set(key, "left");
    } else if (before === "left") this.#differences.set(key, "changed");
  }

  add({ came, changed, left }: TableChange): void {
    for (const key of left) this.note(key, "left");
    for (const key of came) this.note(key, "came");
    for (const key of changed) this.note(key, "changed");
  }

  /** Returns everything that was noted, and forgets it. */
  take(): TableChange {
    const change = { came: [] as string[], changed: [] as string[], left: [] as string[] };
    for (const [key, difference] of this.#differences) change[difference].push(key);
    this.#differences.clear();
    return change;
  }

  /**
   * The keys that the table had when this set was last empty: those of the present `keys` that have not come since
   * then, and the keys that have left since then.
   */
  keysBefore(keys: Iterable<string>): string[] {
    const before = [...keys].filter((key) => this.#differences.get(key) !== "came");
    for (const [key, difference] of this.#differences) if (difference === "left") before.push(key);
    return before;
  }
}

/**
 * One reader of a table's changes. If the reader is slower than the ticks, it gets the union of the changes of several
 * ticks. So even a very slow reader needs memory only for one key of each row that it knows or that the table has.
 */
export class ChangeReader implements AsyncIterableIterator<readonly TableChange[]> {
  readonly #onReturn: (reader: ChangeReader) => void;
  /**
   * The change that waits for the reader, if it is of one tick only. The table's other readers have the same object, so
   * it must not be modified: a second tick makes a union instead.
   */
  #tick: TableChange | undefined;
  /** The changes that wait for the reader, if they are of several ticks. */
  #union: ChangeSet | undefined;
  #ended = false;
  #error: unknown;
  #wake: (() => void) | undefined;

  /** @param onReturn called when the consumer has left */
  constructor(onReturn: (reader: ChangeReader) => void) {
    this.#onReturn = onReturn;
  }

  push(change: TableChange): void {
    if (this.#union !== undefined) this.#union.add(change);
    else if (this.#tick === undefined) this.#tick = change;
    else {
      this.#union = new ChangeSet();
      this.#union.add(this.#tick);
      this.#union.add(change);
      this.#tick = undefined;
    }
    this.#wake?.();
  }

  /** Ends the changes. The consumer still gets the changes that wait, and then the error, if there is one. */
  end(error: unknown): void {
    this.#ended = true;
    this.#error = error;
    this.#wake?.();
  }

  async next(): Promise<IteratorResult<readonly TableChange[]>> {
    for (;;) {
      const change = this.#union?.take() ?? this.#tick;
      this.#union = undefined;
      this.#tick = undefined;
      if (change !== undefined) return { done: false, value: [change] };
      if (this.#ended) {
        const error = this.#error;
        this.#error = undefined;
        if (error !== undefined) throw error;
        return { done: true, value: undefined };
      }
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  async return(): Promise<IteratorResult<readonly TableChange[]>> {
    this.#union = undefined;
    this.#tick = undefined;
    this.end(undefined);
    this.#onReturn(this);
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}
