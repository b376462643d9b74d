import type { IncomingMessage } from "node:http";
import { invalid, quote } from "../../model/error.ts";
import { checkPatterns } from "../../model/glob.ts";
import { type Group, groupMask } from "../../model/group.ts";
import { checkOptions, type Members } from "../../model/options.ts";
import { checkQuery, type DomainSelector } from "../../model/query.ts";

/**
 * What a client may read. `stats` permits statistics over WebSocket, and `/why`. `metrics` permits the page `/metrics`,
 * and nothing else. `admin` permits everything.
 */
export const ROLES = ["stats", "metrics", "admin"] as const;
/** One of the ROLES. */
export type Role = (typeof ROLES)[number];

/** The roles that may read each of these pages. A WebSocket and `/why` need one of STATS_ROLES. */
const PAGE_ROLES: Readonly<Record<string, readonly Role[]>> = {
  "/metrics": ["metrics", "admin"],
  "/stats.json": ["admin"],
};
const STATS_ROLES: readonly Role[] = ["stats", "admin"];

/**
 * Words for an error message: which token a request needs, such as "a token of the role stats or admin".
 *
 * @param path the path of the page; undefined: a WebSocket, or `/why`
 */
export function neededToken(path?: string): string {
  return `a token of the role ${rolesFor(path).join(" or ")}`;
}

/** Why a token does not identify a client. The argument is undefined if the client shows no token. */
export function tokenFault(token: string | undefined): string {
  return token === undefined ? "a token is needed" : "the token is wrong";
}

function rolesFor(path: string | undefined): readonly Role[] {
  return path === undefined ? STATS_ROLES : (PAGE_ROLES[path] ?? []);
}

/**
 * The reason why a role does not permit a page, with the role to ask for; undefined if the role permits the page. Tell
 * this reason only to a client whose token is valid.
 *
 * @param path the path of the page; undefined: a WebSocket, or `/why`
 */
export function roleDenial(role: Role, path?: string): string | undefined {
  if (rolesFor(path).includes(role)) return undefined;
  const limits = path === undefined ? "permits only /metrics" : `does not permit ${path}`;
  // This text becomes the reason of a close frame, and such a reason has 123 bytes at most.
  return `the role ${role} of this token ${limits}: ask the server's operator for ${neededToken(path)}`;
}

/** Who a client is, and what it may see: the answer of `authenticate`. */
export interface Principal {
  /** Not empty. `disconnect(name)` ends the connections of all principals with this name. */
  readonly name: string;
  /**
   * The visible domains by uuid or name; no other domains exist for this client. A name shows the domain that has this
   * name at the time of a sweep. An empty list shows none. Default: all.
   */
  readonly domains?: readonly string[];
  /**
   * Patterns for names, in place of `domains`; at least one. A domain is visible while one of them matches its name.
   * Default: all.
   */
  readonly names?: readonly string[];
  /**
   * The groups of parameters that the client may query; not empty. A query without groups gets these groups, and a
   * query of any other group fails with `denied`. Default: all.
   */
  readonly groups?: readonly Group[];
  /**
   * What the client may read. With `domains`, `names` or `groups`, only `stats` is valid, because pages show all
   * domains. Default: `admin` if it may see everything, else `stats`.
   */
  readonly role?: Role;
  /**
   * When the server ends the client's connections, in ms since 1970, so that the client authenticates again. Default:
   * never.
   */
  readonly expiresAt?: number;
}

/**
 * Decides who a client is. If the function throws or rejects, or if its result is undefined or null, the server refuses
 * the client.
 *
 * @param request the request that opens the WebSocket, or a request for `/metrics`, `/stats.json` or `/why`
 * @param token the token of the request's header `Authorization: Bearer`, else that of the client's first message
 */
export type Authenticate = (
  request: IncomingMessage,
  token: string | undefined,
) => Principal | undefined | null | Promise<Principal | undefined | null>;

/** What a client may see. Clients with the same restriction share their sweeps. */
export interface Restriction {
  /** Undefined: all domains. */
  readonly domains: readonly DomainSelector[] | undefined;
  /** Sorted patterns for the names of the visible domains; absent if there are `domains`. */
  readonly names?: readonly string[] | undefined;
  /** The bits of the permitted groups; 0: all groups. */
  readonly groups: number;
}

/** A checked principal, with the defaults of absent members. */
export interface Identity {
  readonly name: string;
  readonly role: Role;
  readonly restriction: Restriction;
  /** In ms since 1970; Infinity: never. */
  readonly expiresAt: number;
}

/** The restriction of a client that may see everything. */
export const UNRESTRICTED: Restriction = { domains: undefined, groups: 0 };

const PRINCIPAL_MEMBERS = {
  name: undefined,
  domains: undefined,
  names: undefined,
  groups: undefined,
  role: undefined,
  expiresAt: undefined,
} satisfies Members;

/**
 * Checks a principal. An invalid principal is an error, because without its invalid members it might show more than was
 * meant.
 *
 * @throws VirstreamError `invalid-argument`, `unknown-group`
 */
export function identityOf(principal: Principal): Identity {
  if (typeof principal !== "object") throw invalid(`a principal must be an object, not ${quote(principal)}`);
  checkOptions("a principal", principal, PRINCIPAL_MEMBERS);
  for (const [member, value] of Object.entries(principal)) {
    // A list that is undefined by mistake must not show everything.
    if (value === undefined) throw invalid(`${member} of a principal is undefined: leave it out for its default`);
  }
  const { name, expiresAt = Number.POSITIVE_INFINITY } = principal;
  if (typeof name !== "string" || name === "") throw invalid("a principal must have a name");
  if (typeof expiresAt !== "number" || Number.isNaN(expiresAt)) {
    throw invalid(`expiresAt of a principal must be a number of ms since 1970, not ${quote(expiresAt)}`);
  }
  const restriction = restrictionOf(principal, "the principal");
  const isRestricted = (restriction.domains ?? restriction.names) !== undefined || restriction.groups !== 0;
  const { role = isRestricted ? "stats" : "admin" } = principal;
  if (!ROLES.includes(role)) throw invalid(`role of a principal must be ${ROLES.join(", ")}, not ${quote(role)}`);
  if (isRestricted && role !== "stats") throw invalid(`domains, names and groups do not go with the role ${role}`);
  return { name, role, restriction, expiresAt };
}

/**
 * Checks the members that restrict what a client may see.
 *
 * @param who names the owner of these members in error messages
 * @throws VirstreamError `invalid-argument`, `unknown-group`
 */
export function restrictionOf(
  { domains, names, groups }: Pick<Principal, "domains" | "names" | "groups">,
  who: string,
): Restriction {
  if (domains !== undefined && names !== undefined) throw invalid(`${who} has domains and names: give it one of them`);
  return {
    domains: domains === undefined ? undefined : selectorsOf(domains, who),
    ...(names !== undefined && { names: checkPatterns(`names of ${who}`, names) }),
    groups: groups === undefined ? 0 : groupsOf(groups, who),
  };
}

function selectorsOf(domains: unknown, who: string): readonly DomainSelector[] {
  if (!Array.isArray(domains) || domains.some((domain) => typeof domain !== "string" || domain === "")) {
    throw invalid(`the domains of ${who} must be a list of uuids and names`);
  }
  // In a query, an empty list is an error. Here an empty list means that the client may see no domain.
  if (domains.length === 0) return [];
  return checkQuery({ domains }).domains!;
}

function groupsOf(groups: unknown, who: string): number {
  // In a query, an empty list means all groups. Here an empty list is refused, because it might show more than was
  // meant.
  if (!Array.isArray(groups) || groups.length === 0) {
    throw invalid(`the groups of ${who} must be a list of names that is not empty`);
  }
  return groupMask(groups);
}
