/// <reference lib="esnext.disposable" preserve="true" />

import type { Connection } from "../../client/connection.ts";
import { withTimeout } from "../../driver/clock.ts";
import { eventLoopTurn } from "../../driver/event-loop.ts";
import { VirstreamError } from "../../model/error.ts";
import type { KnownGroup } from "../../model/group.ts";
import { checkOptions, LIST, type Members } from "../../model/options.ts";
import type { DomainStatsRecord } from "../../model/record.ts";
import { Identities } from "../identity/identities.ts";
import { Collector } from "./collector.ts";
import { type ExpositionFormat, expose } from "./exposition.ts";
import { familiesOf } from "./families.ts";
import { DIALECTS, type Dialect, FAMILY_GROUPS, type Family, type SelfFigures } from "./family.ts";
import { PAGE_EXTRAS, type PageExtra } from "./info/extras.ts";
import { prepareRows, type Row } from "./row.ts";

/** The time limit of a page if the caller states none, in ms. It is Prometheus's own default. */
const DEFAULT_BUDGET_MS = 10_000;
/** How long the first page with domains waits for their definitions, in ms. */
const FIRST_DEFINITIONS_MS = 1_000;
/** How long a page waits at most for storage pools that are being read, in ms. */
const POOLS_MS = 1_000;
/** The event loop gets a turn after this many ms of work on a page. */
const SLICE_MS = 4;

/** The options of an exporter. Every member has a default. */
export interface ExporterOptions {
  /**
   * Selects the names of the families to which the two common Prometheus exporters for libvirt give different names.
   * Default `tinkoff`.
   */
  readonly dialect?: Dialect;
  /**
   * Keep a watch with this interval, in ms, and answer every scrape from it. Default: no watch; a scrape is answered
   * from a watch that runs for other subscribers, or by a sweep.
   */
  readonly intervalMs?: number;
  /**
   * The groups of statistics that pages have, chosen from `state`, `cpu-total`, `balloon`, `vcpu`, `interface` and
   * `block`. Default: all of these.
   */
  readonly groups?: readonly KnownGroup[];
  /** Patterns for the names of the domains that pages have, as in queries, such as `web-*`. Default: every domain. */
  readonly names?: readonly string[];
  /**
   * Texts of the domains' definitions that become labels of `libvirt_domain_metadata_info`, each as `NAME=PATH`, such
   * as `team={urn:example:billing}account/team`: docs/prometheus.md. Default: none.
   */
  readonly metadata?: readonly string[];
  /**
   * Families that cost the hypervisor more calls. `blkiotune`: the I/O limits of disks. `vcpu-cpu`: the CPUs that
   * virtual CPUs run on. `pools`: the storage pools. Default: none.
   */
  readonly extras?: readonly PageExtra[];
}

/** The members of ExporterOptions, with the valid values of each. */
export const EXPORTER_MEMBERS = {
  dialect: [DIALECTS.join(", "), (dialect) => DIALECTS.includes(dialect as Dialect)],
  intervalMs: undefined,
  groups: [
    `a list of ${FAMILY_GROUPS.join(", ")}`,
    (groups) => Array.isArray(groups) && groups.length > 0 && groups.every((group) => FAMILY_GROUPS.includes(group)),
  ],
  names: LIST,
  metadata: LIST,
  extras: [
    `a list of ${PAGE_EXTRAS.join(", ")}`,
    (extras) => Array.isArray(extras) && extras.every((extra) => PAGE_EXTRAS.includes(extra)),
  ],
} satisfies Members;

/**
 * Makes pages for Prometheus with the statistics of a connection's domains. Domains that do not answer delay no page:
 * see `libvirt_domain_scrape_status`. Closing the exporter does not close the connection.
 */
export class Exporter implements AsyncDisposable {
  readonly #connection: Connection;
  readonly #families: readonly Family[];
  readonly #collector: Collector;
  readonly #identities: Identities;
  /** True if pages have the storage pools. */
  readonly #hasPools: boolean;
  readonly #unlisten: () => void;
  /** True if a page has waited for definitions. */
  #waited = false;
  #reconnects = 0;
  /**
   * True once the domains were of several hosts. From then on the label `host` stays, because without it every series
   * would become a different one.
   */
  #several = false;

  /** @throws VirstreamError `invalid-argument` */
  constructor(connection: Connection, options: ExporterOptions = {}) {
    checkOptions("the exporter's options object", options, EXPORTER_MEMBERS);
    this.#connection = connection;
    this.#families = familiesOf(options.dialect ?? "tinkoff");
    this.#identities = new Identities(connection.driver, options);
    this.#hasPools = options.extras?.includes("pools") ?? false;
    this.#collector = new Collector(connection, options.intervalMs, options);
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
   * Begins to read the domains' definitions. Without this call, the first page begins to read them. Resolves with the
   * error if pages have no series about the identity of domains, otherwise with undefined.
   */
  identities(): Promise<VirstreamError | undefined> {
    return this.#identities.open();
  }

  /**
   * Begins to read the storage pools. Without this call, the first page begins to read them. Resolves after a second at
   * most, with the error if pages have no series of storage pools. Resolves with undefined if they have such series, or
   * the options do not ask for them.
   */
  async pools(): Promise<VirstreamError | undefined> {
    if (!this.#hasPools) return undefined;
    const { driver } = this.#connection;
    if (driver.storagePools === undefined) {
      const message = `${driver.uri} gives no storage pools: virstream must be connected to their hypervisor itself`;
      return new VirstreamError("unsupported", message);
    }
    await driver.storagePools.read(POOLS_MS);
    return driver.storagePools.error;
  }

  /**
   * Makes a page, in chunks. Between two chunks, the event loop gets a turn if more than SLICE_MS have passed since its
   * last turn.
   *
   * @param budgetMs how long to wait for records, in ms. No domain delays a page: missing values are left out.
   */
  async *page(format: ExpositionFormat = "text", budgetMs = DEFAULT_BUDGET_MS): AsyncGenerator<string> {
    const began = performance.now();
    const { driver } = this.#connection;
    const read = this.#hasPools ? driver.storagePools?.read(Math.min(budgetMs, POOLS_MS)) : undefined;
    const { records, absent, cutShort } = await this.#collector.collect(budgetMs);
    const { host } = this.#connection;
    this.#several ||= host.includes(",");
    const away = new Set([...(absent ?? []), ...(driver.absent ?? []).map((each) => each.host)]);
    const hosts = host.split(",").map((name) => ({ name, up: absent !== undefined && !away.has(name) }));
    const present = records.filter((record) => record !== undefined && !away.has(record.domain.host));
    await this.#firstDefinitions(present, budgetMs - (performance.now() - began));
    const pools = ((await read) ?? []).filter((pool) => absent !== undefined && !away.has(pool.host));
    const slices = new Slices();
    const preparation = prepareRows(present, {
      several: this.#several,
      now: performance.now(),
      stuckSince: (domain) => this.#collector.streaks.since(domain),
      describe: (domain) => this.#identities.of(domain),
    });
    let step = preparation.next();
    for (; !step.done; step = preparation.next()) await slices.rest();
    const rows: readonly Row[] = step.value;
    const page = {
      rows,
      hosts,
      several: this.#several,
      versions: driver.versions ?? [],
      pools,
      self: this.#figures(cutShort),
    };
    for (const chunk of expose(this.#families, page, format)) {
      if (chunk !== "") yield chunk;
      await slices.rest();
    }
  }

  /** Ends the exporter's watch. Safe to call twice. */
  close(): void {
    this.#unlisten();
    this.#collector.close();
    this.#identities.close();
  }

  /** Closes the exporter at the end of an `await using` block. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
  }

  /**
   * Only the first page with domains waits for definitions. Later pages have the definitions that are known when they
   * are made.
   */
  async #firstDefinitions(records: readonly (DomainStatsRecord | undefined)[], timeLeftMs: number): Promise<void> {
    if (this.#waited || records.length === 0) return;
    this.#waited = true;
    const timeoutMs = Math.max(0, Math.min(timeLeftMs, FIRST_DEFINITIONS_MS));
    const domains = records.flatMap((record) => record?.domain ?? []);
    const read = this.#identities.open().then(() => this.#identities.read(domains, timeoutMs));
    await withTimeout(read, timeoutMs, () => {});
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
