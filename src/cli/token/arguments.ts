import { GROUPS, groupMask, groupNames } from "../../model/group.ts";
import { ROLES } from "../../server/access/principal.ts";
import { choice, choices, duration, LIST, parse, TEXT } from "../arguments.ts";
import { UsageError } from "../usage.ts";

/** The arguments of `virstream token`. */
export type TokenArguments = ReturnType<typeof parseToken>;

/** The actions on tokens. */
export const ACTIONS = ["create", "list", "revoke"] as const;
/** The options of `virstream token`. */
export const TOKEN_OPTIONS = {
  ...{ tokens: TEXT, role: TEXT, domain: LIST, name: LIST, groups: TEXT, expires: TEXT },
} as const;
/** A token may be valid for a minute at least, and for ten years at most. */
const LEAST_LIFE_MS = 60_000;
const MOST_LIFE_MS = 10 * 365 * 86_400_000;

/** @throws UsageError */
export function parseToken(args: readonly string[]) {
  const { values, positionals } = parse(args, TOKEN_OPTIONS);
  const [asked = "", name, more] = positionals;
  const action = choice("token", asked, ACTIONS);
  if (action === "list" ? name !== undefined : name === undefined || more !== undefined) {
    throw new UsageError(action === "list" ? "token list takes no name" : `token ${action} takes one name`);
  }
  const file = values.tokens ?? process.env["VIRSTREAM_TOKENS"];
  if (!file) throw new UsageError("token needs --tokens FILE, or $VIRSTREAM_TOKENS");
  const rights = ["role", "domain", "name", "groups", "expires"].find((option) => option in values);
  if (action !== "create" && rights !== undefined) throw new UsageError(`--${rights} goes with token create`);
  const { role = "stats", domain, groups } = values;
  return {
    action,
    /** The name of the token; empty for `list`. */
    name: name ?? "",
    file,
    role: choice("--role", role, ROLES),
    domains: domain,
    names: values.name,
    groups: groups === undefined ? undefined : groupNames(groupMask(choices("--groups", groups, GROUPS))),
    /** How long the token is valid, in ms; undefined: for ever. */
    lifeMs: duration("expires", values.expires, LEAST_LIFE_MS, MOST_LIFE_MS),
  };
}
