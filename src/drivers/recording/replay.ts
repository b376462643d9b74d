import { type Clock, sleep } from "../../driver/clock.ts";
import { eventLoopTurn } from "../../driver/event-loop.ts";
import { hostNames } from "../../driver/matcher.ts";
import { sameRecord } from "../../driver/same-record.ts";
import type { Selection } from "../../driver/selection.ts";
import { SweepTally } from "../../driver/tally.ts";
import { DomainMap } from "../../model/domain-map.ts";
import { VirstreamError } from "../../model/error.ts";
import type { Domain, DomainStatsRecord } from "../../model/record.ts";
import type { Cadence, GapEvent, StatusEvent, SyncEvent, WatchSink } from "../../model/watch.ts";
import { type EventSink, Playback } from "./playback.ts";
import type { FilePiece } from "./recording.ts";

/** How long a replay reads between two turns of the event loop, in ms. */
const WORK_MS = 10;
/** The longest time for which a timer can be set, in ms. */
const MAX_TIMER_MS = 2_147_483_647;

/** The inputs of a replay. */
export interface ReplayContext {
  readonly owner: object;
  readonly pieces: AsyncIterable<FilePiece>;
  /** The beginning and the end of the replayed time, in ms since 1970. */
  readonly from: number;
  readonly to: number;
  readonly speed: number;
  readonly clock: Clock;
}

/** A domain, with the record that the watch's sink got last. */
interface Shown {
  readonly domain: Domain;
  readonly record: DomainStatsRecord;
  /** The recorded time at which the sink got `record`. */
  readonly at: number;
}

/**
 * One replay of a recording into the sink of a watch. The time between two events is the recorded time between them,
 * divided by `speed`. At the end the replay ends the sink with `end-of-recording`. It skips periods in which no
 * recorder ran.
 */
export class Replay implements EventSink {
  readonly #context: ReplayContext;
  readonly #selection: Selection;
  readonly #cadence: Cadence;
  readonly #sink: WatchSink;
  readonly #playback: Playback;
  readonly #shown = new DomainMap<Shown>();
  /** True if the sink gets events: from the recorded time `from` on. */
  #begun = false;
  /** The recorded time of the present frame. */
  #at = 0;
  /** When the present frame is due, on the clock. */
  #due = 0;
  readonly #stop = new AbortController();

  constructor(context: ReplayContext, selection: Selection, cadence: Cadence, sink: WatchSink) {
    this.#context = context;
    this.#selection = selection;
    this.#cadence = cadence;
    this.#sink = sink;
    this.#playback = new Playback(context.owner, this);
  }

  /** Replays to the end. Never rejects. */
  async run(): Promise<void> {
    try {
      await this.#run();
      this.#end(new VirstreamError("end-of-recording", "the recording ends here: watch again to see it again"));
    } catch (thrown) {
      this.#end(VirstreamError.from(thrown));
    }
  }

  /** Stops the replay: the sink is not called any more. */
  stop(): void {
    this.#stop.abort();
  }

  record(record: DomainStatsRecord): void {
    if (!this.#begun) return;
    const { domain } = record;
    const selected = this.#selection.of(record);
    const before = this.#shown.get(domain);
    if (selected === undefined) {
      if (before !== undefined) this.gone(domain);
      return;
    }
    if (before !== undefined && this.#cadence.mode === "on-change" && sameRecord(before.record, selected)) {
      if (this.#at - before.at < this.#cadence.heartbeatMs) return;
    }
    this.#shown.set(domain, { domain, record: selected, at: this.#at });
    this.#sink.record(selected);
  }

  gone(domain: Domain): void {
    if (this.#shown.get(domain) === undefined) return;
    this.#shown.delete(domain);
    this.#sink.gone(domain);
  }

  event(event: SyncEvent | GapEvent | StatusEvent): void {
    if (!this.#begun) return;
    if (event.host !== undefined && !event.host.split(",").some((host) => this.#selection.hasHost(host))) return;
    this.#sink.event(event.type === "sync" ? this.#selectedSync(event) : event);
  }

  async #run(): Promise<void> {
    const { pieces, from, to, clock, speed } = this.#context;
    this.#due = clock.now();
    let workedSince = performance.now();
    for await (const piece of pieces) {
      if (this.#stop.signal.aborted) return;
      if (piece.kind === "damage") {
        this.#playback.apply(piece);
        continue;
      }
      if (piece.at > to) break;
      if (piece.at >= from && !this.#begun) {
        this.#begin(from);
        // Waits for the recorded time from `from` to this frame. After a pause of the recorder, `delayMs` is 0, so the
        // replay skips the pause.
        if (Number.isFinite(from)) await this.#wait(Math.min(piece.at - from, piece.delayMs) / speed);
      } else if (this.#begun) await this.#wait(piece.delayMs / speed);
      if (this.#stop.signal.aborted) return;
      this.#at = piece.at;
      this.#playback.apply(piece);
      if (this.#begun) this.#sink.flush();
      if (speed === Number.POSITIVE_INFINITY) await this.#sink.ready?.();
      if (performance.now() - workedSince >= WORK_MS) {
        await eventLoopTurn();
        workedSince = performance.now();
      }
    }
    // If all frames are before `from`, the sink still gets the last state.
    if (!this.#begun && !this.#stop.signal.aborted) this.#begin(from);
  }

  /** Gives the sink the state at `from`. */
  #begin(from: number): void {
    this.#begun = true;
    this.#at = from;
    const { statuses, sync } = this.#playback;
    for (const status of statuses) this.event(status);
    for (const record of this.#playback.records()) this.record(record);
    if (sync !== undefined) this.event(sync);
    this.#sink.flush();
  }

  /**
   * Makes a `sync` event whose summary counts the selected domains only. Before that, sends the sink a record for each
   * domain that the query names and that does not exist.
   */
  #selectedSync(sync: SyncEvent): SyncEvent {
    if (this.#selection.hasAllDomains) return sync;
    const { summary } = sync;
    const tally = new SweepTally(summary.startedAt);
    const hosts = new Set(hostNames(sync.host));
    const { owner } = this.#context;
    const unknown = [...this.#selection.unknown(this.#shown, { host: sync.host, owner, sampledAt: summary.startedAt })];
    for (const record of unknown) this.#sink.record(record);
    tally.add(unknown);
    for (const { record } of this.#shown) if (hosts.has(record.domain.host)) tally.add([record]);
    for (const host of summary.absent ?? []) if (this.#selection.hasHost(host.host)) tally.addAbsent(host);
    return { ...sync, summary: tally.summary(summary.tookMs) };
  }

  async #wait(ms: number): Promise<void> {
    this.#due += ms;
    const { clock } = this.#context;
    const { signal } = this.#stop;
    for (let left = this.#due - clock.now(); left > 0 && !signal.aborted; left = this.#due - clock.now()) {
      await sleep(Math.min(left, MAX_TIMER_MS), { signal, clock }).catch(() => {});
    }
  }

  #end(error: VirstreamError): void {
    if (this.#stop.signal.aborted) return;
    this.stop();
    this.#sink.end(error);
  }
}
