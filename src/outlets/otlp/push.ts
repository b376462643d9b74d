/// <reference lib="esnext.disposable" preserve="true" />

import type { Connection } from "../../client/connection.ts";
import { type Clock, STEADY_CLOCK } from "../../driver/clock.ts";
import { hostNames } from "../../driver/matcher.ts";
import { DomainMap } from "../../model/domain-map.ts";
import { VirstreamError } from "../../model/error.ts";
import { checkOptions, FUNCTION, type Members, OBJECT, SIGNAL, TEXT, whole } from "../../model/options.ts";
import type { StatsQuery } from "../../model/query.ts";
import type { Domain, DomainStatsRecord } from "../../model/record.ts";
import { MAX_INTERVAL_MS, MIN_INTERVAL_MS, type WatchEvent } from "../../model/watch.ts";
import { Batch, type Written } from "./batch.ts";
import { DomainSeries } from "./domain-series.ts";
import { type Exporter, loadExporter } from "./exporter.ts";

/** The default time between two pushes, in ms. */
export const DEFAULT_PUSH_INTERVAL_MS = 10_000;

/**
 * The default limit of a request's body, in bytes. A collector accepts 20 MiB, but a small body delays the event loop
 * less.
 */
const DEFAULT_BODY_BYTES = 524_288;
const MIN_BODY_BYTES = 16_384;
const MAX_BODY_BYTES = 16_777_216;

/**
 * After an answer such as HTTP 429, the next push waits at least this long, in ms. The wait doubles after each further
 * such answer, up to LONGEST_PAUSE_MS.
 */
const FIRST_PAUSE_MS = 5_000;
const LONGEST_PAUSE_MS = 60_000;

const MEMBERS = {
  url: TEXT,
  headers: OBJECT,
  query: OBJECT,
  intervalMs: whole(MIN_INTERVAL_MS, MAX_INTERVAL_MS),
  maxBodyBytes: whole(MIN_BODY_BYTES, MAX_BODY_BYTES),
  onChange: FUNCTION,
  signal: SIGNAL,
} satisfies Members;

/** Where to push metrics, and how. Every member has a default. */
export interface OtlpOptions {
  /**
   * The collector, as `http://HOST:4318`; `/v1/metrics` is added. Default: OTEL_EXPORTER_OTLP_METRICS_ENDPOINT or
   * OTEL_EXPORTER_OTLP_ENDPOINT, else `http://localhost:4318`.
   */
  readonly url?: string;
  /** Headers of each request, for instance with a token, besides those of OTEL_EXPORTER_OTLP_HEADERS. Default: none. */
  readonly headers?: Readonly<Record<string, string>>;
  /** Selects domains and groups. Default: all. */
  readonly query?: StatsQuery;
  /**
   * The time from the start of a sweep to the start of the next, in ms, 10 to 3,600,000. Each sweep is pushed. Default
   * 10,000.
   */
  readonly intervalMs?: number;
  /**
   * The most bytes of a request before compression, 16,384 to 16,777,216; a request exceeds this limit only if it has a
   * single domain, which alone is larger. Default 524,288. The limit shrinks when the collector answers HTTP 413.
   */
  readonly maxBodyBytes?: number;
  /**
   * Called with the error when pushes begin to fail, or fail for another reason, and with undefined when they succeed
   * again. Default: none.
   */
  readonly onChange?: (error: VirstreamError | undefined) => void;
  /** Ends the pushes. Default: none. */
  readonly signal?: AbortSignal;
}

/** The counts since these pushes began. */
export interface OtlpFigures {
  /** The requests that the collector took. */
  readonly requests: number;
  /** The requests that the collector did not take, after all retries. */
  readonly failures: number;
  /** The bytes of the requests that the collector took, before compression. */
  readonly bytes: number;
  /** The domains' records that the collector took. */
  readonly records: number;
  /** The records that the collector never took: a newer record came first, or the collector refused them for good. */
  readonly dropped: number;
  /** The data points in the requests that the collector took. */
  readonly points: number;
  /** Those of `points` that the collector rejected. */
  readonly rejected: number;
}

/**
 * Pushes each sweep of a connection to an OpenTelemetry collector. It keeps the newest record of each domain and writes
 * one request at a time, and newer records replace unsent records. So a collector that is slow or cannot be reached
 * costs no more memory, and never delays a sweep.
 */
export class OtlpPush implements AsyncDisposable {
  /**
   * Never rejects. Resolves when the pushes have ended: with the error if the watch behind the pushes failed, otherwise
   * with undefined.
   */
  readonly closed: Promise<VirstreamError | undefined>;
  /** The URL to which it pushes, without passwords. */
  readonly url: string;
  readonly #exporter: Exporter;
  readonly #onChange: (error: VirstreamError | undefined) => void;
  readonly #clock: Clock;
  readonly #end = new AbortController();
  readonly #series = new DomainMap<DomainSeries>();
  readonly #figures = { requests: 0, failures: 0, bytes: 0, records: 0, dropped: 0, points: 0, rejected: 0 };
  #maxBodyBytes: number;
  #error: VirstreamError | undefined;
  #isDue = false;
  #pushing: Promise<void> | undefined;
  /** There is no push before this time of the clock, in ms. */
  #pausedUntil = 0;
  #pauseMs = FIRST_PAUSE_MS;

  /** @internal */
  constructor(connection: Connection, options: OtlpOptions, exporter: Exporter, clock: Clock = STEADY_CLOCK) {
    const { query = {}, intervalMs = DEFAULT_PUSH_INTERVAL_MS, onChange = () => {}, signal } = options;
    this.url = exporter.url;
    this.#exporter = exporter;
    this.#onChange = onChange;
    this.#clock = clock;
    this.#maxBodyBytes = options.maxBodyBytes ?? DEFAULT_BODY_BYTES;
    const ended = signal === undefined ? this.#end.signal : AbortSignal.any([this.#end.signal, signal]);
    const events = connection.watch(query, { intervalMs, signal: ended }).events.chunks();
    this.closed = this.#follow(events).then(async (error) => {
      this.#end.abort();
      await exporter.close();
      await this.#pushing;
      return error;
    });
  }

  /** The counts since these pushes began. */
  get figures(): OtlpFigures {
    return { ...this.#figures };
  }

  /** The error of the last push; undefined if it succeeded, or there was no push yet. */
  get error(): VirstreamError | undefined {
    return this.#error;
  }

  /**
   * Ends the pushes. Resolves when the request under way has ended, within the exporter's timeout (10 s). Records that
   * were not sent are lost. Calling it twice is allowed.
   */
  async close(): Promise<void> {
    this.#end.abort();
    await this.closed;
  }

  /** Ends the pushes at the end of an `await using` block. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #follow(watch: AsyncIterable<readonly WatchEvent[]>): Promise<VirstreamError | undefined> {
    try {
      for await (const events of watch) for (const event of events) this.#take(event);
      return undefined;
    } catch (thrown) {
      return VirstreamError.from(thrown);
    }
  }

  #take(event: WatchEvent): void {
    if (event.type === "record" && event.record.status !== "gone") this.#record(event.record);
    else if (event.type === "record") this.#gone(event.record.domain, event.record.sampledAt);
    else if (event.type === "gone") this.#gone(event.domain, Date.now());
    else if (event.type === "sync") this.#schedule();
    else if (event.type === "status" && event.state !== "connected") this.#lose(event.host);
  }

  #record(record: DomainStatsRecord): void {
    const { domain, status, sampledAt } = record;
    let series = this.#series.get(domain);
    if (series === undefined) {
      if (status === "failed") return;
      series = new DomainSeries(domain);
      this.#series.set(domain, series);
    } else this.#supersede(series);
    if (status === "failed") series.fail(sampledAt);
    else series.take(record);
  }

  #gone(domain: Domain, at: number): void {
    const series = this.#series.get(domain);
    if (series === undefined) return;
    this.#supersede(series);
    series.end(at);
    // If the collector has the domain's series, it must learn that they have ended. Otherwise it needs no message.
    if (!series.isDirty) this.#series.delete(domain);
  }

  /** Counts a record that was replaced before it was sent. */
  #supersede(series: DomainSeries): void {
    const { isDirty, values, sending } = series;
    if (isDirty && values !== undefined && values !== sending?.values) this.#figures.dropped++;
  }

  /**
   * Takes the report that a host, or every host, cannot be reached. The values of the host's domains are then unknown.
   */
  #lose(host: string | undefined): void {
    const names = host === undefined ? undefined : hostNames(host);
    for (const series of this.#series) {
      if (series.isGone || names?.includes(series.domain.host) === false) continue;
      this.#supersede(series);
      series.fail(Date.now());
    }
    this.#schedule();
  }

  #schedule(): void {
    this.#isDue = true;
    this.#pushing ??= this.#pushAll().finally(() => {
      this.#pushing = undefined;
    });
  }

  async #pushAll(): Promise<void> {
    while (this.#isDue && !this.#end.signal.aborted) {
      this.#isDue = false;
      // During the pause, nothing is pushed. The next sweep tries again.
      if (this.#clock.now() >= this.#pausedUntil) await this.#push([...this.#series]);
    }
  }

  /**
   * Sends those values of these domains that the collector lacks, in as many requests as needed. Returns false if a
   * further request would fail, too.
   */
  async #push(all: Iterable<DomainSeries>): Promise<boolean> {
    const newBatch = () => new Batch(this.#maxBodyBytes, this.#exporter.attributes);
    let batch = newBatch();
    for (const series of all) {
      if (!series.isDirty || batch.add(series)) continue;
      if (!(await this.#send(batch))) return false;
      batch = newBatch();
      batch.add(series);
    }
    return batch.written.length === 0 || this.#send(batch);
  }

  /** Sends one request. Returns false if the next request would fail, too. */
  async #send({ body, points, written }: Batch): Promise<boolean> {
    if (this.#end.signal.aborted) return false;
    if (points === 0) {
      written.forEach(this.#took, this);
      return true;
    }
    for (const each of written) each.series.sending = each;
    const { error, rejected } = await this.#exporter.send(body, points);
    for (const { series } of written) series.sending = undefined;
    if (error?.code === "message-too-big" && written.length > 1 && body.length >= 2 * MIN_BODY_BYTES) {
      this.#maxBodyBytes = Math.floor(body.length / 2);
      return this.#push(written.map(({ series }) => series));
    }
    const isLater = error?.retryable === true;
    for (const each of written) {
      if (error === undefined) this.#took(each);
      else this.#refused(each, isLater);
    }
    if (error === undefined) {
      this.#figures.requests++;
      this.#figures.bytes += body.length;
      this.#figures.points += points;
      this.#figures.rejected += rejected;
      this.#pauseMs = FIRST_PAUSE_MS;
    } else {
      this.#figures.failures++;
      if (error.code === "limit-exceeded") {
        this.#pausedUntil = this.#clock.now() + this.#pauseMs;
        this.#pauseMs = Math.min(2 * this.#pauseMs, LONGEST_PAUSE_MS);
      }
    }
    if (!this.#end.signal.aborted) this.#report(error);
    return !isLater;
  }

  /** Called when the collector has taken a domain's series as they were written. */
  #took({ series, resource, values, at }: Written): void {
    series.sent = values && { shape: values.shape, resource };
    if (values !== undefined) this.#figures.records++;
    if (series.values !== values || series.at !== at) return;
    series.isDirty = false;
    if (series.isGone) this.#series.delete(series.domain);
  }

  /**
   * Called when the collector did not take a domain's series. If `isLater` is true, the newest values are sent again
   * later.
   */
  #refused({ series, values, at }: Written, isLater: boolean): void {
    const isNewest = series.values === values && series.at === at;
    // Without values, this message says that the series have no values any more. It is sent again in any case, because
    // a newer record may never come.
    if (values === undefined || (isNewest && isLater)) return;
    this.#figures.dropped++;
    if (isNewest) series.isDirty = false;
  }

  #report(error: VirstreamError | undefined): void {
    const isChange = error?.message !== this.#error?.message;
    this.#error = error;
    // Calls the program's function in a microtask, so that an error that this function throws does not reach the push.
    if (isChange) queueMicrotask(() => this.#onChange(error));
  }
}

/**
 * Pushes the statistics of a connection's domains to an OpenTelemetry collector, over OTLP/HTTP with Protocol Buffers,
 * until the push is closed. The function does not wait for the collector: `onChange` and `error` report whether pushes
 * succeed. The environment configures the rest, as for any program that uses OpenTelemetry: OTEL_EXPORTER_OTLP_TIMEOUT,
 * _COMPRESSION, _CERTIFICATE, …
 *
 * @throws VirstreamError `unsupported` when OpenTelemetry's packages are not installed (the message has the command);
 *   `invalid-argument` for invalid options
 */
export async function pushOtlp(connection: Connection, options: OtlpOptions = {}): Promise<OtlpPush> {
  checkOptions("pushOtlp's options object", options, MEMBERS);
  const exporter = await loadExporter({ url: options.url, headers: options.headers });
  return new OtlpPush(connection, options, exporter);
}
