import type { Clock } from "../driver/clock.ts";
import type { Driver } from "../driver/driver.ts";
import { eventLoopTurn } from "../driver/event-loop.ts";
import { SweepTally } from "../driver/tally.ts";
import { VirstreamError } from "../model/error.ts";
import type { Query } from "../model/query.ts";

import type { SweepMetrics } from "./metrics.ts";
import { Schedule } from "./schedule.ts";
import type { SweptFeed } from "./swept-feed.ts";

/**
 * The sampler waits for a turn of the event loop after this many records, so that a driver that never waits does not
 * block the sockets.
 */
const RECORDS_PER_TURN = 2_048;

/**
 * Sweeps one driver with one query for all feeds of that query, whatever their cadences: one sweep at a time, no more
 * often than the fastest feed asks for. It starts with the first feed. When the last feed is removed, it aborts the
 * sweep under way and stops.
 */
export class Sampler {
  readonly #driver: Pick<Driver, "sweep">;
  readonly #query: Query;
  readonly #clock: Clock;
  readonly #metrics: SweepMetrics;
  readonly #schedule = new Schedule<SweptFeed>();
  #timer: unknown;
  #sweeping: AbortController | undefined;

  /** @param clock a steady clock */
  constructor(driver: Pick<Driver, "sweep">, query: Query, clock: Clock, metrics: SweepMetrics) {
    this.#driver = driver;
    this.#query = query;
    this.#clock = clock;
    this.#metrics = metrics;
  }

  add(feed: SweptFeed): void {
    this.#schedule.add(feed, feed.cadence.intervalMs, this.#clock.now());
    this.#arm();
  }

  remove(feed: SweptFeed): void {
    this.#schedule.remove(feed);
    if (this.#schedule.size === 0) this.#sweeping?.abort();
    this.#arm();
  }

  #arm(): void {
    this.#clock.clearTimeout(this.#timer);
    this.#timer = undefined;
    const next = this.#schedule.next();
    if (next === undefined || this.#sweeping !== undefined) return;
    this.#timer = this.#clock.setTimeout(() => void this.#sweep(), Math.max(0, next - this.#clock.now()));
  }

  /** Runs one sweep, for the feeds that are due. Never rejects. */
  async #sweep(): Promise<void> {
    const abort = new AbortController();
    this.#sweeping = abort;
    const feeds = this.#schedule.begin(this.#clock.now());
    const began = this.#clock.now();
    const tally = new SweepTally(Date.now());
    const done = this.#metrics.began();
    for (const feed of feeds) feed.beginSweep();
    try {
      let sinceTurn = 0;
      const context = { signal: abort.signal, expect: () => {} };
      for await (const records of this.#driver.sweep(this.#query, context)) {
        if (abort.signal.aborted) break;
        tally.add(records);
        this.#metrics.records(records);
        for (const feed of feeds) feed.takeSwept(records);
        sinceTurn += records.length;
        if (sinceTurn >= RECORDS_PER_TURN) {
          sinceTurn = 0;
          await eventLoopTurn();
        }
      }
      if (!abort.signal.aborted) {
        const now = this.#clock.now();
        const summary = tally.summary(now - began);
        for (const [feed, overrun] of this.#end(feeds, now)) feed.endSweep(summary, overrun);
      }
      done(abort.signal.aborted ? "stopped" : "whole");
    } catch (thrown) {
      done(abort.signal.aborted ? "stopped" : "failed");
      const error = VirstreamError.from(thrown);
      for (const [feed, overrun] of abort.signal.aborted ? [] : this.#end(feeds, this.#clock.now())) {
        if (error.retryable) feed.failSweep(error, overrun);
        else feed.end(error);
      }
    }
    this.#sweeping = undefined;
    this.#arm();
  }

  /**
   * Returns how many due times each feed skipped. In the metrics, the skipped due times of the fastest feed count as
   * skipped sweeps.
   */
  #end(feeds: readonly SweptFeed[], now: number): [SweptFeed, number][] {
    const ends = feeds.map((feed): [SweptFeed, number] => [feed, this.#schedule.end(feed, now)]);
    const [fastest] = ends.toSorted(([one], [other]) => one.cadence.intervalMs - other.cadence.intervalMs);
    this.#metrics.overrun(fastest?.[1] ?? 0);
    return ends;
  }
}
