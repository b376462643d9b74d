import type { Connection } from "../../client/connection.ts";
import { RateMeter } from "../../client/rates.ts";
import { sleep, withTimeout } from "../../driver/clock.ts";
import { type ErrorCode, VirstreamError } from "../../model/error.ts";
import type { StatsQuery } from "../../model/query.ts";
import type { Absent, DomainStatsRecord } from "../../model/record.ts";
import { openSources, readCredentials, withoutIds } from "../source.ts";
import { UsageError } from "../usage.ts";
import { type CheckArguments, parseCheck } from "./arguments.ts";
import { lineOf, STATUS, type Verdict, verdictOf } from "./verdict.ts";

/**
 * The errors that mean that the source itself is down: the status is then critical. After other errors the status is
 * unknown, because these errors mean only that the check could not examine the source.
 */
const DOWN: readonly ErrorCode[] = ["socket-missing", "connection-refused", "connection-lost", "connect-timeout"];

/**
 * `virstream check`, a plugin for Nagios and compatible programs. It prints one line to stdout, even if something
 * fails, and resolves with an exit code from 0 to 3.
 */
export async function check(args: readonly string[], signal: AbortSignal): Promise<number> {
  const { status, line } = await judge(args, signal);
  process.stdout.write(`${line}\n`);
  return STATUS[status];
}

async function judge(args: readonly string[], signal: AbortSignal): Promise<Verdict> {
  try {
    const parsed = parseCheck(args);
    const late = (): never => {
      throw new VirstreamError("deadline-exceeded", `no verdict within ${parsed.timeoutMs / 1_000} s (--timeout)`);
    };
    return await withTimeout((ended) => examine(parsed, ended), parsed.timeoutMs, late, { signal });
  } catch (thrown) {
    if (signal.aborted) return { status: "unknown", line: lineOf("unknown", "interrupted") };
    if (thrown instanceof UsageError) {
      return { status: "unknown", line: lineOf("unknown", `${thrown.message}: try "virstream check --help"`) };
    }
    const { code, message } = VirstreamError.from(thrown);
    const status = DOWN.includes(code) ? "critical" : "unknown";
    return { status, line: lineOf(status, `${message} [${code}]`) };
  }
}

async function examine(args: CheckArguments, signal: AbortSignal): Promise<Verdict> {
  const credentials = await readCredentials(args, process.env);
  await using connection = await openSources(args.uris, credentials, signal);
  const query = await withoutIds(connection, args.query, signal);
  const meter = new RateMeter();
  const first = await sample(connection, query, signal);
  for (const record of first.records) meter.take(record);
  await sleep(args.overMs, { signal });
  const { records, absent } = await sample(connection, query, signal);
  if (records.length === 0 && absent.length === 0 && (query.names ?? query.hosts) !== undefined) {
    return { status: "unknown", line: lineOf("unknown", "no guest matches --name and --host") };
  }
  const after = records.map((record) => meter.take(record));
  return verdictOf({ before: first.records, after, absent }, args.thresholds);
}

async function sample(
  connection: Connection,
  query: StatsQuery,
  signal: AbortSignal,
): Promise<{ readonly records: DomainStatsRecord[]; readonly absent: readonly Absent[] }> {
  const records: DomainStatsRecord[] = [];
  let absent: readonly Absent[] = [];
  for await (const event of connection.stats(query, { signal }).events) {
    if (event.type === "record") records.push(event.record);
    else if (event.type === "sync") {
      absent = event.summary.absent ?? [];
    }
  }
  return { records, absent };
}
