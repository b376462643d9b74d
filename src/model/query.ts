import { invalid, quote, VirstreamError } from "./error.ts";
import { checkPatterns } from "./glob.ts";
import { type Group, groupMask } from "./group.ts";
import { checkOptions, FLAG, LIST, type Members, whole } from "./options.ts";
import { Domain, type Recorded } from "./record.ts";
import { parseUuid } from "./uuid.ts";

/**
 * libvirt's list filters by name; see ListFilter for their families. For each family from which a query names filters,
 * a domain must pass at least one of the named filters.
 */
export const LIST_FILTERS = {
  active: 0x1,
  inactive: 0x2,
  persistent: 0x4,
  transient: 0x8,
  running: 0x10,
  paused: 0x20,
  shutoff: 0x40,
  other: 0x80,
} as const;

/** A list filter. The families are active|inactive, persistent|transient, running|paused|shutoff|other. */
export type ListFilter = keyof typeof LIST_FILTERS;

/** The flags of libvirt's call for statistics, without the list filters. */
export const StatsFlag = { nowait: 0x20000000, backing: 0x40000000, enforce: 0x80000000 } as const;

/** The bits of a query's flags that are list filters. */
export const FILTER_MASK = 0xff;

const KNOWN_FLAGS = (FILTER_MASK | StatsFlag.nowait | StatsFlag.backing | StatsFlag.enforce) >>> 0;

/** The default of `deadlineMs`, in ms. */
const DEFAULT_DEADLINE_MS = 2_000;
/** The greatest `deadlineMs` that a query may have, in ms. */
export const MAX_DEADLINE_MS = 600_000;

/** A query for statistics. By default it asks for every supported group of every domain. */
export interface StatsQuery {
  /**
   * Groups by name, or libvirt's bit mask; an empty list or 0 is every group that the driver supports. For names that
   * are known only at run time, `groupMask` makes a mask. Default: every group.
   */
  readonly groups?: readonly Group[] | number;
  /** Only domains that pass these filters. Default: all. */
  readonly filter?: readonly ListFilter[];
  /** libvirt's flags as a number, in addition to `filter`, `enforce`, `backing` and `nowait`. Default 0. */
  readonly flags?: number;
  /** True: the query fails if it names a group that is not supported. Default false: such a group is left out. */
  readonly enforce?: boolean;
  /** Count every image of a disk's backing chain in the block group. Default false. */
  readonly backing?: boolean;
  /** Do not wait for a domain that is busy with another job: deliver the groups that need no job. Default false. */
  readonly nowait?: boolean;
  /**
   * The time limit for each domain, in ms, 1 to 600,000. Default 2,000. If a domain is late, its record comes at the
   * deadline, and says what is missing.
   */
  readonly deadlineMs?: number;
  /** Only these domains: a Domain of the same connection, a uuid or a name. Each yields one record. Default: all. */
  readonly domains?: readonly (Domain | string)[];
  /**
   * Only domains whose name matches one of these patterns, such as `web-*`: `*`, `?`, `[a-z]`, `[!a-z]`, and a
   * backslash that takes the next character literally. Upper and lower case differ. Not with `domains`. Default: all.
   */
  readonly names?: readonly string[];
  /**
   * Only domains of hosts whose name, or label, matches one of these patterns. Not with `domains`. Default: all hosts.
   */
  readonly hosts?: readonly string[];
  /**
   * Only for a sweep of a recording: the records as they were at this time, in ms since 1970. If the time is after the
   * end of the recording, the sweep has its newest records. Default: the moment that the URI of the recording names.
   */
  readonly at?: number;
}

/**
 * A domain by its uuid or its name. As in virsh, a uuid that no domain has is looked up as a name. If the uuid was not
 * written in lower case with dashes, `name` is the uuid as it was written.
 */
export type DomainSelector = { readonly uuid: string; readonly name?: string } | { readonly name: string };

/** The name of a selector. For a uuid, the text that is looked up as a name if no domain has that uuid. */
export function selectorName(selector: DomainSelector): string {
  return "uuid" in selector ? (selector.name ?? selector.uuid) : selector.name;
}

/** A checked query with all defaults filled in: the form that drivers take and that is sent to a server. */
export interface Query {
  /** The bits of the groups; 0 means every group that the driver supports. */
  readonly groups: number;
  /** libvirt's flags, unsigned. */
  readonly flags: number;
  readonly deadlineMs: number;
  /**
   * The domains that the query names. Never empty; no selector occurs twice. Undefined: all domains that the other
   * members select.
   */
  readonly domains: readonly DomainSelector[] | undefined;
  /** Only domains whose name one of these patterns matches; never empty, and sorted. Not with `domains`. */
  readonly names?: readonly string[] | undefined;
  /** Only domains of hosts whose name one of these patterns matches; never empty, and sorted. Not with `domains`. */
  readonly hosts?: readonly string[] | undefined;
  /**
   * The moment in a recording whose records the sweep has, in ms since 1970. Only for a driver that has `recorded`, and
   * not for a watch.
   */
  readonly at?: number;
}

const QUERY_MEMBERS = {
  groups: undefined,
  filter: LIST,
  flags: undefined,
  enforce: FLAG,
  backing: FLAG,
  nowait: FLAG,
  deadlineMs: whole(1, MAX_DEADLINE_MS),
  domains: LIST,
  names: undefined,
  hosts: undefined,
  at: whole(0, Number.MAX_SAFE_INTEGER),
} satisfies Members;

/**
 * Checks a query and fills in its defaults.
 *
 * @param driver the driver of the query: domains of another driver are refused with `foreign-domain`
 * @throws VirstreamError `unknown-group`, `unknown-flag`, `invalid-argument`, `empty-domain-list`, `foreign-domain`,
 *   and `unsupported` for `at` without a recording
 */
export function checkQuery(
  query: StatsQuery = {},
  driver?: object & { readonly recorded?: Recorded | undefined },
): Query {
  checkOptions("a query", query, QUERY_MEMBERS);
  if (query.at !== undefined && driver && !driver.recorded)
    throw new VirstreamError("unsupported", "at needs a recording");
  for (const member of ["names", "hosts"] as const) {
    if (query.domains !== undefined && query[member] !== undefined) throw invalid(`${member} does not go with domains`);
  }
  return {
    groups: groupMask(query.groups),
    flags: checkFlags(query),
    deadlineMs: query.deadlineMs ?? DEFAULT_DEADLINE_MS,
    domains: query.domains === undefined ? undefined : checkDomains(query.domains, driver),
    ...(query.names !== undefined && { names: checkPatterns("names", query.names) }),
    ...(query.hosts !== undefined && { hosts: checkPatterns("hosts", query.hosts) }),
    ...(query.at !== undefined && { at: query.at }),
  };
}

function checkFlags(query: StatsQuery): number {
  const given = query.flags ?? 0;
  if (!Number.isInteger(given) || given < 0 || given > 0xffffffff) {
    // JavaScript's bit operators make a mask with bit 31, libvirt's enforce, negative.
    throw new VirstreamError("unknown-flag", `flags must be unsigned (>>> 0 makes them so), not ${quote(given)}`);
  }
  const unknown = (given & ~KNOWN_FLAGS) >>> 0;
  if (unknown !== 0) {
    const message = `unknown flags 0x${unknown.toString(16)}: known are 0x${KNOWN_FLAGS.toString(16)}`;
    throw new VirstreamError("unknown-flag", message);
  }
  let flags = given;
  for (const name of query.filter ?? []) {
    if (!Object.hasOwn(LIST_FILTERS, name)) {
      const message = `unknown filter ${quote(name)}: the filters are ${Object.keys(LIST_FILTERS).join(", ")}`;
      throw new VirstreamError("unknown-flag", message);
    }
    flags |= LIST_FILTERS[name];
  }
  for (const name of ["nowait", "backing", "enforce"] as const) {
    if (query[name]) flags |= StatsFlag[name];
  }
  return flags >>> 0;
}

function checkDomains(domains: readonly (Domain | string)[], driver: object | undefined): DomainSelector[] {
  return distinctSelectors(
    domains.map((domain) => {
      if (domain instanceof Domain) {
        if (driver !== undefined && !Domain.belongsTo(domain, driver)) {
          const message = `domain ${domain.name} (${domain.uuid}) belongs to another connection: query it there`;
          throw new VirstreamError("foreign-domain", message);
        }
        return { uuid: domain.uuid };
      }
      if (typeof domain === "string" && domain !== "") {
        const uuid = parseUuid(domain);
        if (uuid === undefined) return { name: domain };
        return uuid === domain ? { uuid } : { uuid, name: domain };
      }
      throw invalid("a domain is named by a Domain of the connection, a uuid or a name");
    }),
  );
}

/**
 * Returns a list of selectors without its repetitions.
 *
 * @throws VirstreamError `empty-domain-list` if the given list is empty
 */
export function distinctSelectors(selectors: readonly DomainSelector[]): DomainSelector[] {
  if (selectors.length === 0) {
    const message = "the list of domains is empty: leave it out to ask for all";
    throw new VirstreamError("empty-domain-list", message);
  }
  const distinct = new Map<string, DomainSelector>();
  for (const selector of selectors)
    distinct.set("uuid" in selector ? selector.uuid : `name ${selector.name}`, selector);
  return [...distinct.values()];
}
