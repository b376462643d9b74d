import { once } from "node:events";
import type { Connection } from "../client/connection.ts";
import { recordsBefore } from "../client/rates/two-sweeps.ts";
import { RateMeter } from "../client/rates.ts";
import { sleep, withTimeout } from "../driver/clock.ts";
import { type Moment, parseRecordingUri, timeOf } from "../drivers/recording/uri.ts";
import { VirstreamError } from "../model/error.ts";
import { permittedOf } from "../model/group.ts";
import { checkQuery, type StatsQuery, selectorName } from "../model/query.ts";
import type { DomainStatsRecord, RecordStatus } from "../model/record.ts";
import type { StatusEvent } from "../model/watch.ts";
import { Identities } from "../outlets/identity/identities.ts";
import { troubleText } from "../overview/explanation.ts";
import { SelectorTable } from "../sampling/selector-table.ts";
import { type GetArguments, parseGet } from "./arguments.ts";
import { CsvTable } from "./format/csv.ts";
import { createFormat, type Format } from "./format/format.ts";
import { GuestTable, TextTable } from "./format/guest-table.ts";
import { complaint, noColumnText, notWhole, sourceText } from "./format/notice.ts";
import { showsColours } from "./format/text.ts";
import { notify } from "./notify.ts";
import {
  credentialWords,
  hostUri,
  openSources,
  readCredentials,
  readHosts,
  withoutIds,
  withPermittedGroups,
} from "./source.ts";
import { ExitCode, INTERRUPTED } from "./usage.ts";

/**
 * After the sweep, `get` waits for the domains' definitions, at most until the deadline, which runs from the start of
 * the sweep. If less than this many ms are then left, `get` waits for up to this many ms, or for the length of the
 * deadline if that is shorter.
 */
const LAST_DEFINITIONS_MS = 1_000;
/**
 * The deadline of a guest in the first of two sweeps, in ms, unless --over is longer or --deadline is shorter. The
 * first sweep only gives the counters with which the second sweep is compared, so it need not wait long for a guest.
 */
const FIRST_DEADLINE_MS = 1_000;

/**
 * `virstream get`: prints one record of every domain. A table or a page for Prometheus is printed when all records have
 * arrived. The other formats print records as they arrive. Resolves with the exit code.
 */
export async function get(argv: readonly string[], signal: AbortSignal): Promise<number> {
  const args = parseGet(argv);
  const { stdout, stderr } = process;
  const interactive = stdout.isTTY === true && stderr.isTTY === true;
  const now = (): number => performance.now();
  const [first, progress] = [new Progress(stderr, now, "first of two sweeps: "), new Progress(stderr, now)];
  const credentials = await readCredentials(args, process.env);
  const uris = [...args.uris, ...(args.hostsFile === undefined ? [] : await readHosts(args.hostsFile))];
  await using connection = await openSources(uris, credentials, signal);

  const named = await withoutIds(connection, args.query, signal);
  const permitted = args.columnGroups === 0 ? withPermittedGroups(named, connection) : named;
  const at = args.at === undefined ? await endOf(connection, permitted, args, signal) : momentIn(args.at, connection);
  const query = at === undefined ? permitted : { ...permitted, at };
  const identities = args.format === "prometheus" ? await openIdentities(connection, args) : undefined;
  const format = await formatOf(args, connection, identities, query.at);
  const print = async (text: string): Promise<void> => {
    if (text !== "" && !stdout.write(text)) await once(stdout, "drain", { signal });
  };
  const checked = checkQuery(query, connection.driver);
  const selectors = new SelectorTable(checked.domains ?? [], (selector) => selector);
  const unanswered = new Set(selectors.values());
  const meter = args.ratesOverMs === undefined ? undefined : new RateMeter();
  const startedAt = performance.now();
  let begun = false;
  let whole = false;
  try {
    if (args.ratesOverMs !== undefined) {
      const take = (record: DomainStatsRecord): void => {
        begun ||= format instanceof GuestTable;
        format.before(record, meter!.take(record));
      };
      const { recorded } = connection;
      const { at } = query;
      if (recorded !== undefined && at !== undefined) {
        const sweep = (moment: number): Promise<DomainStatsRecord[]> =>
          connection.stats({ ...query, at: moment }, { signal }).toArray();
        for (const record of await recordsBefore(await sweep(at), sweep, at, recorded, args.ratesOverMs)) take(record);
      } else {
        const deadlineMs = Math.min(checked.deadlineMs, Math.max(args.ratesOverMs, FIRST_DEADLINE_MS));
        const lastAt = await firstSweep(connection, { ...query, deadlineMs }, signal, first, interactive, take);
        await sleep(Math.max(0, lastAt + args.ratesOverMs - performance.now()), { signal });
      }
    }
    const sweepStartedAt = performance.now();
    for await (const events of connection.stats(query, { signal }).events.chunks()) {
      let text = "";
      for (const event of events) {
        if (event.type === "expect") {
          progress.expect(event.domains);
          continue;
        }
        if (!begun) text += format.begin();
        begun = true;
        if (event.type === "sync") {
          whole = true;
          for (const { host, error } of event.summary.absent ?? []) {
            const absence: StatusEvent = { type: "status", state: "degraded", host, error };
            progress.absent++;
            if (interactive) progress.hide();
            notify(sourceText(host, "absent", error));
            text += format.event(absence);
          }
          // A domain that the user named has no record only if the domain does not pass a filter.
          for (const selector of unanswered) {
            notify(`domain ${selectorName(selector)} does not pass the filters (--list-…)`);
          }
          continue;
        }
        for (const selector of selectors.of(event.record.domain)) unanswered.delete(selector);
        progress.add(event.record);
        text += format.record(event.record, meter?.take(event.record));
        // virsh's output cannot show that a record is incomplete, so stderr says it.
        const complained = args.format === "virsh" ? complaint(event.record) : undefined;
        if (complained !== undefined) notify(complained);
      }
      if (interactive) progress.hide();
      await print(text);
      if (interactive) progress.show();
    }
    // Definitions are read during the sweep. The definitions of domains whose records came late are read after the
    // sweep.
    const leftMs = checked.deadlineMs - (performance.now() - sweepStartedAt);
    const settled = format.settle(Math.max(leftMs, Math.min(checked.deadlineMs, LAST_DEFINITIONS_MS)));
    await withTimeout(settled, Number.POSITIVE_INFINITY, () => {}, { signal });
  } catch (error) {
    whole = false;
    throw error;
  } finally {
    progress.hide();
    // After an interrupt, the output must not look complete.
    const reached =
      args.ratesOverMs !== undefined && progress.seen === 0
        ? `${first.text}, in the first of two sweeps`
        : progress.text;
    if (signal.reason === INTERRUPTED) notify(`interrupted after ${reached}`);
    // After a failure or an interrupt, too, this prints the records that have arrived, and closes an array of JSON.
    if (begun && (!signal.aborted || signal.reason === INTERRUPTED)) stdout.write(format.end(whole));
    identities?.close();
  }
  const { groupsWithoutColumn } = args;
  if (groupsWithoutColumn.length > 0) notify(noColumnText(groupsWithoutColumn));
  const patterns = (query.names ?? []).map((name) => `--name ${name}`);
  if (progress.seen === 0 && progress.absent === 0 && patterns.length > 0)
    notify(`no domain matches ${patterns.join(" or ")}`);
  const help = format instanceof GuestTable ? worstText(format, connection, credentialWords(args)) : undefined;
  if (interactive) {
    const took = ((performance.now() - startedAt) / 1_000).toFixed(1);
    stderr.write(`${progress.summary} in ${took} s${help === undefined ? "" : `.  ${help}`}\n`);
  } else if (help !== undefined) notify(help);
  return progress.incomplete || unanswered.size > 0 ? ExitCode.incomplete : ExitCode.ok;
}

/** @throws VirstreamError `unsupported` if the source is no recording */
function momentIn(moment: Moment, { recorded, uri }: Connection): number {
  if (recorded === undefined)
    throw new VirstreamError("unsupported", `--at is for recordings, and ${uri} shows what is now`);
  return Math.round(timeOf(moment, recorded));
}

/** A replay is over when its newest record is at most this many intervals before the recording's end. */
const END_INTERVALS = 3;

/**
 * The time of a recording's end. Undefined for other sources, for a `file:` URI with `from=`, and for a server whose
 * replay of a recording is under way. Without this time, two sweeps at the end of a recording would both get its last
 * records, and there would be no rates.
 */
async function endOf(
  connection: Connection,
  query: StatsQuery,
  { ratesOverMs, format }: GetArguments,
  signal: AbortSignal,
): Promise<number | undefined> {
  const { recorded, uri } = connection;
  if (recorded === undefined) return undefined;
  if (uri.startsWith("file:")) return parseRecordingUri(uri).from === undefined ? recorded.to : undefined;
  // Without rates, the records that the server has now are the right ones. Only tables need the time: they show how old
  // records are.
  if (ratesOverMs === undefined && format !== "table" && format !== "csv") return undefined;
  // Only the times of the records show whether a server's replay is still under way. Records of the group `state` are
  // the smallest that have a time.
  const groups = permittedOf(["state"], connection.permittedGroups);
  const records = await connection.stats({ ...query, groups }, { signal }).toArray();
  const newest = records.reduce((most, { sampledAt }) => Math.max(most, sampledAt), 0);
  return newest >= recorded.to - END_INTERVALS * recorded.intervalMs ? recorded.to : undefined;
}

/**
 * Begins to read the domains' identities. If this fails, and the user gave --metrics-metadata or --metrics-extra, this
 * function reports the reason.
 */
async function openIdentities(connection: Connection, args: GetArguments): Promise<Identities> {
  const identities = new Identities(connection.driver, { metadata: args.metricsMetadata, extras: args.metricsExtras });
  const failure = await identities.open();
  const asked = args.metricsMetadata.length > 0 || args.metricsExtras.length > 0;
  if (failure !== undefined && asked) notify(`there are no series about the identity of domains: ${failure.message}`);
  return identities;
}

/** The format that the arguments ask for. */
async function formatOf(
  args: GetArguments,
  connection: Connection,
  identities: Identities | undefined,
  at: number | undefined,
): Promise<Format> {
  const { stdout, env } = process;
  const hosts = connection.host.includes(",");
  const terminal = stdout.isTTY === true;
  switch (args.format) {
    case "prometheus":
      return new (await import("./format/prometheus.ts")).PrometheusFormat(connection, args.dialect, identities!);
    case "csv":
      return new CsvTable({ ...args.table, groups: args.columnGroups, hosts: true, at });
    case "table": {
      const cells = terminal ? stdout.columns || 80 : undefined;
      const colours = showsColours(stdout, env);
      return new TextTable({ ...args.table, groups: args.columnGroups, hosts, at }, { cells, colours });
    }
    default:
      return createFormat(args.format, { terminal });
  }
}

/**
 * Makes a sweep for the counters with which the next sweep is compared. Resolves with the time at which the last
 * complete record arrived, on the steady clock. The time between the sweeps begins at that time, so a guest that does
 * not answer delays the next sweep only until this guest's deadline.
 */
async function firstSweep(
  connection: Connection,
  query: StatsQuery,
  signal: AbortSignal,
  progress: Progress,
  interactive: boolean,
  take: (record: DomainStatsRecord) => void,
): Promise<number> {
  let lastAt = performance.now();
  try {
    for await (const events of connection.stats(query, { signal }).events.chunks()) {
      for (const event of events) {
        if (event.type === "expect") progress.expect(event.domains);
        if (event.type !== "record") continue;
        progress.add(event.record);
        take(event.record);
        if (event.record.status === "ok") lastAt = performance.now();
      }
      progress.hide();
      if (interactive) progress.show();
    }
    return lastAt;
  } finally {
    progress.hide();
  }
}

/** What is wrong with the worst guest, and the command that finds out why; undefined if all guests are well. */
function worstText({ troubled, slow }: GuestTable, connection: Connection, options: string): string | undefined {
  const worst = troubled[0] ?? slow[0];
  if (worst === undefined) return undefined;
  const [troubledToo, slowToo] = [troubled, slow].map((guests) => guests.filter((guest) => guest !== worst).length);
  const more = [
    ...(troubledToo === 0 ? [] : [`${troubledToo} more in trouble`]),
    ...(slowToo === 0 ? [] : [`${slowToo} more slow`]),
  ];
  const rest = more.length === 0 ? "" : `  (${more.join(", ")})`;
  return `${troubleText(worst, hostUri(connection, worst.row.domain.host), options)}${rest}`;
}

const ERASE_LINE = "\r\u001b[K";
/** The shortest time between two drawings of the progress line, in ms. */
const REDRAW_MS = 100;

/**
 * One line at the bottom of a terminal, e.g. `17 of 41 domains, 2 partial`. To print a record above it, call `hide`
 * before and `show` after.
 */
export class Progress {
  readonly #output: { write(text: string): unknown };
  readonly #now: () => number;
  readonly #label: string;
  readonly #counts: Record<RecordStatus, number> = { ok: 0, partial: 0, failed: 0, gone: 0 };
  /** The number of hosts that could not be reached. */
  absent = 0;
  #expected: number | undefined;
  #seen = 0;
  #visible = false;
  #shownAt = Number.NEGATIVE_INFINITY;

  /**
   * @param now a clock in ms
   * @param label the beginning of the line
   */
  constructor(output: { write(text: string): unknown }, now: () => number, label = "") {
    this.#output = output;
    this.#now = now;
    this.#label = label;
  }

  expect(domains: number): void {
    this.#expected = domains;
  }

  add(record: DomainStatsRecord): void {
    this.#seen++;
    this.#counts[record.status]++;
  }

  /** True if a record is not `ok`, or a host is absent. */
  get incomplete(): boolean {
    return this.#counts.ok < this.#seen || this.absent > 0;
  }

  /** How many records have arrived. */
  get seen(): number {
    return this.#seen;
  }

  get text(): string {
    const of = this.#expected === undefined ? "" : ` of ${this.#expected}`;
    return `${this.#seen}${of} domain${(this.#expected ?? this.#seen) === 1 ? "" : "s"}${notWhole(this.#counts)}`;
  }

  /** The summary of a completed sweep, e.g. `12 guests: 11 ok, 1 partial`. */
  get summary(): string {
    const absent = this.absent === 0 ? "" : `, ${this.absent} host${this.absent === 1 ? "" : "s"} absent`;
    const found = this.#seen === 0 ? "" : `: ${this.#counts.ok} ok${notWhole(this.#counts)}`;
    return `${this.#seen} guest${this.#seen === 1 ? "" : "s"}${found}${absent}`;
  }

  show(): void {
    if (this.#now() - this.#shownAt < REDRAW_MS) return;
    this.#shownAt = this.#now();
    this.#output.write(`${ERASE_LINE}${this.#label}${this.text}`);
    this.#visible = true;
  }

  hide(): void {
    if (!this.#visible) return;
    this.#output.write(ERASE_LINE);
    this.#visible = false;
    this.#shownAt = Number.NEGATIVE_INFINITY;
  }
}
