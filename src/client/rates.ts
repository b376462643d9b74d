import { Observable, type OperatorFunction } from "rxjs";
import type { DomainIdentity, DomainStatsRecord } from "../model/record.ts";
import { STATE_NUMBERS } from "../model/state.ts";
import type { WatchEvent } from "../model/watch.ts";
import { Counters } from "./rates/counters.ts";
import { cpuRates, diskRates, interfaceRates, NO_CPU, type Pair, vcpuRates } from "./rates/devices.ts";
import { cellAt } from "./rates/difference.ts";
import type { DomainRates } from "./rates/domain-rates.ts";
import { RateLayout } from "./rates/layout.ts";
import { GuestReport, type MemorySample, memoryRates, NO_MEMORY, reportedAt } from "./rates/memory.ts";

export type * from "./rates/domain-rates.ts";

/**
 * A record may be compared with an earlier one than the one right before it, which failed or lacked a group, while that
 * is no older than this: a mean over longer says little, and the more may have happened in between.
 */
const LONGEST_SKIP_MS = 600_000;

/** A domain of which nothing was heard for so long is forgotten: an hour more than the longest heartbeat of a watch. */
const FORGOTTEN_AFTER_MS = 90_000_000;

/** What is known of a running domain: of each group, the counters of the last record that had it. */
class DomainHistory {
  readonly id: number;
  /** When anything was heard of it, in ms since 1970. */
  heardAt = Number.NaN;
  readonly cpu = new Counters();
  readonly vcpus = new Counters();
  readonly disks = new Counters();
  readonly interfaces = new Counters();
  #report: GuestReport | undefined;
  /** Counts its records. */
  #turn = 0;

  constructor(id: number) {
    this.id = id;
  }

  /** What a record's part is to be compared with, and how long before that was. */
  pair(before: Counters, { layout, params, at }: MemorySample): Pair {
    const intervalMs = at - before.at;
    const longest = before.turn === this.#turn ? Number.MAX_VALUE : LONGEST_SKIP_MS;
    const fit = intervalMs > 0 && intervalMs <= longest;
    return { before: fit ? before : undefined, layout, params, intervalMs };
  }

  /** Whether the domain was restarted since, although its id does not say so: its processor time then began anew. */
  restartedBefore({ layout, params }: MemorySample): boolean {
    return layout.hasCpu && this.cpu.turn >= 0 && this.cpu.fell(layout.cpu[0], params);
  }

  /**
   * What the guest reports, compared with its report before. The hypervisor asks the guest now and then, and between
   * two reports the counters stand still: a difference between two records would be 0 for most pairs and the work of
   * all of them for one. So reports are compared, by the host's time of each, and a rate holds until the next report.
   */
  guestReport(sample: MemorySample): GuestReport | undefined {
    const updatedAt = reportedAt(sample);
    if (updatedAt === undefined) return undefined;
    const report = this.#report;
    if (report !== undefined && report.updatedAt === updatedAt && sample.layout.lastUpdate >= 0) {
      return Math.abs(sample.at - report.seenAt) <= LONGEST_SKIP_MS ? report : undefined;
    }
    const fit = report !== undefined && (report.turn === this.#turn || updatedAt - report.updatedAt <= LONGEST_SKIP_MS);
    this.#report = new GuestReport(sample, updatedAt, this.#turn + 1, fit ? report : undefined);
    return this.#report;
  }

  keep({ layout, params, at }: MemorySample): void {
    const turn = ++this.#turn;
    this.heardAt = at;
    if (layout.hasCpu) this.cpu.keep(layout.cpu, params, at, turn);
    if (layout.hasVcpus) this.vcpus.keep(layout.vcpus, params, at, turn);
    if (layout.hasDisks) this.disks.keep(layout.disks, params, at, turn);
    if (layout.hasInterfaces) this.interfaces.keep(layout.interfaces, params, at, turn);
  }

  /** A record that has failed: the next one does not come right after those that are kept. */
  skip(at: number): void {
    this.#turn++;
    this.heardAt = at;
  }
}

/** The domains of one host. */
class HostHistory {
  readonly domains = new Map<string, DomainHistory>();
  /** Records since it was last looked through for domains that nobody announced as gone. */
  takes = 0;

  /**
   * Forgets those of which nothing was heard, once in as many records as there are domains, so that it costs nothing.
   */
  tidy(now: number): void {
    if (++this.takes <= 2 * this.domains.size + 1_000) return;
    this.takes = 0;
    for (const [uuid, { heardAt }] of this.domains) {
      if (Math.abs(now - heardAt) > FORGOTTEN_AFTER_MS) this.domains.delete(uuid);
    }
  }
}

/**
 * Turns the records of domains, one after the other, into rates. It compares each with the last one of the same domain
 * (host and uuid), by their own `sampledAt`, and needs no clock.
 *
 * It keeps, of each domain that runs, the counters and devices' names of its last record, and no record. It forgets
 * domains that are gone or shut off, and after a day those of which it hears nothing.
 */
export class RateMeter {
  readonly #hosts = new Map<string, HostHistory>();

  /** How many domains it remembers. */
  get size(): number {
    let size = 0;
    for (const host of this.#hosts.values()) size += host.domains.size;
    return size;
  }

  /**
   * The rates of a domain up to this record. They are undefined on its first record, when it was restarted, when the
   * record has failed, and when it is no newer than the one before. It never throws.
   */
  take(record: DomainStatsRecord): DomainRates {
    const { domain, status } = record;
    if (status === "gone") {
      this.forget(domain);
      return noRates(record);
    }
    let host = this.#hosts.get(domain.host);
    let history = host?.domains.get(domain.uuid);
    if (status === "failed") {
      if (history === undefined) return noRates(record);
      // A record that failed may not know the id.
      if (domain.id >= 0 && domain.id !== history.id) this.forget(domain);
      history.skip(record.sampledAt);
      return noRates(record);
    }
    const sample = { layout: RateLayout.of(record.params.schema), params: record.params, at: record.sampledAt };
    if (!isActive(domain, sample)) {
      this.forget(domain);
      return ratesOf(record, new DomainHistory(domain.id), sample);
    }
    if (host === undefined) {
      host = new HostHistory();
      this.#hosts.set(domain.host, host);
    }
    if (history === undefined || history.id !== domain.id || history.restartedBefore(sample)) {
      history = new DomainHistory(domain.id);
      host.domains.set(domain.uuid, history);
    }
    const rates = ratesOf(record, history, sample);
    history.keep(sample);
    host.tidy(sample.at);
    return rates;
  }

  /** A domain is no longer there: the next record of one like it is the first. */
  forget(domain: DomainIdentity): void {
    const host = this.#hosts.get(domain.host);
    if (host?.domains.delete(domain.uuid) && host.domains.size === 0) this.#hosts.delete(domain.host);
  }

  /** Records of this host may have been missed, or of all hosts: what follows is not compared with what was before. */
  gap(host?: string): void {
    if (host === undefined) this.#hosts.clear();
    else this.#hosts.delete(host);
  }
}

/**
 * An RxJS operator that turns a watch's events, or plain records, into rates: `watch.events.pipe(rates())`. Each record
 * gives one DomainRates at once, also the first one of a domain, whose rates are undefined. From events it learns of
 * gaps and of domains that left; `sync` and `status` give nothing. Each subscription has a RateMeter of its own.
 */
export function rates(): OperatorFunction<WatchEvent | DomainStatsRecord, DomainRates> {
  return (source) =>
    new Observable((subscriber) => {
      const meter = new RateMeter();
      return source.subscribe({
        next(item) {
          if (!("type" in item)) {
            subscriber.next(meter.take(item));
          } else if (item.type === "record") {
            subscriber.next(meter.take(item.record));
          } else if (item.type === "gone") {
            meter.forget(item.domain);
          } else if (item.type === "gap") {
            meter.gap(item.host);
          }
        },
        error: (error) => subscriber.error(error),
        complete: () => subscriber.complete(),
      });
    });
}

/** libvirtd that runs as a user gives its own processor time for a domain that is shut off. */
function isActive(domain: DomainIdentity, { layout, params }: MemorySample): boolean {
  return domain.id >= 0 && cellAt(params, layout.state) !== STATE_NUMBERS.shutoff;
}

function ratesOf(record: DomainStatsRecord, history: DomainHistory, sample: MemorySample): DomainRates {
  const { layout } = sample;
  const cpu = history.pair(history.cpu, sample);
  const vcpus = history.pair(history.vcpus, sample);
  const disks = history.pair(history.disks, sample);
  const interfaces = history.pair(history.interfaces, sample);
  let intervalMs = Number.POSITIVE_INFINITY;
  if (cpu.before !== undefined && layout.hasCpu) intervalMs = cpu.intervalMs;
  if (vcpus.before !== undefined && layout.hasVcpus) intervalMs = Math.min(intervalMs, vcpus.intervalMs);
  if (disks.before !== undefined && layout.hasDisks) intervalMs = Math.min(intervalMs, disks.intervalMs);
  if (interfaces.before !== undefined && layout.hasInterfaces) intervalMs = Math.min(intervalMs, interfaces.intervalMs);
  return {
    record,
    intervalMs: intervalMs < Number.POSITIVE_INFINITY ? intervalMs : undefined,
    cpu: cpuRates(cpu),
    vcpus: vcpuRates(vcpus),
    disks: diskRates(disks),
    interfaces: interfaceRates(interfaces),
    memory: memoryRates(sample, history.guestReport(sample)),
  };
}

function noRates(record: DomainStatsRecord): DomainRates {
  return { record, intervalMs: undefined, cpu: NO_CPU, vcpus: [], disks: [], interfaces: [], memory: NO_MEMORY };
}
