import type { DomainSelector, Query } from "../model/query.ts";
import type { Domain, DomainStatsRecord } from "../model/record.ts";
import type { WatchSink } from "../model/watch.ts";
import type { Adoption } from "./adoption.ts";
import type { Member } from "./member.ts";
import { namedBy, Selection } from "./selection.ts";
import { unreachableRecord } from "./unreachable.ts";

/** What is known of one name. */
interface Watched {
  readonly selector: DomainSelector;
  readonly ordinal: number;
  /** The hosts that have it, and as which domain. */
  readonly holders: Map<Member, Domain>;
  /** The hosts whose last word is that they do not have it. */
  readonly denying: Set<Member>;
  /** Those that have said so since it was last told that nobody has it. */
  readonly fresh: Set<Member>;
  /** The domain of the record that tells so; undefined while somebody has it. */
  missing: Domain | undefined;
}

/**
 * A watch of named domains, whichever hosts have them. Each host tells all the time which of the names it does not know;
 * of that, only what holds for all hosts is of interest: that nobody has a domain, or that a host has it no more.
 */
export class NamedWatch {
  readonly #members: readonly Member[];
  readonly #adoption: Adoption;
  readonly #sink: WatchSink;
  readonly #selection: Selection<Watched>;

  constructor(members: readonly Member[], query: Query, adoption: Adoption, sink: WatchSink) {
    this.#members = members;
    this.#adoption = adoption;
    this.#sink = sink;
    this.#selection = new Selection(query, (selector, ordinal) => ({
      selector,
      ordinal,
      holders: new Map(),
      denying: new Set(),
      fresh: new Set(),
      missing: undefined,
    }));
  }

  /** Takes a host's events, and passes on what of them concerns all. */
  sinkOf(member: Member): WatchSink {
    const sink = this.#sink;
    return {
      record: (record) => (record.status === "gone" ? this.#denied(member, record) : this.#had(member, record)),
      gone: (domain) => this.#left(member, domain),
      event: (event) => sink.event(event),
      flush: () => sink.flush(),
      end: (error) => sink.end(error),
    };
  }

  #had(member: Member, record: DomainStatsRecord): void {
    for (const watched of this.#selection.of(record.domain)) {
      watched.denying.delete(member);
      watched.fresh.delete(member);
      watched.holders.set(member, record.domain);
      if (watched.missing !== undefined) this.#sink.gone(watched.missing);
      watched.missing = undefined;
    }
    this.#sink.record(record);
  }

  #denied(member: Member, record: DomainStatsRecord): void {
    const matching = [...this.#selection.of(record.domain)];
    let gone: Domain | undefined;
    for (const watched of matching) {
      const held = watched.holders.get(member);
      // Known by two names, it leaves once.
      if (held !== undefined && held.uuid !== gone?.uuid) this.#sink.gone(held);
      gone ??= held;
      watched.holders.delete(member);
      watched.denying.add(member);
      watched.fresh.add(member);
    }
    for (const watched of matching) if (this.#nobodyHas(watched)) this.#sink.record(this.#missing(watched, record));
  }

  #left(member: Member, domain: Domain): void {
    let held = false;
    for (const watched of this.#selection.of(domain)) {
      if (!same(watched.holders.get(member), domain)) continue;
      watched.holders.delete(member);
      held = true;
    }
    if (held) this.#sink.gone(domain);
  }

  /** Whether all who are there say so, and have said so once more if it was told already. */
  #nobodyHas({ holders, denying, fresh, missing }: Watched): boolean {
    if (holders.size > 0) return false;
    const said = missing === undefined ? denying : fresh;
    return this.#members.every((member) => member.unreachable !== undefined || said.has(member));
  }

  #missing(watched: Watched, record: DomainStatsRecord): DomainStatsRecord {
    watched.fresh.clear();
    const absence = this.#members.find((member) => member.unreachable !== undefined)?.unreachable;
    const { selector, ordinal } = watched;
    const domain = watched.missing ?? this.#adoption.nobodys(namedBy(selector));
    watched.missing = domain;
    return absence === undefined
      ? this.#adoption.nobodysRecord(record, domain, ordinal)
      : unreachableRecord(domain, this.#adoption.nobodysPlace(ordinal), absence);
  }
}

function same(one: Domain | undefined, other: Domain): boolean {
  return one !== undefined && one.uuid === other.uuid && one.host === other.host;
}
