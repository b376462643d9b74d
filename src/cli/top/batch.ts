import { once } from "node:events";
import type { Connection } from "../../client/connection.ts";
import { type TableRow, TableRows } from "../../client/table/rows.ts";
import type { Table } from "../../client/table.ts";
import { hostNames, selectedHosts } from "../../driver/matcher.ts";
import type { StatsQuery } from "../../model/query.ts";
import type { Absent, Recorded } from "../../model/record.ts";
import { GuestList } from "../../overview/guest-list.ts";
import { recordedRow } from "../../overview/line.ts";
import type { TopArguments } from "../arguments.ts";
import { recordedTime } from "../format/text.ts";
import { notify } from "../notify.ts";
import { ExitCode, INTERRUPTED } from "../usage.ts";
import { cellsOf, columnsFor, titles } from "./layout.ts";
import { initialState } from "./state.ts";
import { summaryLine } from "./view.ts";

/** The state of all guests at one moment. */
interface Moment {
  readonly rows: readonly TableRow[];
  readonly absent: readonly Absent[];
  /** The time of the rows, in ms: since 1970 for a recording, otherwise on the steady clock. */
  readonly at: number;
}

/** Prints the whole table again and again, for scripts. The first table has no rates yet. */
export async function batch(
  { intervalMs, count }: TopArguments,
  connection: Connection,
  query: StatsQuery,
  signal: AbortSignal,
): Promise<number> {
  const { stdout } = process;
  const { recorded } = connection;
  const [moments, state] =
    recorded === undefined
      ? [presentMoments(connection, query, intervalMs, signal), initialState(intervalMs)]
      : [recordedMoments(connection, query, intervalMs, recorded, signal), initialState(recorded.intervalMs)];
  let now = 0;
  const list = new GuestList(() => now, 0);
  let printed = 0;
  try {
    for await (const { rows, absent, at } of moments) {
      now = at;
      list.update(rows, absent, hostNames(connection.host));
      const columns = columnsFor(Number.POSITIVE_INFINITY, list.totals.hosts.length > 1, 0);
      const lines = list.lines(state).map((line) => cellsOf(columns, line, stdout.isTTY !== true).trimEnd());
      const time = recorded === undefined ? new Date().toLocaleTimeString("en-GB") : recordedTime(at);
      const text = [summaryLine(list, state, time, 0), titles(columns, state.sort), ...lines];
      if (!stdout.write(`${text.join("\n")}\n\n`)) await once(stdout, "drain", { signal });
      if (++printed === count) break;
    }
  } catch (error) {
    if (signal.reason === INTERRUPTED && count === undefined) return ExitCode.ok;
    throw error;
  }
  if (printed === 0) {
    notify(`${connection.uri} ended before its first sweep was whole: virstream get shows what it has`);
    return ExitCode.incomplete;
  }
  const { troubles, absent } = list.totals;
  return troubles.size > 0 || absent > 0 ? ExitCode.incomplete : ExitCode.ok;
}

/**
 * Yields the first complete state, and then the state at a change, but at most one state per half interval, because a
 * table of several hosts changes more often than once per interval.
 */
async function* presentMoments(
  connection: Connection,
  query: StatsQuery,
  intervalMs: number,
  signal: AbortSignal,
): AsyncGenerator<Moment> {
  using table: Table = connection.table(query, { intervalMs, signal });
  const moment = (): Moment => ({ rows: table.values(), absent: table.absent, at: performance.now() });
  await table.ready;
  yield moment();
  let last = performance.now();
  for await (const _ of table.changes) {
    signal.throwIfAborted();
    if (performance.now() - last < intervalMs / 2) continue;
    last = performance.now();
    yield moment();
  }
  signal.throwIfAborted();
}

/**
 * Yields the state after each sweep of a recording, at any speed of the replay. A table of the connection would not do,
 * because it keeps only the newest state. The hosts of a recording sweep at different times, so their sweeps count as
 * one while they are less than half an interval apart.
 */
async function* recordedMoments(
  connection: Connection,
  query: StatsQuery,
  intervalMs: number,
  recorded: Recorded,
  signal: AbortSignal,
): AsyncGenerator<Moment> {
  let at = 0;
  const { driver: source } = connection;
  const nothing = (): void => {};
  const rows = new TableRows({ now: () => at, source, patterns: query.hosts, onReady: nothing, onEnd: nothing });
  const absent = new Map<string, Absent>();
  const moment = (): Moment => ({
    rows: rows.values().map(({ rates }) => recordedRow(rates, at)),
    absent: [...absent.values()],
    at,
  });
  const awaited = new Set(selectedHosts(connection.host, query.hosts));
  const leastMs = awaited.size > 1 ? recorded.intervalMs / 2 : 0;
  let [last, isNew] = [Number.NEGATIVE_INFINITY, false];
  for await (const events of connection.watch(query, { intervalMs, signal }).events.chunks()) {
    for (const event of events) {
      if (event.type === "record") rows.record(event.record);
      else if (event.type === "gone") rows.gone(event.domain);
      else rows.event(event);
      if (event.type === "status") {
        const { host = connection.host, error } = event;
        for (const name of host.split(",")) {
          awaited.delete(name);
          if (error === undefined) absent.delete(name);
          else absent.set(name, { host: name, error });
        }
      }
      if (event.type !== "sync") continue;
      at = Math.max(at, event.summary.startedAt + event.summary.tookMs);
      for (const name of hostNames(event.host)) awaited.delete(name);
      isNew = awaited.size > 0 || at - last < leastMs;
      if (isNew) continue;
      last = at;
      yield moment();
    }
  }
  signal.throwIfAborted();
  if (isNew) yield moment();
}
