import { RateMeter } from "../client/rates.ts";
import { groupMask } from "../model/group.ts";
import type { WatchEvent } from "../model/watch.ts";
import type { WatchArguments } from "./arguments.ts";
import { type Display, LineDisplay } from "./display.ts";
import { createWatchFormat } from "./format/formats.ts";
import { Notices } from "./format/notice.ts";
import { Screen } from "./format/screen.ts";
import { openSource, readToken } from "./source.ts";
import { SweepCount } from "./sweep-count.ts";
import { TerminalDisplay } from "./terminal.ts";
import { ExitCode, INTERRUPTED } from "./usage.ts";

/**
 * `virstream watch`: shows sweep after sweep, until it is interrupted or has had as many as were wanted. Resolves with the
 * exit code: to be interrupted is how a watch without a count ends, and no failure.
 */
export async function watch(args: WatchArguments, signal: AbortSignal): Promise<number> {
  const token = await readToken(args.tokenFile, process.env);
  await using connection = await openSource(args.uri, token, signal, (notice) => tell(notice));
  const stream = connection.watch(args.query, { ...args.options, signal });
  const count = new SweepCount(args.count ?? Number.POSITIVE_INFINITY);
  const display = openDisplay(args, connection.uri, connection.host.includes(","));
  try {
    await follow(stream.events.chunks(), count, display, args.rates ? new RateMeter() : undefined, signal);
  } catch (error) {
    if (signal.reason === INTERRUPTED && args.count === undefined) return ExitCode.ok;
    throw error;
  } finally {
    display.end();
  }
  return count.incomplete ? ExitCode.incomplete : ExitCode.ok;
}

/**
 * Shows what happens, until the count is done, the signal is aborted, or the events end. Nothing more is pulled while the
 * display has no room: the watch then sums up by itself, and says what it left out.
 *
 * @param meter computes rates, where they are wanted
 */
export async function follow(
  chunks: AsyncIterable<readonly WatchEvent[]>,
  count: SweepCount,
  display: Display,
  meter: RateMeter | undefined,
  signal: AbortSignal,
): Promise<void> {
  for await (const events of chunks) {
    for (const event of events) {
      display.take(event, meter && measure(meter, event));
      count.take(event);
      if (event.type !== "record" && count.done) return;
    }
    await display.room(signal);
  }
}

/** The rates of the event's record; of other events the meter only learns. */
function measure(meter: RateMeter, event: WatchEvent): ReturnType<RateMeter["take"]> | undefined {
  if (event.type === "record") return meter.take(event.record);
  if (event.type === "gone") meter.forget(event.domain);
  if (event.type === "gap") meter.gap(event.host);
  return undefined;
}

function openDisplay(args: WatchArguments, source: string, hosts: boolean): Display {
  const { stdout, env } = process;
  const groups = groupMask(args.query.groups);
  if (args.format === "table" && stdout.isTTY && env["TERM"] !== "dumb") {
    return new TerminalDisplay(new Screen(source, groups, args.rates), stdout);
  }
  const format = createWatchFormat(args.format, groups, args.rates, hosts);
  // virsh's output has no place for what is missing of a domain.
  return new LineDisplay(format, stdout, new Notices(source, args.format === "virsh"), tell);
}

function tell(line: string): void {
  process.stderr.write(`virstream: ${line}\n`);
}
