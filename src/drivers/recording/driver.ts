import { onAbort } from "../../driver/abort.ts";
import { type Clock, STEADY_CLOCK } from "../../driver/clock.ts";
import type { Driver, OpenOptions, SweepContext } from "../../driver/driver.ts";
import { Selection } from "../../driver/selection.ts";
import { DomainMap } from "../../model/domain-map.ts";
import { invalid, VirstreamError } from "../../model/error.ts";
import type { Query } from "../../model/query.ts";
import type { DomainStatsRecord } from "../../model/record.ts";
import type { Cadence, WatchSink } from "../../model/watch.ts";
import { Playback } from "./playback.ts";
import { Recording } from "./recording.ts";
import { Replay } from "./replay.ts";
import { type Moment, parseRecordingUri, type ReplayOptions } from "./uri.ts";

/** How many records a sweep yields at a time. */
const CHUNK_RECORDS = 1_024;

/** What opening a recording found out. */
interface Opened {
  readonly recording: Recording;
  readonly host: string;
  readonly hypervisor: string;
  /** The groups that were recorded. */
  readonly groups: number;
  readonly from: number | undefined;
  readonly to: number;
  /** When the last frame was written, in ms since 1970. */
  readonly lastAt: number;
}

/**
 * A recording as a driver. Each watch is a replay of its own, from `from` to `to`, and then completes. A sweep has the newest record of
 * each domain at one moment: at `to`, or, if there is a `from`, at the moment that a replay which began with the first sweep has
 * reached.
 */
export class RecordingDriver implements Driver {
  readonly uri: string;
  readonly host: string;
  readonly hypervisor: string;
  readonly #opened: Opened;
  readonly #speed: number;
  readonly #clock: Clock;
  readonly #replays = new Map<Replay, Promise<void>>();
  readonly #end = new AbortController();
  /** When the first sweep began, on the clock. */
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
   * @throws VirstreamError `invalid-uri`, `invalid-argument`
   */
  static async open(uri: string, clock: Clock = STEADY_CLOCK): Promise<RecordingDriver> {
    const options = parseRecordingUri(uri);
    return new RecordingDriver(uri, await examine(options), options.speed, clock);
  }

  async *sweep(query: Query, { signal, expect, absent }: SweepContext): AsyncGenerator<readonly DomainStatsRecord[]> {
    const { recording, groups, lastAt } = this.#opened;
    const selection = new Selection(query, groups);
    const at = this.#position();
    const playback = new Playback(this, { record: () => {}, gone: () => {}, event: () => {} });
    for await (const piece of recording.pieces(at)) {
      if (signal.aborted) return;
      if (this.#end.signal.aborted) throw this.#end.signal.reason;
      if (piece.kind === "damage") playback.skip(piece);
      else if (piece.at > at) break;
      else playback.apply(piece);
    }
    const records: DomainStatsRecord[] = [];
    const known = new DomainMap<DomainStatsRecord>();
    for (const record of playback.records()) {
      const selected = selection.of(record);
      if (selected === undefined) continue;
      known.set(selected.domain, selected);
      records.push(selected);
    }
    records.push(
      ...selection.unknown(known, { host: this.host, owner: this, sampledAt: Math.round(Math.min(at, lastAt)) }),
    );
    expect(records.length);
    for (const { host = this.host, error, state } of playback.statuses) {
      if (host.split(",").some((name) => selection.hasHost(name))) {
        absent?.({ host, error: error ?? new VirstreamError("connection-lost", `it was ${state}`) });
      }
    }
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
    await Promise.all(this.#replays.values());
  }

  /** The moment whose state a sweep has, in ms since 1970. */
  #position(): number {
    const { from, to } = this.#opened;
    if (from === undefined) return to;
    this.#sweptAt ??= this.#clock.now();
    const passed = this.#clock.now() - this.#sweptAt;
    // At the greatest speed, no time of the recording belongs to a time of the clock.
    return this.#speed === Number.POSITIVE_INFINITY ? from : Math.min(from + passed * this.#speed, to);
  }
}

/** Opens a driver for a file: URI. */
export function openRecording(uri: string, _options: OpenOptions): Promise<RecordingDriver> {
  return RecordingDriver.open(uri);
}

async function examine({ path, from, to }: ReplayOptions): Promise<Opened> {
  const recording = await Recording.open(path);
  const { first, last } = await recording.ends();
  const at = (moment: Moment): number => {
    if ("at" in moment) return moment.at;
    return "afterStart" in moment ? first.at + moment.afterStart : last.at - moment.beforeEnd;
  };
  const begin = from === undefined ? undefined : at(from);
  const end = to === undefined ? Number.POSITIVE_INFINITY : at(to);
  const span = `it is from ${new Date(first.at).toISOString()} to ${new Date(last.at).toISOString()}`;
  if (begin !== undefined && begin > last.at) throw invalid(`from= is after the end of ${path}: ${span}`);
  if (end < first.at) throw invalid(`to= is before the beginning of ${path}: ${span}`);
  if (begin !== undefined && begin > end) throw invalid("from= is after to=");
  const { welcome, description } = await described(recording);
  if (welcome === undefined || description === undefined)
    throw invalid(`${path} has no whole key frame: nothing to replay`);
  return {
    ...{ recording, host: welcome.host, hypervisor: welcome.hypervisor, groups: description.groups },
    ...{ from: begin, to: end, lastAt: last.at },
  };
}

/** The newest key frame whose beginning is whole: the last one may have been cut. */
async function described(recording: Recording): Promise<Playback> {
  const owner = {};
  const playback = new Playback(owner, { record: () => {}, gone: () => {}, event: () => {} });
  for (const time of [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
    for await (const piece of recording.pieces(time)) {
      if (piece.kind === "damage") playback.skip(piece);
      else playback.apply(piece);
      if (playback.welcome !== undefined) return playback;
    }
  }
  return playback;
}
