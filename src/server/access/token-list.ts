import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import { invalid, quote } from "../../model/error.ts";
import type { Group } from "../../model/group.ts";
import { checkOptions, type Members } from "../../model/options.ts";
import { identityOf, type Principal, ROLES, type Role } from "./principal.ts";

/** A token of a TokenList: the name of its owner, and its hash. The token itself is not stored. */
export interface TokenEntry {
  /** The name of the token's owner; different for each entry. */
  readonly name: string;
  readonly role: Role;
  /** SHA-256 of the token, in hexadecimal digits. */
  readonly sha256: string;
  /** The visible domains, by uuid or name; see Principal. Default: all. */
  readonly domains?: readonly string[];
  /** Patterns for the names of the visible domains, in place of `domains`. Default: all. */
  readonly names?: readonly string[];
  /** The groups that a client with this token may query. Default: all. */
  readonly groups?: readonly Group[];
  /** When the token was made, in the form `2026-11-27T10:00:00.000Z`. */
  readonly created?: string;
  /** When the token expires, in the same form. Default: never. */
  readonly expires?: string;
}

const ENTRY_MEMBERS = {
  name: undefined,
  role: undefined,
  sha256: undefined,
  domains: undefined,
  names: undefined,
  groups: undefined,
  created: undefined,
  expires: undefined,
} satisfies Members;

/**
 * How many random bytes a token has. An attacker cannot guess 32 random bytes, so the hash needs no salt and no slow
 * function.
 */
const TOKEN_BYTES = 32;

/** Tokens by their hashes: the content of the file that `virstream token` keeps. */
export class TokenList {
  readonly entries: readonly TokenEntry[];
  readonly #principals: readonly Principal[];
  readonly #hashes: readonly Buffer[];

  /** @throws VirstreamError `invalid-argument`, `unknown-group` */
  constructor(entries: readonly TokenEntry[]) {
    if (!Array.isArray(entries)) throw invalid("the tokens must be a list");
    const names = new Set<string>();
    const owners = new Map([[hashOf("").toString("hex"), "no token at all"]]);
    for (const entry of entries) {
      checkEntry(entry);
      const { name, sha256 } = entry;
      if (names.has(name)) throw invalid(`two tokens have the name ${quote(name)}: revoke one, or choose another name`);
      names.add(name);
      // If one token had two names, a client that is revoked under one name could come back under the other name.
      const owner = owners.get(sha256);
      if (owner !== undefined) throw invalid(`token ${name} has the same sha256 as ${owner}: give each its own`);
      owners.set(sha256, `token ${name}`);
    }
    this.entries = entries;
    this.#principals = entries.map(principalOf);
    this.#hashes = entries.map(({ sha256 }) => Buffer.from(sha256, "hex"));
  }

  /**
   * Reads the text of a token file: `{"tokens": […]}`.
   *
   * @throws VirstreamError `invalid-argument`, with the name of the entry that is not valid
   */
  static parse(text: string): TokenList {
    let file: unknown;
    try {
      file = JSON.parse(text);
    } catch {
      throw invalid("it is not JSON");
    }
    if (typeof file !== "object" || file === null || !("tokens" in file)) throw invalid('it has no member "tokens"');
    return new TokenList(file.tokens as TokenEntry[]);
  }

  /** The text of a token file with this list. */
  toString(): string {
    return `${JSON.stringify({ tokens: this.entries }, undefined, 2)}\n`;
  }

  /**
   * Makes a token. Returns the token, and a new list that has its entry besides the entries of this list. The token is
   * not stored, so only the caller has it.
   */
  with(entry: Omit<TokenEntry, "sha256">): { readonly token: string; readonly list: TokenList } {
    const token = randomBytes(TOKEN_BYTES).toString("base64url");
    const made = { ...entry, sha256: hashOf(token).toString("hex") };
    return { token, list: new TokenList([...this.entries, made]) };
  }

  /** A new list without this entry. @throws VirstreamError `invalid-argument` if no entry has this name */
  without(name: string): TokenList {
    const rest = this.entries.filter((entry) => entry.name !== name);
    if (rest.length < this.entries.length) return new TokenList(rest);
    const known = this.entries.map((entry) => entry.name).join(", ");
    throw invalid(`there is no token of the name ${quote(name)}: the names are ${known || "none"}`);
  }

  /** The principal of a token; undefined if the list lacks the token. */
  principalOf(token: string | undefined): Principal | undefined {
    return this.#principals[placeOf(token, this.#hashes)];
  }

  /** The names of this list's entries that a later list lacks, or has with another token or with other rights. */
  changedIn(later: TokenList): string[] {
    const known = new Map(later.entries.map((entry) => [entry.name, JSON.stringify(entry)]));
    return this.entries.filter((entry) => known.get(entry.name) !== JSON.stringify(entry)).map(({ name }) => name);
  }
}

/** The SHA-256 of a token. */
export function hashOf(token: string): Buffer {
  return createHash("sha256").update(token).digest();
}

/**
 * The index of a token's hash in `hashes`; −1 if it is not there. The token is compared with all hashes, so the time
 * does not depend on the token.
 */
export function placeOf(token: string | undefined, hashes: readonly Buffer[]): number {
  const shown = hashOf(token ?? "");
  return hashes.map((hash) => timingSafeEqual(hash, shown)).indexOf(true);
}

function principalOf({ name, role, domains, names, groups, expires }: TokenEntry): Principal {
  return {
    name,
    role,
    ...(domains && { domains }),
    ...(names && { names }),
    ...(groups && { groups }),
    ...(expires !== undefined && { expiresAt: Date.parse(expires) }),
  };
}

function checkEntry(entry: TokenEntry): void {
  if (typeof entry !== "object" || entry === null) throw invalid("a token must be an object");
  const { name, role, sha256, expires } = entry;
  if (typeof name !== "string" || !/^[\w.@-]{1,64}$/.test(name)) {
    throw invalid(`the name of a token has 1 to 64 letters, digits, or characters of ".@_-", not ${quote(name)}`);
  }
  const who = `token ${name}`;
  checkOptions(who, entry, ENTRY_MEMBERS);
  if (!ROLES.includes(role)) throw invalid(`the role of ${who} is ${ROLES.join(", ")}, not ${quote(role)}`);
  if (typeof sha256 !== "string" || !/^[0-9a-f]{64}$/.test(sha256)) throw invalid(`the sha256 of ${who} is not valid`);
  if (expires !== undefined && Number.isNaN(Date.parse(expires))) throw invalid(`expires of ${who} is no time`);
  identityOf(principalOf(entry));
}
