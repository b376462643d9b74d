import { Observable, type OperatorFunction } from "rxjs";
import { STATE_NUMBERS } from "../model/field/state-numbers.ts";
import type { DomainIdentity, DomainStatsRecord } from "../model/record.ts";
import { TypedParams } from "../model/typed-params.ts";
import type { WatchEvent } from "../model/watch.ts";
import type { DomainRates } from "./rates/domain-rates.ts";
import { FreshRates } from "./rates/fresh-rates.ts";
import type { Part } from "./rates/layout.ts";
import { GuestReport, isDated, reportedAt } from "./rates/memory.ts";
import { Sample } from "./rates/sample.ts";

/** The types of the rates of a domain, its devices and its memory. */
export type * from "./rates/domain-rates.ts";

/**
 * If a record between two others failed or lacked a group, these two are compared only when they are at most this many
 * ms apart. A mean over a longer time says little, and a reset of the counters in that time may go unnoticed.
 */
const LONGEST_SKIP_MS = 600_000;

/**
 * A RateMeter forgets a domain without a record for this many ms. The value is one hour more than the longest heartbeat
 * that a watch can have.
 */
const FORGOTTEN_AFTER_MS = 90_000_000;

/**
 * What a RateMeter keeps of a running domain: for each part of the domain (see Part), the last record that had counters
 * of this part. Usually this is the same record for all parts.
 */
class DomainHistory {
  readonly id: number;
  /** When the domain's last record was sampled, in ms of the steady clock. */
  heardAt = Number.NaN;
  readonly #kept: Partial<Record<Part, Sample>> = {};
  #report: GuestReport | undefined;
  /** When the last record was sampled, in ms of the steady clock; undefined if that record failed. */
  #lastAt: number | undefined;

  constructor(id: number) {
    this.id = id;
  }

  /** The earlier record with which this part of the record `after` is compared; undefined if there is none. */
  before(part: Part, after: Sample): Sample | undefined {
    const before = after.layout.parts.includes(part) ? this.#kept[part] : undefined;
    const intervalMs = before === undefined ? Number.NaN : after.at - before.at;
    return intervalMs > 0 && intervalMs <= this.#longestSince(before?.at) ? before : undefined;
  }

  /**
   * True if the processor time of the domain went down, which means that it was restarted although its id is the same.
   */
  restartedBefore(after: Sample): boolean {
    const before = this.#kept.cpu;
    if (before === undefined || !after.layout.parts.includes("cpu")) return false;
    return before.step(before.layout.cpu[0]!.counters[0]!, after, after.layout.cpu[0]!.counters[0]!) < 0;
  }

  /**
   * The guest's own report, compared with the guest's report before it. The guest reports only now and then, and the
   * counters do not change between two reports. So the difference between two records would be 0 for most pairs of
   * records, and for one pair it would be the increase of the whole time between two reports. Therefore this method
   * compares reports, by the time of each report, and a rate stays valid until the guest's next report.
   */
  guestReport(sample: Sample): GuestReport | undefined {
    const updatedAt = reportedAt(sample);
    if (updatedAt === undefined) return undefined;
    const before = this.#report;
    if (before?.updatedAt === updatedAt && isDated(sample)) {
      return Math.abs(sample.at - before.seenAt) <= LONGEST_SKIP_MS ? before : undefined;
    }
    this.#report = new GuestReport(sample, updatedAt, before, this.#longestSince(before?.seenAt));
    return this.#report;
  }

  /** Keeps a record, with which the next one will be compared. */
  keep(sample: Sample): void {
    this.heardAt = sample.at;
    this.#lastAt = sample.at;
    for (const part of sample.layout.parts) this.#kept[part] = sample;
  }

  /** Notes a record that has failed: the next record does not directly follow the kept one. */
  skip(at: number): void {
    this.heardAt = at;
    this.#lastAt = undefined;
  }

  /**
   * The longest permitted interval, in ms, between a new record and an earlier record that was sampled at `at`. There
   * is no limit if no other record came between the two.
   */
  #longestSince(at: number | undefined): number {
    return at === this.#lastAt ? Number.MAX_VALUE : LONGEST_SKIP_MS;
  }
}

class HostHistory {
  readonly domains = new Map<string, DomainHistory>();
  #takes = 0;

  /**
   * Forgets domains without a record for a long time, because the event `gone` of such a domain may be missing. The
   * search runs once per 2 × (number of domains) + 1,000 records, so it costs almost nothing per record.
   */
  tidy(now: number): void {
    if (++this.#takes <= 2 * this.domains.size + 1_000) return;
    this.#takes = 0;
    for (const [uuid, { heardAt }] of this.domains) {
      if (Math.abs(now - heardAt) > FORGOTTEN_AFTER_MS) this.domains.delete(uuid);
    }
  }
}

/**
 * Turns the records of domains, one after the other, into rates. It compares each record with the last record of the
 * same domain (the same host and uuid). Its only times are the `steadyAt` of the records, so it needs no clock.
 *
 * It keeps the values of the last record of each running domain. It forgets domains that are gone or shut off, and
 * domains without a record for 25 hours.
 */
export class RateMeter {
  readonly #hosts = new Map<string, HostHistory>();

  /** How many domains the meter remembers. */
  get size(): number {
    let size = 0;
    for (const host of this.#hosts.values()) size += host.domains.size;
    return size;
  }

  /**
   * The rates of a domain between its last record and this one. The rates are undefined for the domain's first record,
   * after a restart, for a record that has failed, and for a record that is not newer than the domain's last record.
   * This method never throws.
   */
  take(record: DomainStatsRecord): DomainRates {
    return this.freshly(record).plain();
  }

  /**
   * Does the same as `take`, and returns rates that are computed when they are read.
   *
   * @internal
   */
  freshly(record: DomainStatsRecord): FreshRates {
    const { domain, status } = record;
    let host = this.#hosts.get(domain.host);
    let history = host?.domains.get(domain.uuid);
    if (status === "gone" || status === "failed") {
      // A failed record may lack the domain's id. Only a known id can show that the domain was restarted.
      if (status === "gone" || (domain.id >= 0 && domain.id !== history?.id)) this.forget(domain);
      history?.skip(record.steadyAt);
      // The parameters of a failed record, if it has any, have no meaning for rates.
      return ratesOf(record, new DomainHistory(-1), new Sample({ ...record, params: TypedParams.EMPTY }));
    }
    const sample = new Sample(record);
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

  /** Forgets a domain that is gone: if it comes back, its next record counts as the first. */
  forget(domain: DomainIdentity): void {
    const host = this.#hosts.get(domain.host);
    if (host?.domains.delete(domain.uuid) && host.domains.size === 0) this.#hosts.delete(domain.host);
  }

  /** Notes that records of a host, or of all hosts, may be missing: the next records are not compared with earlier ones. */
  gap(host?: string): void {
    if (host === undefined) this.#hosts.clear();
    // If a gap concerns several hosts, `host` has all their names, separated by commas.
    for (const name of host?.split(",") ?? []) this.#hosts.delete(name);
  }
}

/**
 * Returns the rates of the record in an event of the type `record`; undefined for all other events. The events `gone`
 * and `gap` change the meter's state.
 */
export function measured(meter: RateMeter, event: WatchEvent): DomainRates | undefined {
  if (event.type === "record") return meter.take(event.record);
  if (event.type === "gone") meter.forget(event.domain);
  if (event.type === "gap") meter.gap(event.host);
  return undefined;
}

/** Yields the rates of a watch's records: one chunk for each chunk of events that has records. */
export async function* ratesIn(watch: AsyncIterable<readonly WatchEvent[]>): AsyncGenerator<readonly DomainRates[]> {
  const meter = new RateMeter();
  for await (const events of watch) {
    const rates: DomainRates[] = [];
    for (const event of events) {
      const figures = measured(meter, event);
      if (figures !== undefined) rates.push(figures);
    }
    if (rates.length > 0) yield rates;
  }
}

/**
 * An RxJS operator that turns a watch's events, or plain records, into rates: `watch.events.pipe(rates())`. It emits
 * one DomainRates for each record, also for the first one of a domain, whose rates are undefined. Each subscription has
 * a RateMeter of its own. The events `gap` and `gone` reach this RateMeter and emit nothing. The operator ignores
 * `sync` and `status`.
 */
export function rates(): OperatorFunction<WatchEvent | DomainStatsRecord, DomainRates> {
  return (source) =>
    new Observable((subscriber) => {
      const meter = new RateMeter();
      return source.subscribe({
        next(item) {
          const figures = "type" in item ? measured(meter, item) : meter.take(item);
          if (figures !== undefined) subscriber.next(figures);
        },
        error: (error) => subscriber.error(error),
        complete: () => subscriber.complete(),
      });
    });
}

/**
 * True if the domain can have rates. A shut-off domain has none: for such a domain, a libvirtd that runs as a user
 * sends libvirtd's own processor time.
 */
function isActive(domain: DomainIdentity, sample: Sample): boolean {
  return domain.id >= 0 && sample.number(sample.layout.state) !== STATE_NUMBERS.shutoff;
}

function ratesOf(record: DomainStatsRecord, history: DomainHistory, sample: Sample): FreshRates {
  const before = {
    cpu: history.before("cpu", sample),
    vcpus: history.before("vcpus", sample),
    disks: history.before("disks", sample),
    interfaces: history.before("interfaces", sample),
  };
  return new FreshRates(record, sample, before, history.guestReport(sample));
}
