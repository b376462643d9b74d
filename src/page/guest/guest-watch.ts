import type { Connection } from "../../client/connection.ts";
import type { TableRow } from "../../client/table/rows.ts";
import type { Table } from "../../client/table.ts";
import { VirstreamError } from "../../model/error.ts";
import { permittedOf } from "../../model/group.ts";
import { SCREEN_GROUPS } from "../../overview/columns.ts";
import { INTERVAL_MS } from "../interval.ts";

/** The watch of the one guest that is open. */
export class GuestWatch {
  /** The time between two sweeps, in ms, of watches that begin from now on. */
  intervalMs = INTERVAL_MS;
  readonly #onRow: (row: TableRow) => void;
  #table: Table | undefined;
  #connection: Connection | undefined;
  #key: string | undefined;

  /** @param onRow called with each newer record */
  constructor(onRow: (row: TableRow) => void) {
    this.#onRow = onRow;
  }

  /** Begins to watch a guest by its key, or continues its watch. */
  start(connection: Connection, key: string): void {
    if (this.#table !== undefined && key === this.#key && connection === this.#connection) return;
    this.stop();
    this.#key = key;
    this.#connection = connection;
    // A key consists of the host and the uuid; for a domain that does not exist, of the host and the name.
    const [, domain = ""] = key.split("\n");
    const table = connection.table(
      { domains: [domain], groups: permittedOf(SCREEN_GROUPS, connection.permittedGroups) },
      { intervalMs: this.intervalMs },
    );
    this.#table = table;
    void this.#follow(table, key);
  }

  stop(): void {
    this.#table?.close();
    this.#table = undefined;
  }

  async #follow(table: Table, key: string): Promise<void> {
    try {
      let last: TableRow | undefined;
      // With several hosts, there is an item for each host's sweep, so the guest's row may be the same as before.
      for await (const _ of table.changes) {
        if (table !== this.#table) return;
        const row = table.get(key) ?? table.values()[0];
        if (row === undefined || row === last) continue;
        last = row;
        this.#onRow(row);
      }
    } catch (error) {
      if (!(error instanceof VirstreamError)) throw error;
      // The list's watch reports the same error.
      if (table === this.#table) this.stop();
    }
  }
}
