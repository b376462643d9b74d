import { VirstreamError } from "../../model/error.ts";
import type { Domain, DomainStatsRecord } from "../../model/record.ts";
import type { GapEvent, StatusEvent, SyncEvent, WatchSink } from "../../model/watch.ts";
import { isAccounted } from "../../sampling/completeness.ts";
import type { Feed } from "../../sampling/feed.ts";
import type { Histogram } from "./histogram.ts";
import type { Streaks } from "./streaks.ts";

/** Keeps a watch. Pages are made from its records, so a scrape costs the hypervisor nothing. */
export class Watcher implements WatchSink {
  readonly #streaks: Streaks;
  readonly #durations: Histogram;
  #feed: Feed | undefined;
  #waiting: (() => void)[] = [];

  constructor(streaks: Streaks, durations: Histogram) {
    this.#streaks = streaks;
    this.#durations = durations;
  }

  /**
   * The feed of the watch, opened if there is no feed. If the watch has ended with an error, the next call begins
   * another watch.
   */
  feed(open: () => Feed): Feed {
    if (this.#feed !== undefined) return this.#feed;
    const feed = open();
    if (feed.error !== undefined) throw feed.error;
    this.#feed = feed;
    feed.push(this);
    return feed;
  }

  /**
   * Resolves when the watch has swept each host, or knows that the host cannot be reached. It also resolves when the
   * watch has ended.
   */
  accounted(feed: Feed): Promise<void> {
    if (isAccounted(feed)) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  close(): void {
    this.#feed?.leave(this);
    this.end(new VirstreamError("connection-closed", "the exporter was closed"));
  }

  record(record: DomainStatsRecord): void {
    this.#streaks.take(record);
  }

  gone(domain: Domain): void {
    this.#streaks.forget(domain);
  }

  event(event: SyncEvent | GapEvent | StatusEvent): void {
    if (event.type === "sync") this.#durations.observe(event.summary.tookMs / 1_000);
    if (this.#feed === undefined || isAccounted(this.#feed)) this.#wake();
  }

  flush(): void {}

  end(_error: VirstreamError): void {
    this.#feed = undefined;
    this.#wake();
  }

  #wake(): void {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }
}
