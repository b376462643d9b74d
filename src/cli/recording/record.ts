import { pathToFileURL } from "node:url";
import type { Connection } from "../../client/connection.ts";
import { onAbort } from "../../driver/clock.ts";
import { invalid } from "../../model/error.ts";
import type { StatsQuery } from "../../model/query.ts";
import type { WatchOptions } from "../../model/watch.ts";
import { record as startRecording } from "../../outlets/recording/index.ts";
import { bytes } from "../../overview/quantity.ts";
import { shellWord } from "../../overview/shell-word.ts";
import { Notices } from "../format/notice.ts";
import { notify } from "../notify.ts";
import { paceOf } from "../pace.ts";
import { openSources, readCredentials, withoutIds } from "../source.ts";
import { ExitCode, INTERRUPTED } from "../usage.ts";
import { parseRecord } from "./arguments.ts";

/** `virstream record`: records until it is interrupted. Its messages go to stderr. Resolves with the exit code. */
export async function record(argv: readonly string[], signal: AbortSignal): Promise<number> {
  const args = parseRecord(argv);
  const { file } = args;
  const credentials = await readCredentials(args, process.env);
  await using connection = await openSources(args.uris, credentials, signal);
  if (connection.uri.startsWith("file:")) {
    throw invalid("a recording of a replay would have the times of the replay: copy the file");
  }
  const query = await withoutIds(connection, args.query, signal);
  const intervalMs = paceOf(connection, args.watch.intervalMs, args.isDefaultInterval);
  const watch = { ...args.watch, intervalMs };
  const recording = await startRecording(connection, file, { ...watch, ...args.rotation, query });
  notify(`recording ${connection.uri} into ${file}; interrupt to end`);
  void report(connection, query, watch, signal);
  onAbort(signal, () => void recording.close().catch(() => {}));
  if (signal.aborted) void recording.close().catch(() => {});
  await recording.ended;
  const { records, ticks } = recording.figures;
  notify(`recorded ${records} records of ${ticks} sweeps, ${bytes(recording.figures.bytes)}, in ${file}`);
  if (signal.aborted && signal.reason !== INTERRUPTED) throw signal.reason;
  notify(`look at it: virstream watch ${shellWord(`${pathToFileURL(file).href}?speed=1`)}`);
  return ExitCode.ok;
}

/**
 * Reports outages and gaps to stderr while the recording runs. The watch that it opens for this shares the sweeps of
 * the recording.
 */
async function report(
  connection: Connection,
  query: StatsQuery,
  options: WatchOptions,
  signal: AbortSignal,
): Promise<void> {
  const notices = new Notices(connection.uri);
  try {
    for await (const event of connection.watch(query, { ...options, signal }).events) {
      const notice = notices.of(event);
      if (notice !== undefined) notify(notice);
    }
  } catch {
    // The recording reports the error.
  }
}
