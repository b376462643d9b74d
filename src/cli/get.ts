import { once } from "node:events";
import type { Connection } from "../client/connection.ts";
import { RateMeter } from "../client/rates.ts";
import { sleep, withTimeout } from "../driver/clock.ts";
import { groupMask } from "../model/group.ts";
import { checkQuery, selectorName } from "../model/query.ts";
import type { DomainStatsRecord, RecordStatus } from "../model/record.ts";
import type { StatusEvent } from "../model/watch.ts";
import { Identities } from "../outlets/identity/identities.ts";
import { SelectorTable } from "../sampling/selector-table.ts";
import type { GetArguments } from "./arguments.ts";
import { createFormat } from "./format/format.ts";
import { complaint, notWhole, sourceStatusText } from "./format/notice.ts";
import { showsColours } from "./format/text.ts";
import { notify } from "./notify.ts";
import { openSource, readToken, withoutIds } from "./source.ts";
import { ExitCode, INTERRUPTED } from "./usage.ts";

/** How long definitions are waited for at least when the sweep took the whole deadline, in ms, unless the deadline is shorter. */
const LAST_DEFINITIONS_MS = 1_000;

/**
 * `virstream get`: prints one record of every domain as it arrives, with rates since an earlier sweep if the user asked for them.
 * Resolves with the exit code.
 */
export async function get(args: GetArguments, signal: AbortSignal): Promise<number> {
  const { stdout, stderr } = process;
  const interactive = stdout.isTTY === true && stderr.isTTY === true;
  const progress = new Progress(stderr, () => performance.now());
  const token = await readToken(args.tokenFile, process.env);
  await using connection = await openSource(args.uri, token, signal);

  const query = await withoutIds(connection, args.query, signal);
  const groups = groupMask(args.query.groups);
  const colours = showsColours(stdout, process.env);
  const hosts = connection.host.includes(",");
  const meter = args.ratesOverMs === undefined ? undefined : new RateMeter();
  const terminal = stdout.isTTY === true;
  const look = { groups, rates: meter !== undefined, hosts, raw: args.raw, terminal, colours };
  const identities = args.format === "prometheus" ? await openIdentities(connection, args) : undefined;
  const format =
    args.format === "prometheus"
      ? new (await import("./format/prometheus.ts")).PrometheusFormat(connection, args.dialect, identities!)
      : createFormat(args.format, look);
  const print = async (text: string): Promise<void> => {
    if (text !== "" && !stdout.write(text)) await once(stdout, "drain", { signal });
  };
  const { domains = [], deadlineMs } = checkQuery(query, connection.driver);
  const named = new SelectorTable(domains, (selector) => selector);
  const unanswered = new Set(named.values());
  let took = 0;
  let begun = false;
  let whole = false;
  try {
    if (args.ratesOverMs !== undefined) {
      await connection.stats(query, { signal }).forEach((record) => void meter?.take(record));
      await sleep(args.ratesOverMs, { signal });
    }
    const startedAt = performance.now();
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
          took = event.summary.tookMs;
          whole = true;
          for (const { host, error } of event.summary.absent ?? []) {
            const absence: StatusEvent = { type: "status", state: "degraded", host, error };
            progress.absent++;
            notify(sourceStatusText(host, absence));
            text += format.event(absence);
          }
          // Without a filter, each has a record.
          for (const selector of unanswered) {
            notify(`domain ${selectorName(selector)} does not pass the filters (--list-…)`);
          }
          continue;
        }
        for (const selector of named.of(event.record.domain)) unanswered.delete(selector);
        progress.add(event.record);
        text += format.record(event.record, meter?.take(event.record));
        // virsh's output cannot show that a record is incomplete.
        const complained = args.format === "virsh" ? complaint(event.record) : undefined;
        if (complained !== undefined) notify(complained);
      }
      if (interactive) progress.hide();
      await print(text);
      if (interactive) progress.show();
    }
    // Definitions are read while the sweep goes on; those of the domains that were late, in the moment after it.
    const leftMs = deadlineMs - (performance.now() - startedAt);
    const settled = format.settle(Math.max(leftMs, Math.min(deadlineMs, LAST_DEFINITIONS_MS)));
    await withTimeout(settled, Number.POSITIVE_INFINITY, () => {}, { signal });
  } catch (error) {
    whole = false;
    throw error;
  } finally {
    progress.hide();
    // An output that was cut short must not look complete.
    if (signal.reason === INTERRUPTED) notify(`interrupted after ${progress.text}`);
    // Also after a failure or an interrupt: the records that arrived are printed, and an array of JSON is closed.
    if (begun && (!signal.aborted || signal.reason === INTERRUPTED)) stdout.write(format.end(whole));
    identities?.close();
  }
  if (interactive) stderr.write(`${progress.text} in ${(took / 1000).toFixed(2)} s\n`);
  return progress.incomplete || unanswered.size > 0 ? ExitCode.incomplete : ExitCode.ok;
}

/** Begins to read what identifies the domains. Says why that cannot be read, if the user asked for more than there is anyway. */
async function openIdentities(connection: Connection, args: GetArguments): Promise<Identities> {
  const identities = new Identities(connection.driver, { metadata: args.metricsMetadata, extras: args.metricsExtras });
  const failure = await identities.open();
  const asked = args.metricsMetadata.length > 0 || args.metricsExtras.length > 0;
  if (failure !== undefined && asked) notify(`there are no series about the identity of domains: ${failure.message}`);
  return identities;
}

const ERASE_LINE = "\r\u001b[K";
/** The least time between two drawings, in ms. */
const REDRAW_MS = 100;

/**
 * One line at the bottom of a terminal, e.g. `17 of 41 domains, 2 partial`. Records are printed above it: `hide`
 * before, `show` after.
 */
export class Progress {
  readonly #output: { write(text: string): unknown };
  readonly #now: () => number;
  readonly #counts: Record<RecordStatus, number> = { ok: 0, partial: 0, failed: 0, gone: 0 };
  /** The number of hosts that could not be reached. */
  absent = 0;
  #expected: number | undefined;
  #seen = 0;
  #visible = false;
  #shownAt = Number.NEGATIVE_INFINITY;

  /** @param now a clock in ms */
  constructor(output: { write(text: string): unknown }, now: () => number) {
    this.#output = output;
    this.#now = now;
  }

  expect(domains: number): void {
    this.#expected = domains;
  }

  add(record: DomainStatsRecord): void {
    this.#seen++;
    this.#counts[record.status]++;
  }

  /** True when a record is not `ok`, or a host is absent. */
  get incomplete(): boolean {
    return this.#counts.ok < this.#seen || this.absent > 0;
  }

  get text(): string {
    const of = this.#expected === undefined ? "" : ` of ${this.#expected}`;
    return `${this.#seen}${of} domain${(this.#expected ?? this.#seen) === 1 ? "" : "s"}${notWhole(this.#counts)}`;
  }

  show(): void {
    if (this.#now() - this.#shownAt < REDRAW_MS) return;
    this.#shownAt = this.#now();
    this.#output.write(`${ERASE_LINE}${this.text}`);
    this.#visible = true;
  }

  hide(): void {
    if (!this.#visible) return;
    this.#output.write(ERASE_LINE);
    this.#visible = false;
    this.#shownAt = Number.NEGATIVE_INFINITY;
  }
}
