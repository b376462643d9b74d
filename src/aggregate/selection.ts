import type { DomainSelector, Query } from "../model/query.ts";
import type { Domain, DomainIdentity, DomainStatsRecord } from "../model/record.ts";
import { NIL_UUID } from "../model/uuid.ts";

/** VIR_DOMAIN_RUNNING. */
const RUNNING = 1;

/** The domains that a query names: says which of its names an answer is to. */
export class Selection<State> {
  readonly #byUuid = new Map<string, State>();
  readonly #byName = new Map<string, State>();

  /** @param state what the caller keeps for each name */
  constructor(query: Query, state: (selector: DomainSelector, ordinal: number) => State) {
    for (const [ordinal, selector] of (query.domains ?? []).entries()) {
      if ("uuid" in selector) this.#byUuid.set(selector.uuid, state(selector, ordinal));
      else this.#byName.set(selector.name, state(selector, ordinal));
    }
  }

  get size(): number {
    return this.#byUuid.size + this.#byName.size;
  }

  /** All of them. */
  *[Symbol.iterator](): Generator<State> {
    yield* this.#byUuid.values();
    yield* this.#byName.values();
  }

  /** Those that a domain goes by: two, when a query names it twice. */
  *of({ uuid, name }: DomainIdentity): Generator<State> {
    const byUuid = uuid === NIL_UUID ? undefined : this.#byUuid.get(uuid);
    const byName = this.#byName.get(name);
    if (byUuid !== undefined) yield byUuid;
    if (byName !== undefined) yield byName;
  }
}

/**
 * How much an answer tells of a domain that several hosts may have, as during and after a migration: that of the host on
 * which it runs before all others, then active before inactive, then whole before partial; a failure tells less than any of
 * these, and `gone` least.
 */
export function weight(record: DomainStatsRecord): number {
  if (record.status === "gone") return 0;
  if (record.status === "failed") return 1;
  return 2 + (runs(record) ? 4 : 0) + (record.domain.id >= 0 ? 2 : 0) + (record.status === "ok" ? 1 : 0);
}

/** Whether the domain runs there, as far as its record tells: then no other host has a better one. */
export function runs({ domain, status, params }: DomainStatsRecord): boolean {
  if (domain.id < 0 || status === "failed" || status === "gone") return false;
  const state = params.number("state.state");
  return state === undefined || state === RUNNING;
}

/** What a selector names, for a record of a domain that nobody has. */
export function namedBy(selector: DomainSelector): Pick<Domain, "uuid" | "name"> {
  return "uuid" in selector ? { uuid: selector.uuid, name: "" } : { uuid: NIL_UUID, name: selector.name };
}
