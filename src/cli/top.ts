import { once } from "node:events";
import type { Connection } from "../client/connection.ts";
import type { Table } from "../client/table.ts";
import { Examiner } from "../doctor/examiner.ts";
import { sleep } from "../driver/clock.ts";
import { hostNames } from "../driver/matcher.ts";
import { VirstreamError } from "../model/error.ts";
import { groupMask } from "../model/group.ts";
import type { StatsQuery } from "../model/query.ts";
import { SCREEN_GROUPS } from "../overview/columns.ts";
import type { Diagnosis } from "../overview/diagnosis.ts";
import { GuestList } from "../overview/guest-list.ts";
import { LatestDiagnosis } from "../overview/latest-diagnosis.ts";
import type { GuestLine } from "../overview/line.ts";
import { parseTop, type TopArguments } from "./arguments.ts";
import { recordedTime, showsColours } from "./format/text.ts";
import { paceOf } from "./pace.ts";
import {
  credentialWords,
  guestSources,
  hostUri,
  openSources,
  readCredentials,
  readHosts,
  withoutIds,
  withPermittedGroups,
} from "./source.ts";
import { batch } from "./top/batch.ts";
import { guestPage } from "./top/details.ts";
import { initialState, type Key, press, type ScreenState } from "./top/state.ts";
import { Terminal } from "./top/terminal.ts";
import { frame, listRows, type Scene, type StyledLine } from "./top/view.ts";
import { ExitCode, INTERRUPTED, UsageError } from "./usage.ts";

/** The longest time between two drawings of the screen, in ms. */
const CLOCK_MS = 1_000;

/** `virstream top`: a live table of the guests on the whole terminal. Resolves with the exit code when the user leaves. */
export async function top(argv: readonly string[], signal: AbortSignal): Promise<number> {
  return openScreen(parseTop(argv), signal);
}

/** Shows the live table of `virstream top`, with arguments that were checked. */
export async function openScreen(args: TopArguments, signal: AbortSignal): Promise<number> {
  const { stdin, stdout, env } = process;
  if (!args.batch && (!stdin.isTTY || !stdout.isTTY || env["TERM"] === "dumb")) {
    throw new UsageError("top needs a terminal: in a pipe or a script use top -b -n 2, or virstream watch");
  }
  const credentials = await readCredentials(args, env);
  const uris = [...args.uris, ...(args.hostsFile === undefined ? [] : await readHosts(args.hostsFile))];
  await using connection = await openSources(uris, credentials, signal, { waitForFirstConnection: true });
  const named = await withoutIds(connection, args.query, signal);
  const isOpen = groupMask(named.groups) === 0;
  const query = isOpen ? withPermittedGroups({ ...named, groups: SCREEN_GROUPS }, connection) : named;
  const paced = { ...args, intervalMs: paceOf(connection, args.intervalMs, args.isDefaultInterval) };
  if (args.batch) return await batch(paced, connection, query, signal);
  const examiner = new Examiner(connection, guestSources(connection, credentials));
  const session = new TopSession(connection, query, paced, examiner, showsColours(stdout, env));
  try {
    await session.run(signal);
  } finally {
    session.close();
  }
  return ExitCode.ok;
}

/**
 * The shortest time between two updates of the screen that show new records, in ms. With several hosts, the sweep of
 * each host ends at a time of its own, so the table changes more often than once per interval.
 */
const LEAST_PAUSE_MS = 250;

/** The screen of one user. It follows a table, handles keys, and draws. */
class TopSession {
  readonly #connection: Connection;
  readonly #query: StatsQuery;
  /** The options for credentials in the commands that the screen shows. */
  readonly #options: string;
  readonly #list = new GuestList(() => performance.now());
  readonly #terminal: Terminal;
  #state: ScreenState;
  #table: Table;
  /**
   * True if a server's shortest interval may replace the present interval. It may not while the present interval is the
   * one that the command line names.
   */
  #isPaceFree: boolean;
  #ready = false;
  #leave: () => void = () => {};
  readonly #diagnosis: LatestDiagnosis<GuestLine>;
  readonly #closed = new AbortController();
  /** Shows new records and growing ages even while a guest that does not answer delays the end of the sweep. */
  readonly #clock = setInterval(() => this.#show(), CLOCK_MS);

  constructor(connection: Connection, query: StatsQuery, args: TopArguments, examiner: Examiner, colours: boolean) {
    const { intervalMs } = args;
    const { recorded } = connection;
    this.#connection = connection;
    this.#options = credentialWords(args);
    this.#isPaceFree = args.isDefaultInterval && recorded === undefined;
    this.#query = query;
    this.#state = initialState(recorded?.intervalMs ?? intervalMs);
    this.#table = connection.table(query, { intervalMs });
    const explain = ({ row, since }: GuestLine, cancelled: AbortSignal): Promise<Diagnosis> => {
      const signal = AbortSignal.any([cancelled, this.#closed.signal]);
      return examiner.examineRates(row.rates, performance.now() - since, signal);
    };
    this.#diagnosis = new LatestDiagnosis(
      explain,
      () => {
        if (!this.#closed.signal.aborted) this.#draw();
      },
      () => performance.now(),
    );
    this.#terminal = new Terminal(process.stdin, process.stdout, colours, {
      onKey: (key) => this.#press(key),
      onRedraw: () => this.#draw(),
    });
  }

  /** Resolves when the user leaves. Rejects when the watch fails for good. */
  async run(signal: AbortSignal): Promise<void> {
    this.#draw();
    const left = new Promise<void>((resolve) => {
      this.#leave = resolve;
    });
    const aborted = once(signal, "abort", { signal: this.#closed.signal }).catch(() => {});
    await Promise.race([left, signal.aborted ? undefined : aborted, this.#follow()]);
    if (signal.aborted && signal.reason !== INTERRUPTED) throw signal.reason;
  }

  close(): void {
    clearInterval(this.#clock);
    this.#closed.abort();
    this.#table.close();
    this.#terminal.close();
  }

  /** Shows each change of the present table, until that table fails. */
  async #follow(): Promise<never> {
    for (;;) {
      const table = this.#table;
      try {
        await this.#showChanges(table);
      } catch (error) {
        if (table === this.#table && !this.#slowDown()) throw error;
      }
      if (table === this.#table) throw new VirstreamError("connection-closed", "the connection was closed");
    }
  }

  async #showChanges(table: Table): Promise<void> {
    for await (const _ of table.changes) {
      if (table !== this.#table || this.#slowDown()) break;
      this.#ready = true;
      this.#show();
      // The next item of `changes` covers all changes during this pause.
      await sleep(LEAST_PAUSE_MS, { signal: this.#closed.signal });
    }
  }

  /**
   * Uses the servers' shortest interval if it is longer than the present interval. The servers' shortest interval can
   * grow, because a host may be connected later. Returns true if the interval has changed.
   */
  #slowDown(): boolean {
    const { minIntervalMs = 0 } = this.#connection.driver;
    if (!this.#isPaceFree || minIntervalMs <= this.#state.intervalMs) return false;
    this.#state = { ...this.#state, intervalMs: minIntervalMs };
    this.#restart();
    return true;
  }

  /**
   * Shows the present rows of the table. After a change of the interval, the old rows stay until the new table has
   * rows.
   */
  #show(): void {
    const { absent, size } = this.#table;
    if (this.#state.paused) return;
    if (size > 0 || absent.length > 0 || this.#ready) {
      this.#list.update(this.#table.values(), absent, hostNames(this.#connection.host));
    }
    this.#draw();
  }

  #press(key: Key): void {
    const before = this.#state;
    const keys = this.#list.lines(before).map((line) => line.key);
    const after = press(before, key, keys, listRows(this.#terminal.size));
    // The interval of a recording is fixed. A new table would play it from its beginning again.
    this.#state = this.#connection.recorded === undefined ? after : { ...after, intervalMs: before.intervalMs };
    if (this.#state.quit) this.#leave();
    else {
      if (this.#state.page !== "guest") this.#diagnosis.forget();
      if (this.#state.intervalMs !== before.intervalMs) {
        this.#isPaceFree = true;
        if (!this.#slowDown()) this.#restart();
      }
      this.#draw();
    }
  }

  /**
   * Opens another table, because the interval has changed. The screen keeps the old rows until the new table has rows.
   */
  #restart(): void {
    const old = this.#table;
    this.#ready = false;
    this.#table = this.#connection.table(this.#query, { intervalMs: this.#state.intervalMs });
    old.close();
  }

  #draw(): void {
    const scene: Scene = {
      list: this.#list,
      state: this.#state,
      size: this.#terminal.size,
      sourceOf: (host) => hostUri(this.#connection, host),
      options: this.#options,
      source: this.#connection.uri,
      time: this.#time,
      guest: this.#state.page === "guest" ? this.#guestPage() : [],
      ready: this.#ready,
    };
    this.#terminal.draw(frame(scene));
  }

  /** The time of the rows of a recording, else the time of day. */
  get #time(): string {
    if (this.#connection.recorded === undefined) return new Date().toLocaleTimeString("en-GB");
    const newest = this.#table.values().reduce((most, { record }) => Math.max(most, record.sampledAt), 0);
    return newest === 0 ? "" : recordedTime(newest);
  }

  #guestPage(): StyledLine[] {
    const line = this.#list.line(this.#state.selected);
    if (line === undefined) return [{ text: "This guest has left.", style: "strong" }];
    if (!("row" in line)) {
      const { host, error } = line.host;
      return [
        { text: `${host} cannot be reached`, style: "alert" },
        { text: `${error.message} [${error.code}]`, style: "plain" },
      ];
    }
    const isWrong = line.verdict.bad || line.verdict.slow !== undefined;
    if (!isWrong) this.#diagnosis.forget();
    return guestPage(line, isWrong ? this.#diagnosis.of(line.key, line) : undefined, this.#state.raw);
  }
}
