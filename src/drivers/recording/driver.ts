import { type Clock, onAbort, STEADY_CLOCK } from "../../driver/clock.ts";
import type { Driver, OpenOptions, SweepContext } from "../../driver/driver.ts";
import { Selection } from "../../driver/selection.ts";
import { DomainMap } from "../../model/domain-map.ts";
import { invalid, VirstreamError } from "../../model/error.ts";
import type { Query } from "../../model/query.ts";
import type { DomainStatsRecord, Recorded } from "../../model/record.ts";
import type { Cadence, WatchSink } from "../../model/watch.ts";
import { Moments, type State } from "./moments.ts";
import { Playback } from "./playback.ts";
import { Recording } from "./recording.ts";
import { Replay } from "./replay.ts";
import { type Moment, parseRecordingUri, type ReplayOptions, timeOf } from "./uri.ts";

/** How many records a sweep yields at a time. */
const CHUNK_RECORDS = 1_024;

/** The facts that `open` takes from a recording and its URI. */
interface Opened extends Extent {
  readonly host: string;
  readonly hypervisor: string;
  /** The groups that were recorded, as a bit mask; 0: all that the hypervisor supports. */
  readonly groups: number;
  readonly intervalMs: number;
  readonly from: number | undefined;
  readonly to: number;
}

/** The files of a recording when they were last looked for, and the time that they cover. */
interface Extent {
  readonly recording: Recording;
  /** When the first key frame and the last frame were written, in ms since 1970. */
  readonly firstAt: number;
  readonly lastAt: number;
}

/**
 * A recording as a driver. Each watch has its own replay, which begins at the URI's `from` and ends the watch at the
 * URI's `to`. A sweep has the newest record of each domain at one moment: the query's `at`, if the query has `at`.
 * For the driver's first sweep without `at`, the moment is the URI's `from`. For later sweeps without `at`, the moment
 * advances from there at the URI's `speed`, up to `to`. If the query has no `at` and the URI has no `from`, the moment
 * is the URI's `to`, by default the end of the recording.
 */
export class RecordingDriver implements Driver {
  readonly uri: string;
  readonly host: string;
  readonly hypervisor: string;
  #opened: Opened;
  readonly #speed: number;
  readonly #clock: Clock;
  readonly #replays = new Map<Replay, Promise<void>>();
  readonly #moments = new Moments(this);
  readonly #end = new AbortController();
  /** When the first sweep without `at` began, on `#clock`. */
  #sweptAt: number | undefined;

  private constructor(uri: string, opened: Opened, speed: number, clock: Clock) {
    this.uri = uri;
    this.host = opened.host;
    this.hypervisor = opened.hypervisor;
    this.#opened = opened;
    this.#speed = speed;
    this.#clock = clock;
  }

  /**
   * @param clock a steady clock
   * @throws VirstreamError `invalid-uri`, `invalid-argument`; the signal's reason when the signal is aborted
   */
  static async open(uri: string, clock: Clock = STEADY_CLOCK, signal?: AbortSignal): Promise<RecordingDriver> {
    const options = parseRecordingUri(uri);
    const opened = await examine(options);
    signal?.throwIfAborted();
    return new RecordingDriver(uri, opened, options.speed, clock);
  }

  get recorded(): Recorded {
    const { from, to, firstAt, lastAt, intervalMs } = this.#opened;
    return { from: Math.ceil(from ?? firstAt), to: Math.ceil(Math.min(to, lastAt)), intervalMs };
  }

  /** Looks at the files again, because a recorder may have written more, or have begun another file. */
  async refresh(): Promise<void> {
    const { recording, to, lastAt } = this.#opened;
    if (lastAt >= to) return;
    // If the files were deleted since they were found, their times still count as recorded.
    const extent = await extentOf(recording.path, recording).catch(() => undefined);
    if (extent !== undefined) this.#opened = { ...this.#opened, ...extent };
  }

  async *sweep(query: Query, context: SweepContext): AsyncGenerator<readonly DomainStatsRecord[]> {
    const { signal, expect } = context;
    const at = query.at === undefined ? this.#position() : await this.#moment(query.at);
    const { recording, groups } = this.#opened;
    const selection = new Selection(query, groups);
    const take = (state: State): DomainStatsRecord[] => this.#select(state, selection, at, context);
    const records = await this.#moments.read(recording, at, AbortSignal.any([signal, this.#end.signal]), take);
    if (this.#end.signal.aborted) throw this.#end.signal.reason;
    if (records === undefined) return;
    expect(records.length);
    for (let i = 0; i < records.length && !signal.aborted; i += CHUNK_RECORDS)
      yield records.slice(i, i + CHUNK_RECORDS);
  }

  watch(query: Query, cadence: Cadence, sink: WatchSink): () => void {
    const { recording, groups, from = Number.NEGATIVE_INFINITY, to } = this.#opened;
    const pieces = recording.pieces(from);
    const context = { owner: this, pieces, from, to, speed: this.#speed, clock: this.#clock };
    const replay = new Replay(context, new Selection(query, groups), cadence, sink);
    const unlisten = onAbort(this.#end.signal, () => {
      replay.stop();
      sink.end(this.#end.signal.reason);
    });
    const over = replay.run().finally(() => {
      unlisten();
      this.#replays.delete(replay);
    });
    this.#replays.set(replay, over);
    return () => {
      unlisten();
      replay.stop();
    };
  }

  async close(): Promise<void> {
    this.#end.abort(new VirstreamError("connection-closed", `the connection to ${this.uri} was closed`));
    await Promise.all([...this.#replays.values(), this.#moments.close()]);
  }

  /** The records that a query selects from the state at a moment. Reports the hosts that were absent. */
  #select(
    { records, statuses }: State,
    selection: Selection,
    at: number,
    { absent }: SweepContext,
  ): DomainStatsRecord[] {
    const selected: DomainStatsRecord[] = [];
    const known = new DomainMap<DomainStatsRecord>();
    for (const record of records) {
      const own = selection.of(record);
      if (own === undefined) continue;
      known.set(own.domain, own);
      selected.push(own);
    }
    const sampledAt = Math.round(Math.min(at, this.#opened.lastAt));
    selected.push(...selection.unknown(known, { host: this.host, owner: this, sampledAt }));
    for (const { host = this.host, error, state } of statuses) {
      if (host.split(",").some((name) => selection.hasHost(name))) {
        absent?.({ host, error: error ?? new VirstreamError("connection-lost", `it was ${state}`) });
      }
    }
    return selected;
  }

  /**
   * The moment for a query's `at`, but not later than `to`, in ms since 1970. If `at` is after the known end of the
   * recording, this method looks at the files again, because a recorder may have written more.
   */
  async #moment(at: number): Promise<number> {
    if (at > this.#opened.lastAt) await this.refresh();
    const { from } = this.recorded;
    if (at < from) throw invalid(`at is before the beginning of the recording: ${spanOf(this.#opened)}`);
    return Math.min(at, this.#opened.to);
  }

  /** The moment of a sweep without `at`, in ms since 1970. */
  #position(): number {
    const { from, to } = this.#opened;
    if (from === undefined) return to;
    this.#sweptAt ??= this.#clock.now();
    const passed = this.#clock.now() - this.#sweptAt;
    // At infinite speed, no time of the recording corresponds to a time of the clock, so the moment stays `from`.
    return this.#speed === Number.POSITIVE_INFINITY ? from : Math.min(from + passed * this.#speed, to);
  }
}

/** Opens a driver for a file: URI. */
export function openRecording(uri: string, { signal }: OpenOptions): Promise<RecordingDriver> {
  return RecordingDriver.open(uri, STEADY_CLOCK, signal);
}

async function examine({ path, from, to }: ReplayOptions): Promise<Opened> {
  const extent = await extentOf(path);
  const { recording, firstAt, lastAt } = extent;
  const at = (moment: Moment): number => timeOf(moment, { from: firstAt, to: lastAt });
  const begin = from === undefined ? undefined : at(from);
  const end = to === undefined ? Number.POSITIVE_INFINITY : at(to);
  const span = spanOf(extent);
  if (begin !== undefined && begin > lastAt) throw invalid(`from= is after the end of ${path}: ${span}`);
  if (end < firstAt) throw invalid(`to= is before the beginning of ${path}: ${span}`);
  if (begin !== undefined && begin > end) throw invalid("from= is after to=");
  const { welcome, description } = await described(recording);
  if (welcome === undefined || description === undefined)
    throw invalid(`${path} has no whole key frame: nothing to replay`);
  return {
    ...{ ...extent, host: welcome.host, hypervisor: welcome.hypervisor },
    ...{ groups: description.groups, intervalMs: description.intervalMs, from: begin, to: end },
  };
}

function extentOf(path: string): Promise<Extent>;
function extentOf(path: string, known: Recording): Promise<Extent | undefined>;
/**
 * Finds the files of a recording, and the time that they cover.
 *
 * @param known the files that were found before; returns undefined if they are still the same
 */
async function extentOf(path: string, known?: Recording): Promise<Extent | undefined> {
  const recording = await Recording.open(path);
  if (known?.isSame(recording)) return undefined;
  const { first, last } = await recording.ends();
  return { recording, firstAt: first.at, lastAt: last.at };
}

function spanOf({ firstAt, lastAt }: Extent): string {
  return `it is from ${new Date(firstAt).toISOString()} to ${new Date(lastAt).toISOString()}`;
}

/**
 * Returns a playback that has applied the beginning of the last key frame: the description and the `welcome` message.
 * If that key frame was cut, the playback has applied the first key frame whose beginning is complete.
 */
async function described(recording: Recording): Promise<Playback> {
  const playback = new Playback({});
  for (const time of [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
    for await (const piece of recording.pieces(time)) {
      playback.apply(piece);
      if (playback.welcome !== undefined) return playback;
    }
  }
  return playback;
}
