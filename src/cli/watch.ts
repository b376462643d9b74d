import type { Connection } from "../client/connection.ts";
import { measured, RateMeter } from "../client/rates.ts";
import { hostNames } from "../driver/matcher.ts";
import { entryOf } from "../driver/memo.ts";
import { groupMask } from "../model/group.ts";
import type { WatchEvent } from "../model/watch.ts";
import { parseWatch, type WatchArguments } from "./arguments.ts";
import { LineDisplay } from "./display.ts";
import { createFormat } from "./format/format.ts";
import { Notices, noColumnText } from "./format/notice.ts";
import { showsColours } from "./format/text.ts";
import { notify } from "./notify.ts";
import { paceOf } from "./pace.ts";
import { openSource, readCredentials, withoutIds, withPermittedGroups } from "./source.ts";
import { openScreen } from "./top.ts";
import { ExitCode, INTERRUPTED } from "./usage.ts";

/**
 * `virstream watch`: shows sweep after sweep, until it is interrupted or has shown `--count` of them. Resolves with the
 * exit code; without a count an interrupt is the normal end and no failure.
 */
export async function watch(argv: readonly string[], signal: AbortSignal): Promise<number> {
  const args = parseWatch(argv);
  if (isScreen(args)) {
    const { uri, query, options, isDefaultInterval, tokenFile, caFile } = args;
    const uris = uri === undefined ? [] : [uri];
    const { intervalMs } = options;
    const screen = { hostsFile: undefined, batch: false, count: undefined };
    return openScreen({ uris, query, intervalMs, isDefaultInterval, tokenFile, caFile, ...screen }, signal);
  }
  const credentials = await readCredentials(args, process.env);
  await using connection = await openSource(args.uri, credentials, signal);
  const named = await withoutIds(connection, args.query, signal);
  const query = args.namesGroups ? named : withPermittedGroups(named, connection);
  const intervalMs = paceOf(connection, args.options.intervalMs, args.isDefaultInterval);
  const count = new SweepCount(args.count ?? Number.POSITIVE_INFINITY);
  const display = openDisplay(args, connection);
  if (args.groupsWithoutColumn.length > 0) notify(noColumnText(args.groupsWithoutColumn));
  try {
    const { events } = connection.watch(query, { ...args.options, intervalMs, signal });
    await follow(events.chunks(), count, display, args.rates ? new RateMeter() : undefined, signal);
    if (!count.done) signal.throwIfAborted();
  } catch (error) {
    if (signal.reason === INTERRUPTED && args.count === undefined) return ExitCode.ok;
    throw error;
  } finally {
    display.end();
  }
  return count.incomplete ? ExitCode.incomplete : ExitCode.ok;
}

/**
 * Shows events until the count is reached, the signal is aborted, or the events end. While the display has no room, it
 * pulls nothing. The watch then keeps only the newest records, and reports the sweeps that it skipped.
 *
 * @param meter computes rates, if the user asked for them
 */
export async function follow(
  chunks: AsyncIterable<readonly WatchEvent[]>,
  count: SweepCount,
  display: Pick<LineDisplay, "take" | "room">,
  meter: RateMeter | undefined,
  signal: AbortSignal,
): Promise<void> {
  for await (const events of chunks) {
    for (const event of events) {
      display.take(event, meter && measured(meter, event));
      count.take(event);
      if (event.type !== "record" && count.done) return;
    }
    await display.room(signal);
  }
}

/**
 * True for a table without an end on a terminal: it is shown as a screen. A table of counters, a table of changes only,
 * and a table with an end are printed as lines.
 */
function isScreen({ format, rates, count, options }: WatchArguments): boolean {
  const { stdin, stdout, env } = process;
  const terminal = stdin.isTTY === true && stdout.isTTY === true && env["TERM"] !== "dumb";
  return terminal && format === "table" && rates && count === undefined && options.mode === "sample";
}

function openDisplay(args: WatchArguments, { uri, host, recorded }: Connection): LineDisplay {
  const { stdout, env } = process;
  const groups = groupMask(args.query.groups);
  const [terminal, colours] = [stdout.isTTY === true, showsColours(stdout, env)];
  const format = createFormat(args.format, {
    groups,
    rates: args.rates,
    raw: args.raw,
    hosts: host.includes(","),
    watch: true,
    recorded: recorded !== undefined,
    terminal,
    colours,
  });
  // virsh's output cannot show that a record is incomplete, so notices on stderr say it.
  return new LineDisplay(format, stdout, new Notices(uri, args.format === "virsh"));
}

interface HostCount {
  syncs: number;
  /** True if the host's last sweep had a record that is not `ok`. */
  incomplete: boolean;
}

/**
 * Counts the sweeps of a watch, host by host, until each host has had the requested number. A host counts from the
 * first event that names it. The count does not wait for a host that cannot be reached, unless no host can be reached.
 */
export class SweepCount {
  readonly #limit: number;
  readonly #hosts = new Map<string, HostCount>();
  readonly #absent = new Set<string>();
  #lost = false;

  /** @param limit the number of sweeps; Infinity: never done */
  constructor(limit: number) {
    this.#limit = limit;
  }

  take(event: WatchEvent): void {
    switch (event.type) {
      case "record":
        // If no host has a domain that the user named, the record of this domain names no host.
        if (event.record.domain.host !== "") this.#host(event.record.domain.host);
        break;
      case "sync":
        for (const name of hostNames(event.host)) {
          const host = this.#host(name);
          host.syncs++;
          host.incomplete = event.summary.ok < event.summary.domains;
          this.#absent.delete(name);
        }
        this.#lost = false;
        break;
      case "status":
        if (event.host === undefined) this.#lost = event.state !== "connected";
        else if (event.state === "removed") this.#remove(event.host);
        else this.#status(event.host, event.state === "connected");
        break;
    }
  }

  /** True when every reachable host has completed the requested number of sweeps. */
  get done(): boolean {
    const there = [...this.#hosts].filter(([name]) => !this.#absent.has(name));
    return !this.#lost && there.length > 0 && there.every(([, { syncs }]) => syncs >= this.#limit);
  }

  /** True when a host cannot be reached, or the last sweep of a host had a record that is not `ok`. */
  get incomplete(): boolean {
    return this.#lost || this.#absent.size > 0 || [...this.#hosts.values()].some(({ incomplete }) => incomplete);
  }

  #remove(hosts: string): void {
    for (const name of hosts.split(",")) {
      this.#absent.delete(name);
      this.#hosts.delete(name);
    }
  }

  #status(hosts: string, connected: boolean): void {
    for (const name of hosts.split(",")) {
      if (connected) this.#absent.delete(name);
      else this.#absent.add(name);
    }
    for (const name of hostNames(hosts)) this.#host(name);
  }

  #host(name: string): HostCount {
    return entryOf(this.#hosts, name, () => ({ syncs: 0, incomplete: false }));
  }
}
