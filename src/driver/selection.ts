import type { DomainMap } from "../model/domain-map.ts";
import { VirstreamError } from "../model/error.ts";
import { FIELDS } from "../model/field/field.ts";
import { groupBit, groupNames } from "../model/group.ts";
import { TypedParams } from "../model/params.ts";
import { type DomainSelector, FILTER_MASK, LIST_FILTERS, type Query, StatsFlag, selectorName } from "../model/query.ts";
import { type DomainIdentity, DomainStatsRecord } from "../model/record.ts";
import { Schema } from "../model/schema.ts";
import { NIL_UUID } from "../model/uuid.ts";
import { matcherOf, passesFilter } from "./matcher.ts";
import { perObject } from "./memo.ts";
import { unknownRecord } from "./missing-record.ts";

/** The bit of each group, by the first segment of its keys. `net`, for example, belongs to the group interface. */
const BIT_OF_SEGMENT = new Map(FIELDS.map(({ pattern, group }) => [pattern.split(".")[0]!, groupBit(group)]));

/**
 * The part of a schema that a query asks for, as a schema of its own, and the positions of this part's keys in the
 * whole schema.
 */
interface Projection {
  readonly schema: Schema;
  readonly positions: readonly number[];
}

/**
 * Answers a query from records that were made for a wider query: leaves out the domains and groups that the query does
 * not ask for. For drivers that read existing records, such as those of a recording.
 */
export class Selection {
  readonly #query: Query;
  readonly #named: (name: string) => boolean;
  readonly #ofHost: (host: string) => boolean;
  readonly #projectionOf = perObject((whole: Schema) => this.#project(whole));
  /**
   * The place of each selector in the query's list, by uuid and by name. This place becomes the `index` of the domain's
   * record.
   */
  readonly #uuids = new Map<string, number>();
  readonly #names = new Map<string, number>();

  /**
   * @param recorded the bits of the groups that the records may have; 0: all
   * @throws VirstreamError `unsupported` for a filter that records cannot answer, and, with the flag `enforce`, for a
   *   group that was not recorded
   */
  constructor(query: Query, recorded: number) {
    this.#query = query;
    this.#named = matcherOf(query.names);
    this.#ofHost = matcherOf(query.hosts);
    for (const [place, selector] of (query.domains ?? []).entries()) {
      if ("uuid" in selector) this.#uuids.set(selector.uuid, place);
      this.#names.set(selectorName(selector), place);
    }
    if ((query.flags & (LIST_FILTERS.persistent | LIST_FILTERS.transient)) !== 0) {
      throw new VirstreamError("unsupported", "records do not say whether a domain is persistent or transient");
    }
    if (recorded !== 0 && (recorded & groupBit("state")) === 0 && (query.flags & OF_STATE) !== 0) {
      throw new VirstreamError("unsupported", "the state of the domains was not recorded");
    }
    const lacking = groupNames(recorded === 0 ? 0 : query.groups & ~recorded);
    if ((query.flags & StatsFlag.enforce) !== 0 && lacking.length > 0) {
      throw new VirstreamError("unsupported", `the groups ${lacking.join(", ")} were not recorded`);
    }
  }

  /** True if the query selects every domain, so that the source's own summaries count the same domains. */
  get hasAllDomains(): boolean {
    const { flags, domains, names, hosts } = this.#query;
    return (flags & FILTER_MASK) === 0 && domains === undefined && names === undefined && hosts === undefined;
  }

  /** True if the query selects this host. */
  hasHost(host: string): boolean {
    return this.#ofHost(host);
  }

  /** The record as the query asks for it; undefined: the query does not select the domain. */
  of(record: DomainStatsRecord): DomainStatsRecord | undefined {
    return this.#selects(record) ? this.#projected(record) : undefined;
  }

  /**
   * Makes records for the domains that the query names but that do not exist.
   *
   * @param known the domains that exist
   * @param members the records' host and time, and the driver that owns their domains
   */
  *unknown(
    known: DomainMap<{ readonly domain: DomainIdentity }>,
    { host, owner, sampledAt }: { readonly host: string; readonly owner: object; readonly sampledAt: number },
  ): Generator<DomainStatsRecord> {
    const names = new Set<string>();
    const uuids = new Set<string>();
    for (const { domain } of known) {
      names.add(domain.name);
      uuids.add(domain.uuid);
    }
    for (const [index, selector] of (this.#query.domains ?? []).entries()) {
      if (!isKnown(selector, uuids, names)) yield unknownRecord(selector, { host, owner }, { sampledAt, index });
    }
  }

  #selects(record: DomainStatsRecord): boolean {
    const { flags, domains } = this.#query;
    const { name, host } = record.domain;
    if (domains !== undefined && this.#placeOf(record.domain) === undefined) return false;
    if (!this.#ofHost(host) || !this.#named(name)) return false;
    return (flags & FILTER_MASK) === 0 || passesFilter(traitsOf(record), flags);
  }

  #placeOf({ uuid, name }: DomainIdentity): number | undefined {
    return this.#uuids.get(uuid) ?? this.#names.get(name);
  }

  #projected(record: DomainStatsRecord): DomainStatsRecord {
    const { groups } = this.#query;
    const { params, missing } = record;
    const index = this.#placeOf(record.domain) ?? record.index;
    if (groups === 0 && index === record.index) return record;
    const asked = groups === 0 ? missing : missing.filter((group) => (groupBit(group) & groups) !== 0);
    const isWhole = record.status === "partial" && missing.length > 0 && asked.length === 0;
    const { schema } = this.#projectionOf(params.schema);
    const isSame = schema === params.schema && index === record.index;
    if (isSame && !isWhole && asked.length === missing.length) return record;
    const { domain, sampledAt, steadyAt, tookMs } = record;
    const why = isWhole ? {} : { reason: record.reason, missing: asked, error: record.error };
    const status = isWhole ? "ok" : record.status;
    return new DomainStatsRecord({
      ...{ domain, params: this.#paramsOf(params), status, sampledAt, steadyAt, tookMs, index },
      ...why,
    });
  }

  #paramsOf(params: TypedParams): TypedParams {
    const { schema, positions } = this.#projectionOf(params.schema);
    if (schema === params.schema) return params;
    const doubles = schema.row();
    const texts: string[] = [];
    let bigs: Map<number, bigint> | undefined;
    for (const [to, from] of positions.entries()) {
      if (schema.textPositions[texts.length] === to) {
        texts.push(params.texts[params.doubles[from]!]!);
        continue;
      }
      doubles[to] = params.doubles[from]!;
      const big = params.bigs?.get(from);
      if (big !== undefined) {
        bigs ??= new Map();
        bigs.set(to, big);
      }
    }
    return new TypedParams(schema, doubles, texts, bigs);
  }

  #project(whole: Schema): Projection {
    const positions = [...whole.keys.keys()].filter((position) => this.#asksFor(whole.keys[position]!));
    if (positions.length === whole.keys.length) return { schema: whole, positions };
    const keys = positions.map((position) => whole.keys[position]!);
    const types = Uint8Array.from(positions, (position) => whole.types[position]!);
    return { schema: new Schema(keys, types), positions };
  }

  /**
   * True if the query asks for this key. A key of a group that this version does not know is left out only if the query
   * names groups.
   */
  #asksFor(key: string): boolean {
    if (this.#query.groups === 0) return true;
    const bit = BIT_OF_SEGMENT.get(key.split(".")[0]!);
    return bit !== undefined && (bit & this.#query.groups) !== 0;
  }
}

/** True if a selector selects a domain with one of these uuids or names. */
export function isKnown(selector: DomainSelector, uuids: ReadonlySet<string>, names: ReadonlySet<string>): boolean {
  if ("uuid" in selector && selector.uuid !== NIL_UUID && uuids.has(selector.uuid)) return true;
  return names.has(selectorName(selector));
}

const { active, inactive, running, paused, shutoff, other } = LIST_FILTERS;
/** The filters that can be applied only when the state is known. */
const OF_STATE = running | paused | shutoff | other;

/**
 * The bits of the filters that a domain passes. If the domain is active and its record lacks the state, the domain may
 * be in any state of an active domain, so it passes all filters for these states.
 */
function traitsOf({ domain, state, status }: DomainStatsRecord): number {
  if (status === "gone") return 0;
  if (state === undefined) return domain.id >= 0 ? active | running | paused | other : inactive | shutoff;
  const bits: Readonly<Record<string, number>> = { running, paused, shutoff };
  return (state.state === "shutoff" ? inactive : active) | (bits[state.state] ?? other);
}
