import type { Connection } from "../../client/connection.ts";
import type { DomainRates } from "../../client/rates/domain-rates.ts";
import type { TableRow } from "../../client/table/rows.ts";
import type { KnownGroup } from "../../model/group.ts";
import { recordedRow } from "../../overview/line.ts";
import { GuestSamples, guestsAt, type Moment, newestOf } from "./moments.ts";
import { TimeBar } from "./time-bar.ts";

/** While the replay plays, it shows another moment after this many ms of real time. */
const TICK_MS = 1_000;
/**
 * The time between two checks whether the recording has grown, in ms. While the replay plays at the recording's end, it
 * checks at each tick.
 */
const GROWTH_MS = 5_000;

/** Functions of the page that a replay calls: they show moments, and say what is on the screen. */
export interface ReplayEvents {
  /** The groups that the list needs; undefined if the open guest covers the list. */
  readonly groups: () => readonly KnownGroup[] | undefined;
  /** The key of the open guest. */
  readonly guest: () => string | undefined;
  /** @param jumped true if the moment does not follow the moment before */
  readonly onList: (moment: Moment, jumped: boolean) => Promise<void>;
  /**
   * @param samples the new samples; the last sample is the newest, and belongs to `row`
   * @param jumped true if these samples do not continue those of the charts
   */
  readonly onGuest: (row: TableRow, samples: readonly DomainRates[], jumped: boolean) => void;
  /** The user or the replay has moved to another moment. */
  readonly onMoment: (at: number) => void;
  readonly onError: (error: unknown) => void;
}

/**
 * Shows a recording at the moment that the user chooses, and plays it from there. While it stands still, it only asks,
 * every five seconds, whether the recording has grown.
 */
export class Replay {
  readonly bar: TimeBar;
  readonly #connection: Connection;
  readonly #events: ReplayEvents;
  readonly #end = new AbortController();
  readonly #timer: ReturnType<typeof setInterval>;
  #at: number;
  #to: number;
  #speed = 1;
  #playing: boolean;
  /** True while the user drags the slider. The time then stands still. */
  #held = false;
  /** How the moment changed, if the new moment is not on the screen yet; undefined if the screen shows it. */
  #due: "jump" | "step" | undefined = "jump";
  #showing = false;
  #active = false;
  #samples: { readonly key: string; readonly of: GuestSamples } | undefined;
  /** A guest of the list, whose newest record shows whether the recording has grown. */
  #known: TableRow | undefined;
  #lookedAt = 0;
  /** When the moment last changed, or the page was last shown again, on the steady clock. */
  #movedAt = performance.now();

  /** @param at the first moment; undefined: it plays from the beginning */
  constructor(connection: Connection, at: number | undefined, events: ReplayEvents) {
    const recorded = connection.recorded!;
    this.#connection = connection;
    this.#events = events;
    this.#to = recorded.to;
    this.#at = Math.min(Math.max(at ?? recorded.from, recorded.from), this.#to);
    this.#playing = at === undefined;
    this.bar = new TimeBar(recorded, {
      onSeek: (to, final) => {
        this.#held = !final;
        this.seek(to);
      },
      onPlay: (playing) => this.#play(playing),
      onSpeed: (speed) => {
        this.#speed = speed;
      },
    });
    this.bar.show(this.#at, this.#playing);
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
  }

  /** The moment that is chosen, in ms since 1970. */
  get at(): number {
    return this.#at;
  }

  /** Goes to a moment. */
  seek(at: number): void {
    this.#at = at;
    this.#movedAt = performance.now();
    this.#due = "jump";
    this.#run();
  }

  /** Goes to a moment from the page's address, and stays there. */
  stayAt(at: number): void {
    this.#playing = false;
    this.seek(Math.min(Math.max(at, this.#connection.recorded!.from), this.#to));
  }

  /**
   * True lets the replay read. False stops it while the page is hidden, and while its connection is lost. If the page
   * sets true again, because the screen has changed, the replay shows the present moment again.
   */
  set active(active: boolean) {
    this.#active = active;
    this.#movedAt = performance.now();
    this.#due ??= "step";
    this.#run();
  }

  close(): void {
    clearInterval(this.#timer);
    this.#end.abort();
    this.bar.element.remove();
  }

  #play(playing: boolean): void {
    this.#playing = playing;
    // At the end, playing starts again from the beginning.
    if (playing && this.#at >= this.#to) this.seek(this.#connection.recorded!.from);
    this.bar.show(this.#at, playing);
  }

  #tick(): void {
    if (!this.#active) return;
    void this.#grow();
    if (!this.#playing || this.#held || this.#showing) return;
    const at = Math.min(this.#at + this.#speed * TICK_MS, this.#to);
    if (at > this.#at) {
      this.#at = at;
      this.#movedAt = performance.now();
      this.#due ??= "step";
      this.#run();
      // A running recorder writes more within two of its intervals. If nothing more comes, playing ends.
    } else if (performance.now() - this.#movedAt > 2 * this.#connection.recorded!.intervalMs + GROWTH_MS) {
      this.#play(false);
    }
  }

  /**
   * Shows the moments that are due, one after the other. While the user drags the slider, it leaves out the moments in
   * between.
   */
  #run(): void {
    this.bar.show(this.#at, this.#playing);
    if (!this.#showing) void this.#showAll();
  }

  async #showAll(): Promise<void> {
    this.#showing = true;
    while (this.#due !== undefined && this.#active && !this.#end.signal.aborted) {
      const jumped = this.#due === "jump";
      this.#due = undefined;
      try {
        await this.#show(this.#at, jumped);
      } catch (error) {
        if (!this.#end.signal.aborted) this.#events.onError(error);
      }
    }
    this.#showing = false;
  }

  async #show(at: number, jumped: boolean): Promise<void> {
    const { signal } = this.#end;
    const groups = this.#events.groups();
    if (groups !== undefined) {
      const moment = await guestsAt(this.#connection, groups, at, signal);
      if (signal.aborted) return;
      this.#known = moment.rows[0];
      await this.#events.onList(moment, jumped);
    }
    if (!this.#held) this.#events.onMoment(at);
    const key = this.#events.guest();
    if (jumped || key !== this.#samples?.key) this.#samples = undefined;
    // While the slider is dragged, the charts wait.
    if (key === undefined || this.#held) return;
    const isNew = this.#samples === undefined;
    this.#samples ??= { key, of: new GuestSamples(this.#connection, key) };
    const samples = await this.#samples.of.upTo(at, signal);
    const last = samples.at(-1);
    if (last !== undefined && key === this.#events.guest()) this.#events.onGuest(recordedRow(last, at), samples, isNew);
  }

  /** Finds out up to which moment a recorder has written the recording. */
  async #grow(): Promise<void> {
    const now = performance.now();
    const atEnd = this.#playing && this.#at >= this.#to;
    if (this.#known === undefined || now - this.#lookedAt < (atEnd ? TICK_MS : GROWTH_MS)) return;
    this.#lookedAt = now;
    // While the connection is lost, the call fails, and the end of the recording stays as it was.
    const to = await newestOf(this.#connection, this.#known.domain).catch(() => undefined);
    if (to === undefined || to <= this.#to) return;
    this.#to = to;
    this.bar.extend(to);
  }
}
