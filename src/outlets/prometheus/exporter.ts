/// <reference lib="esnext.disposable" preserve="true" />

import type { Connection } from "../../client/connection.ts";
import { eventLoopTurn } from "../../driver/clock.ts";
import { checkOptions, type Members } from "../../model/options.ts";
import { Collector } from "./collector.ts";
import { type ExpositionFormat, expose } from "./exposition.ts";
import { familiesOf } from "./families.ts";
import { DIALECTS, type Dialect, type Family, type SelfFigures } from "./family.ts";
import { prepareRows, type Row } from "./row.ts";

/** The time of a page's reader where it does not say, in ms: Prometheus's own default. */
const DEFAULT_BUDGET_MS = 10_000;
/** The event loop gets a turn after this many ms of work on a page. */
const SLICE_MS = 4;

/** How to export. Every member has a default. */
export interface ExporterOptions {
  /** The exporter whose names are used where the two common ones differ. Default `tinkoff`. */
  readonly dialect?: Dialect;
  /**
   * Keep a watch with this interval, in ms, and answer every scrape from it. Default: no watch; a scrape is answered from a watch
   * that runs for others, or by a sweep.
   */
  readonly intervalMs?: number;
}

/** The members of ExporterOptions. */
export const EXPORTER_MEMBERS = {
  dialect: [DIALECTS.join(", "), (dialect) => DIALECTS.includes(dialect as Dialect)],
  intervalMs: undefined,
} satisfies Members;

/**
 * Makes pages for Prometheus of a connection's domains. Domains that do not answer delay no page: see `libvirt_domain_scrape_status`.
 * Closing it does not close the connection.
 */
export class Exporter implements AsyncDisposable {
  readonly #connection: Connection;
  readonly #families: readonly Family[];
  readonly #collector: Collector;
  readonly #unlisten: () => void;
  #reconnects = 0;
  /** Once the domains were of several hosts, the label `host` stays: without it each series would be another one. */
  #several = false;

  /** @throws VirstreamError `invalid-argument` */
  constructor(connection: Connection, options: ExporterOptions = {}) {
    checkOptions("the exporter's options object", options, EXPORTER_MEMBERS);
    this.#connection = connection;
    this.#families = familiesOf(options.dialect ?? "tinkoff");
    this.#collector = new Collector(connection, options.intervalMs);
    const lost = new Set<string>();
    const { driver } = connection;
    for (const { host } of driver.absent ?? []) lost.add(host);
    const stop = driver.onStatus?.(({ state, host, uri = host }) => {
      if (state !== "connected") lost.add(uri);
      else if (lost.delete(uri)) this.#reconnects++;
    });
    this.#unlisten = stop ?? (() => {});
    this.#collector.start();
  }

  /**
   * A page in chunks. Between two chunks, the event loop gets a turn when some time has passed.
   *
   * @param budgetMs how long to wait for records, in ms. A page is never late because of a domain: what is not there is left out.
   */
  async *page(format: ExpositionFormat = "text", budgetMs = DEFAULT_BUDGET_MS): AsyncGenerator<string> {
    const { records, absent, cutShort } = await this.#collector.collect(budgetMs);
    const { host, driver } = this.#connection;
    this.#several ||= host.includes(",");
    const away = new Set([...(absent ?? []), ...(driver.absent ?? []).map((each) => each.host)]);
    const hosts = host.split(",").map((name) => ({ name, up: absent !== undefined && !away.has(name) }));
    const present = records.filter((record) => record !== undefined && !away.has(record.domain.host));
    const slices = new Slices();
    const preparation = prepareRows(present, {
      several: this.#several,
      now: performance.now(),
      stuckSince: (domain) => this.#collector.streaks.since(domain),
    });
    let step = preparation.next();
    for (; !step.done; step = preparation.next()) await slices.rest();
    const rows: readonly Row[] = step.value;
    const page = { rows, hosts, several: this.#several, self: this.#figures(cutShort) };
    for (const chunk of expose(this.#families, page, format)) {
      if (chunk !== "") yield chunk;
      await slices.rest();
    }
  }

  /** Ends its watch. Safe to call twice. */
  close(): void {
    this.#unlisten();
    this.#collector.close();
  }

  /** Closes the exporter at the end of an `await using` block. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
  }

  #figures(cutShort: boolean): SelfFigures {
    const { driver, sampling } = this.#connection;
    return {
      durations: this.#collector.durations,
      cutShort,
      inFlightCalls: driver.unansweredCalls,
      reconnects: this.#reconnects,
      droppedSamples: sampling.snapshot().ticksConflated,
    };
  }
}

/** Gives the event loop a turn when a slice of time has passed. */
class Slices {
  #began = performance.now();

  async rest(): Promise<void> {
    if (performance.now() - this.#began < SLICE_MS) return;
    await eventLoopTurn();
    this.#began = performance.now();
  }
}
