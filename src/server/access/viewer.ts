import { invalid } from "../../model/error.ts";
import { checkOptions, type Members } from "../../model/options.ts";
import type { Identify } from "./admission.ts";
import { type Identity, type Principal, restrictionOf, UNRESTRICTED } from "./principal.ts";
import { hashOf, placeOf } from "./token-list.ts";

/**
 * A token that shows only some domains: those of `domains`, or those that match `names`. For a client with this token,
 * no other domains exist.
 */
export interface Viewer extends Pick<Principal, "names" | "groups"> {
  /** The viewer's name in the metrics; not empty, and different for each viewer. */
  readonly name: string;
  /** The token must not be empty, and must differ from all other tokens. */
  readonly token: string;
  /**
   * The visible domains by uuid or name; at least one. A name shows the domain that has this name at the time of a
   * sweep. Default: `names` decides.
   */
  readonly domains?: readonly string[];
}

const VIEWER_MEMBERS = {
  name: undefined,
  token: undefined,
  domains: undefined,
  names: undefined,
  groups: undefined,
} satisfies Members;

/** A token, and the one identity that all clients with this token get. */
export interface KnownToken {
  readonly token: string;
  readonly identity: Identity;
}

/**
 * Makes an Identify that compares a client's token with these tokens. The comparison takes the same time for every
 * token. If there are no known tokens, every client may see everything.
 */
export function identifyByToken(known: readonly KnownToken[]): Identify {
  const hashes = known.map(({ token }) => hashOf(token));
  return (_, token) => (hashes.length === 0 ? EVERYBODY : known[placeOf(token, hashes)]?.identity);
}

/**
 * The tokens of a server: first the token for all domains, if there is one, then those of the viewers.
 *
 * @throws VirstreamError `invalid-argument` for an empty token, for invalid viewers, and for an empty list of viewers, which
 *   would admit every client
 */
export function knownTokens(token: string | undefined, viewers: readonly Viewer[] | undefined): KnownToken[] {
  if (token === "") throw invalid("the token is empty");
  const narrow = viewers === undefined ? [] : checkViewers(viewers, token);
  return token === undefined ? narrow : [{ token, identity: EVERYBODY }, ...narrow];
}

const EVERYBODY: Identity = { name: "", role: "admin", restriction: UNRESTRICTED, expiresAt: Number.POSITIVE_INFINITY };

/** Checks viewers, and returns their tokens. Error messages contain names, but no tokens. */
function checkViewers(viewers: readonly Viewer[], token: string | undefined): KnownToken[] {
  if (!Array.isArray(viewers)) throw invalid("viewers must be a list");
  if (viewers.length === 0) throw invalid("the list of viewers is empty: name at least one, or leave it out");
  const names = new Set<string>();
  const owners = new Map<string, string>(token === undefined ? [] : [[token, "the server itself"]]);
  return viewers.map((viewer: Viewer, i) => {
    if (typeof viewer !== "object" || viewer === null) {
      throw invalid(`viewer ${i + 1} must be an object with name, token, and domains or names`);
    }
    const who = typeof viewer.name === "string" && viewer.name !== "" ? JSON.stringify(viewer.name) : undefined;
    if (who === undefined) throw invalid(`viewer ${i + 1} has no name`);
    checkOptions(`viewer ${who}`, viewer, VIEWER_MEMBERS);
    if (names.has(viewer.name)) throw invalid(`two viewers have the name ${who}`);
    names.add(viewer.name);
    if (typeof viewer.token !== "string" || viewer.token === "") throw invalid(`viewer ${who} has no token`);
    const owner = owners.get(viewer.token);
    if (owner !== undefined) throw invalid(`viewer ${who} has the same token as ${owner}: give each its own`);
    owners.set(viewer.token, `viewer ${who}`);
    const restriction = restrictionOf(viewer, `viewer ${who}`);
    // An empty list is probably a mistake, because a viewer that sees nothing would be useless.
    if (!(restriction.names ?? restriction.domains)?.length)
      throw invalid(`viewer ${who} has no domains: name at least one`);
    return {
      token: viewer.token,
      identity: { name: viewer.name, role: "stats", restriction, expiresAt: Number.POSITIVE_INFINITY },
    };
  });
}
