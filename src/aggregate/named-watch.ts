import type { DomainSelector } from "../model/query.ts";
import type { Domain, DomainStatsRecord } from "../model/record.ts";
import type { WatchSink } from "../model/watch.ts";
import { SelectorTable } from "../sampling/selector-table.ts";
import type { Member } from "./member.ts";
import type { Ownership } from "./ownership.ts";

interface Watched {
  readonly selector: DomainSelector;
  readonly ordinal: number;
  /** The hosts that have the domain, each with its own Domain object. */
  readonly holders: Map<Member, Domain>;
  /** The hosts whose last record says that they do not have the domain, each with the domain of that record. */
  readonly without: Map<Member, Domain>;
  /** The hosts that have reported the domain as missing since the aggregate itself last reported it as missing. */
  readonly again: Set<Member>;
  /**
   * The domain in the aggregate's last record that says that no host has it. Undefined until there is such a record, and
   * again as soon as a host has the domain.
   */
  missing: Domain | undefined;
}

/**
 * A watch of named domains on any of the hosts. Each host sends a `gone` record for each selector whose domain it does
 * not have. The aggregate passes on only two facts from these records: no host has the domain, or a host lost it.
 */
export class NamedWatch {
  readonly #members: readonly Member[];
  readonly #ownership: Ownership;
  readonly #sink: WatchSink;
  readonly #selectors: SelectorTable<Watched>;

  /** @param sink gets the events of all hosts */
  constructor(members: readonly Member[], domains: readonly DomainSelector[], ownership: Ownership, sink: WatchSink) {
    this.#members = members;
    this.#ownership = ownership;
    this.#sink = sink;
    this.#selectors = new SelectorTable(domains, (selector, ordinal) => ({
      ...{ selector, ordinal, missing: undefined },
      ...{ holders: new Map(), without: new Map(), again: new Set() },
    }));
  }

  sinkOf(member: Member): WatchSink {
    const sink = this.#sink;
    return {
      record: (record) => (record.status === "gone" ? this.#denied(member, record) : this.#had(member, record)),
      gone: (domain) => this.#gone(member, domain),
      event: (event) => sink.event(event),
      flush: () => sink.flush(),
      end: (error) => sink.end(error),
    };
  }

  /** Forgets the reports of a host that was removed. */
  forget(member: Member): void {
    for (const { holders, without, again } of this.#selectors.values()) {
      for (const hosts of [holders, without, again]) hosts.delete(member);
    }
  }

  #had(member: Member, record: DomainStatsRecord): void {
    for (const watched of this.#selectors.of(record.domain)) {
      watched.without.delete(member);
      watched.again.delete(member);
      watched.holders.set(member, record.domain);
      this.#exists(watched);
    }
    this.#sink.record(record);
  }

  #denied(member: Member, record: DomainStatsRecord): void {
    const denied = this.#selectors.of(record.domain);
    let gone: Domain | undefined;
    for (const watched of denied) {
      const held = watched.holders.get(member);
      // If two selectors mean the same domain, the sink gets only one `gone`.
      if (held !== undefined && held.uuid !== gone?.uuid) this.#sink.gone(held);
      gone ??= held;
      watched.holders.delete(member);
      watched.without.set(member, record.domain);
      watched.again.add(member);
    }
    for (const watched of denied) if (this.#isMissing(watched)) this.#sink.record(this.#missing(watched, record));
  }

  #gone(member: Member, domain: Domain): void {
    let held = false;
    for (const watched of this.#selectors.of(domain)) {
      const { holders, without, again } = watched;
      const denied = without.get(member);
      if (denied?.uuid === domain.uuid && denied.name === domain.name) {
        // The host takes back its own record of the missing domain: it has the domain now, but the domain does not pass
        // the query's filters.
        without.delete(member);
        again.delete(member);
        this.#exists(watched);
      }
      const holds = holders.get(member);
      if (holds?.uuid !== domain.uuid || holds.host !== domain.host) continue;
      holders.delete(member);
      held = true;
    }
    if (held) this.#sink.gone(domain);
  }

  /** A host has the domain, so an earlier record that reported it as missing is no longer true. */
  #exists(watched: Watched): void {
    if (watched.missing !== undefined) this.#sink.gone(watched.missing);
    watched.missing = undefined;
  }

  /**
   * True if all reachable hosts report the domain as missing. If a record has already said so, all these hosts must
   * have reported it again since then.
   */
  #isMissing({ holders, without, again, missing }: Watched): boolean {
    if (holders.size > 0) return false;
    const said = missing === undefined ? without : again;
    return this.#members.every((member) => member.unreachable !== undefined || said.has(member));
  }

  #missing(watched: Watched, record: DomainStatsRecord): DomainStatsRecord {
    const { selector, ordinal, again } = watched;
    again.clear();
    const unreachable = this.#members.find((member) => member.unreachable !== undefined)?.unreachable;
    const missing = this.#ownership.missing(selector, ordinal, unreachable ?? record);
    watched.missing = missing.domain;
    return missing;
  }
}
