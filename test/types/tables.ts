/** The promises about the types of tables and their rows. It never runs; see records.ts. */
import {
  type Absent,
  type Connection,
  type Domain,
  type DomainRates,
  type DomainStatsRecord,
  domainKey,
  type Table,
  type TableChange,
  type TableRow,
} from "../../src/index.ts";
import { same } from "./same.ts";

export function tablesCheckTheirOptions(connection: Connection, signal: AbortSignal): Table {
  const table = connection.table({ groups: ["state", "cpu-total"] }, { intervalMs: 500, signal });
  same<typeof table, Table>(true);
  // @ts-expect-error The member is misspelt.
  connection.table({}, { interval: 500 });
  // @ts-expect-error A table has the records of each sweep.
  connection.table({}, { mode: "on-change" });
  // @ts-expect-error The group is misspelt.
  connection.table({ groups: ["cpu"] });
  return table;
}

export async function tablesHaveRows(table: Table, domain: Domain): Promise<void> {
  same<typeof table.ready, Promise<void>>(true);
  same<typeof table.size, number>(true);
  same<typeof table.absent, readonly Absent[]>(true);
  const row = table.get(domainKey(domain));
  same<typeof row, TableRow | undefined>(true);
  // @ts-expect-error The table may not have the row.
  row.record.status.toUpperCase();
  // @ts-expect-error A domain is found by its key.
  table.get(domain);
  for (const each of table) same<typeof each, TableRow>(true);
  const rows = table.values();
  same<typeof rows, readonly TableRow[]>(true);
  // @ts-expect-error The array is the table's own.
  rows.push(row);
  await table.changes.forEach((change) => {
    same<typeof change, TableChange>(true);
  });
  for await (const { came, changed, left } of table.changes) {
    same<typeof came, readonly string[]>(true);
    same<typeof changed, readonly string[]>(true);
    same<typeof left, readonly string[]>(true);
  }
  table.close();
}

export function rowsHaveTypes(row: TableRow): void {
  same<typeof row.key, string>(true);
  same<typeof row.domain, Domain>(true);
  same<typeof row.record, DomainStatsRecord>(true);
  same<typeof row.rates, DomainRates>(true);
  same<typeof row.stale, boolean>(true);
  same<typeof row.ageMs, number>(true);
  // @ts-expect-error Rows do not change: the table has another one after each change.
  row.stale = false;
  // @ts-expect-error A rate may be unknown.
  row.rates.cpu.percent.toFixed(1);
}

export function rowsAreOrdered(table: Table): TableRow[] {
  const sorted = table.sort((row) => {
    same<typeof row, TableRow>(true);
    return row.domain.name;
  }, "descending");
  same<typeof sorted, Table>(true);
  table.sort(({ record }) => record.params.get("cpu.time"));
  // @ts-expect-error The order is misspelt.
  table.sort((row) => row.domain.name, "desc");
  // @ts-expect-error Domains have no order.
  table.sort((row) => row.domain);
  // @ts-expect-error The number comes first.
  table.top((row: TableRow) => row.rates.cpu.percent, 20);
  const top = table.top(20, (row) => row.rates.cpu.percent);
  same<typeof top, TableRow[]>(true);
  return top;
}
