import "../../client/watching.ts";
import type { Connection } from "../../client/connection.ts";
import type { VirstreamError } from "../../model/error.ts";
import { check, checkOptions, type Members, whole } from "../../model/options.ts";
import { checkQuery, type StatsQuery } from "../../model/query.ts";
import { checkCadence, type WatchOptions } from "../../model/watch.ts";
import { FrameWriter } from "./frame-writer.ts";
import { Recorder, type RecorderClocks } from "./recorder.ts";

/** Selects what to record, and when to continue in another file. Every member has a default. */
export interface RecordOptions extends WatchOptions {
  /** Selects domains and groups. Default: all. */
  readonly query?: StatsQuery;
  /** The file is rotated after the tick at which it reaches this size, in bytes, at least 4,096. Default: no limit. */
  readonly rotateBytes?: number;
  /** The file is rotated after the tick at which it reaches this age, in ms, at least 1,000. Default: no limit. */
  readonly rotateAgeMs?: number;
  /** How many rotated files are kept; the oldest are deleted. Default: all. */
  readonly keep?: number;
}

/** Counts since the call of record(), without what the file already had. */
export interface RecordingFigures {
  readonly records: number;
  /** The number of completed sweeps. */
  readonly ticks: number;
  readonly bytes: number;
}

/** A recording that is being made. */
export interface ActiveRecording extends AsyncDisposable {
  /** The file that is written. */
  readonly path: string;
  /** The counts so far. This object changes while the recording goes on. */
  readonly figures: RecordingFigures;
  /**
   * Resolves at the end: after `close()`, when the connection is closed, or when a replay that is recorded ends.
   * Rejects with `output-failed` when the file cannot be written, and with the watch's error when the watch fails;
   * everything that was written before is complete.
   */
  readonly ended: Promise<void>;
  /**
   * Ends the recording: writes the frames that wait, and closes the file. Rejects as `ended` does. Calling it twice is
   * allowed.
   */
  close(): Promise<void>;
}

const MEMBERS = {
  query: undefined,
  intervalMs: undefined,
  mode: undefined,
  heartbeatMs: undefined,
  rotateBytes: whole(4_096, Number.MAX_SAFE_INTEGER),
  rotateAgeMs: whole(1_000, Number.MAX_SAFE_INTEGER),
  keep: whole(1, 999_999),
} satisfies Members;

/** Starts a recording; see record(). @param clocks for tests */
export async function startRecording(
  connection: Connection,
  path: string,
  options: RecordOptions,
  clocks: RecorderClocks = {},
): Promise<ActiveRecording> {
  checkOptions("a recording", options, MEMBERS);
  check("path", path, ["the name of a file", (value) => typeof value === "string" && value !== ""]);
  const { query = {}, rotateBytes, rotateAgeMs, keep, ...watch } = options;
  const checked = checkQuery(query, connection.driver);
  const cadence = checkCadence(watch);
  let finish: (error: VirstreamError | undefined) => void = () => {};
  const finished = new Promise<VirstreamError | undefined>((resolve) => {
    finish = resolve;
  });
  const writer = await FrameWriter.open(path, { bytes: rotateBytes, ageMs: rotateAgeMs, keep }, finish);
  let recorder: Recorder;
  try {
    recorder = new Recorder({
      feed: connection.sampling.feed(checked, cadence),
      writer,
      source: connection.driver,
      groups: checked.groups,
      over: finish,
      ...clocks,
    });
  } catch (error) {
    await writer.close();
    throw error;
  }
  const ended = finished.then(async (error) => {
    recorder.close();
    await writer.close();
    // Also after a regular end, the disk may have had no room for the last frames.
    const failure = error === undefined || isRegularEnd(error) ? writer.error : error;
    if (failure !== undefined) throw failure;
  });
  // Without this, a recording that fails would end a program that does not use `ended`, by an unhandled rejection.
  ended.catch(() => {});
  const close = (): Promise<void> => {
    finish(undefined);
    return ended;
  };
  return { path, figures: recorder.figures, ended, close, [Symbol.asyncDispose]: close };
}

function isRegularEnd({ code }: VirstreamError): boolean {
  return code === "connection-closed" || code === "end-of-recording";
}
