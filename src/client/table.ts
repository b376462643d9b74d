/// <reference lib="esnext.disposable" preserve="true" />

import { onAbort } from "../driver/clock.ts";
import { invalid, quote, VirstreamError } from "../model/error.ts";
import { check, whole } from "../model/options.ts";
import type { Query } from "../model/query.ts";
import type { Absent } from "../model/record.ts";
import type { Cadence } from "../model/watch.ts";
import type { Sampling } from "../sampling/sampling.ts";
import { later, Stream } from "./stream.ts";
import type { TableChange } from "./table/changes.ts";
import type { SortOrder, SortValue } from "./table/ranking.ts";
import type { Ranking, TableRow, TableRows } from "./table/rows.ts";

/**
 * The result of values() until TableRows is loaded. It is always the same array, because a page draws again when
 * values() returns another array.
 */
const NO_ROWS: readonly TableRow[] = [];

/** The options of a table. */
export interface TableOptions {
  /** The time from the start of a sweep to the start of the next, in ms; see WatchOptions. Default 1,000. */
  readonly intervalMs?: number;
  /** Closes the table. Default: none. */
  readonly signal?: AbortSignal;
}

/** The inputs of a table. */
export interface TableContext {
  /** Loads the module that has TableRows. */
  readonly load: () => Promise<{ readonly TableRows: typeof TableRows }>;
  /** Returns the sampling of the connection. Call this function only after `load` has resolved. */
  readonly sampling: () => Sampling;
  readonly query: Query;
  readonly cadence: Cadence;
  readonly signal: AbortSignal | undefined;
  /** A steady clock, in ms. */
  readonly now: () => number;
  /** The driver, which knows the names of its hosts. */
  readonly source: { readonly host: string };
}

/**
 * The newest record and rates of each domain, kept by one watch from the table's creation to its end. The memory of a
 * table is bounded by the number of domains that exist.
 *
 * The table ends when `close()` is called, when its signal is aborted, when the connection ends, or when the watch
 * fails. The rows then stay, and all of them are stale.
 */
export class Table implements Iterable<TableRow>, Disposable {
  /**
   * The changes: one item for each sweep of a host, and one for each change of a host's state. A new reader first gets
   * all rows; a slow reader gets the union of the items that it missed. The stream completes when the table ends, and
   * fails when the watch fails.
   */
  readonly changes: Stream<TableChange>;
  /**
   * Resolves when each host has been swept once, or cannot be reached: see `absent`. Rejects when the table ends before that.
   */
  readonly ready: Promise<void>;
  #ranking: Ranking | undefined;
  /** Undefined until the module with TableRows is loaded. */
  #rows: TableRows | undefined;
  #end: VirstreamError | undefined;
  #reject: (reason: unknown) => void = () => {};
  #stop = (): void => {};
  readonly #unlisten: () => void;

  /** @internal */
  constructor(context: TableContext) {
    const { signal } = context;
    let onReady = (): void => {};
    this.ready = new Promise((resolve, reject) => {
      onReady = resolve;
      this.#reject = reject;
    });
    // Without this handler, a program that does not wait for `ready` could end by an unhandled rejection.
    this.ready.catch(() => {});
    const loading = this.#start(context, onReady);
    loading.catch((error) => this.#reject(error));
    const read = () => later(loading.then((rows) => rows.read()));
    this.changes = new Stream(read, signal, true);
    this.#unlisten = onAbort(signal, () => this.#close(signal?.reason));
    if (signal?.aborted) this.#close(signal.reason);
  }

  /** The number of rows. */
  get size(): number {
    return this.#rows?.size ?? 0;
  }

  /** The row with a key; see domainKey(). */
  get(key: string): TableRow | undefined {
    return this.#rows?.get(key);
  }

  /**
   * All rows, in the order of `sort()`; without `sort()`, in the order in which they came. It is the same array until a
   * row changes.
   */
  values(): readonly TableRow[] {
    return this.#rows?.values() ?? NO_ROWS;
  }

  /** Iterates over values(). */
  [Symbol.iterator](): Iterator<TableRow> {
    return this.values()[Symbol.iterator]();
  }

  /** The hosts that cannot be reached at present, with the reason. Their rows are stale. After the end: all hosts. */
  get absent(): readonly Absent[] {
    return this.#rows?.absent ?? [];
  }

  /**
   * Sets the order of `values()` and of iteration. The table sorts again after each change. Rows whose value is
   * undefined, null or NaN come last, in either order; equal rows stay in the order in which they came.
   *
   * @returns the table
   * @throws VirstreamError `invalid-argument`
   */
  sort(by: (row: TableRow) => SortValue, order: SortOrder = "ascending"): this {
    checkBy(by);
    if (order !== "ascending" && order !== "descending") {
      throw invalid(`order must be "ascending" or "descending", not ${quote(order)}`);
    }
    this.#ranking = { by, order };
    this.#rows?.rank(this.#ranking);
    return this;
  }

  /**
   * The `n` rows with the highest values, the highest first. Rows without a value come last, as in `sort()`. The order
   * of the table itself stays as it is.
   *
   * @throws VirstreamError `invalid-argument`
   */
  top(n: number, by: (row: TableRow) => SortValue): TableRow[] {
    check("n", n, whole(0, Number.MAX_SAFE_INTEGER));
    checkBy(by);
    return this.#rows?.top(n, by) ?? [];
  }

  /** Ends the table and its watch. Calling it twice is allowed. */
  close(): void {
    this.#close();
  }

  /** Closes the table at the end of a `using` block. */
  [Symbol.dispose](): void {
    this.close();
  }

  async #start({ load, sampling, query, cadence, source, now }: TableContext, onReady: () => void): Promise<TableRows> {
    const { TableRows } = await load();
    const onEnd = (error: VirstreamError): void => {
      this.#unlisten();
      this.#reject(error);
    };
    const rows = new TableRows({ now, source, patterns: query.hosts, onReady, onEnd });
    if (this.#ranking !== undefined) rows.rank(this.#ranking);
    this.#rows = rows;
    if (this.#end !== undefined) rows.end(this.#end);
    else this.#stop = rows.follow(() => sampling().feed(query, cadence));
    return rows;
  }

  #close(reason?: unknown): void {
    if (this.#end !== undefined) return;
    this.#end = new VirstreamError("connection-closed", "the table was closed");
    this.#reject(reason ?? this.#end);
    this.#stop();
    this.#rows?.end(this.#end);
    this.#unlisten();
  }
}

function checkBy(by: unknown): void {
  if (typeof by !== "function") throw invalid(`by must be a function of a row, not ${quote(by)}`);
}
