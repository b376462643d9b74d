import { createHash, randomUUID, timingSafeEqual } from "node:crypto";
import type { Connection } from "../client/connection.ts";
import type { Driver } from "../driver/driver.ts";
import { checkMembers, invalid, VirstreamError } from "../model/error.ts";
import { checkQuery, type DomainSelector } from "../model/query.ts";
import { Sampling } from "../sampling/sampling.ts";
import { Channels } from "./channels.ts";
import { VisibleDriver } from "./visible-driver.ts";

/** A token that shows only some domains. For a client with this token, no other domains exist. */
export interface Viewer {
  /** The name in the metrics; not empty, and different for each viewer. */
  readonly name: string;
  /** Not empty, and different from all other tokens. */
  readonly token: string;
  /** The visible domains by uuid or name; at least one. A name shows the domain that has it at the time. */
  readonly domains: readonly string[];
}

const VIEWER_MEMBERS = ["name", "token", "domains"];

/**
 * The domains that one token shows, with the sampling and the channels that serve them. Views share nothing: shared watches or
 * numbers of channels would reveal another view's domains. Each view has its own epoch, so a client that comes back with another
 * token cannot resume a channel.
 */
export interface View {
  /** The viewer's name; undefined for the view of everything. */
  readonly viewer: string | undefined;
  readonly driver: Driver;
  readonly sampling: Sampling;
  readonly channels: Channels;
  readonly epoch: string;
}

/** The view of each token: the server's token shows every domain, a viewer's token the viewer's domains. */
export class Views {
  /** The view of every domain. */
  readonly whole: View;
  /** The viewers' views, in their order. */
  readonly narrow: readonly View[];
  /** The tokens' digests. Without any, every client may see everything. */
  readonly #tokens: readonly { readonly digest: Buffer; readonly view: View }[];

  /**
   * @param token the token for the view of every domain. If it is undefined, all clients have that view; but if there
   *   are viewers, no client has it
   * @throws VirstreamError `invalid-argument` for an empty token, for invalid viewers, and for an empty list of viewers, which
   *   would admit every client
   */
  constructor(connection: Connection, token: string | undefined, viewers: readonly Viewer[] | undefined) {
    const { driver, sampling } = connection;
    if (token === "") throw invalid("the token is empty");
    const lists = viewers === undefined ? [] : checkViewers(viewers, token);
    this.whole = viewOf(undefined, driver, sampling);
    this.narrow = lists.map(({ name, domains }) => {
      const visible = new VisibleDriver(driver, domains);
      return viewOf(name, visible, new Sampling(visible));
    });
    this.#tokens = [
      ...(token === undefined ? [] : [{ digest: digest(token), view: this.whole }]),
      ...this.narrow.map((view, i) => ({ digest: digest(viewers![i]!.token), view })),
    ];
  }

  /** Whether a client needs a token. */
  get guarded(): boolean {
    return this.#tokens.length > 0;
  }

  /** The view of a token; undefined: the token is wrong. Takes the same time for every token. */
  admit(token: string | undefined): View | undefined {
    if (!this.guarded) return this.whole;
    const shown = digest(token ?? "");
    const same = this.#tokens.map((known) => timingSafeEqual(shown, known.digest));
    return this.#tokens[same.indexOf(true)]?.view;
  }

  *[Symbol.iterator](): Generator<View> {
    yield this.whole;
    yield* this.narrow;
  }

  /** Ends all channels and the viewers' watches. Watches of the connection itself continue. */
  close(): void {
    for (const { channels } of this) channels.close();
    const error = new VirstreamError("server-shutdown", "the server is shutting down");
    for (const { sampling } of this.narrow) sampling.close(error);
  }
}

function viewOf(viewer: string | undefined, driver: Driver, sampling: Sampling): View {
  return { viewer, driver, sampling, channels: new Channels(), epoch: randomUUID() };
}

/** Checks viewers, and returns their names and selectors. Error messages contain names, but no tokens. */
function checkViewers(
  viewers: readonly Viewer[],
  token: string | undefined,
): { readonly name: string; readonly domains: readonly DomainSelector[] }[] {
  if (!Array.isArray(viewers)) throw invalid("viewers must be a list");
  if (viewers.length === 0) throw invalid("the list of viewers is empty: name at least one, or leave it out");
  const names = new Set<string>();
  const owners = new Map<string, string>(token === undefined ? [] : [[token, "the server itself"]]);
  return viewers.map((viewer: Viewer, i) => {
    if (typeof viewer !== "object" || viewer === null) {
      throw invalid(`viewer ${i + 1} must be an object with name, token and domains`);
    }
    const who = typeof viewer.name === "string" && viewer.name !== "" ? JSON.stringify(viewer.name) : undefined;
    if (who === undefined) throw invalid(`viewer ${i + 1} has no name`);
    checkMembers(viewer, VIEWER_MEMBERS, `viewer ${who}`);
    if (names.has(viewer.name)) throw invalid(`two viewers have the name ${who}`);
    names.add(viewer.name);
    if (typeof viewer.token !== "string" || viewer.token === "") throw invalid(`viewer ${who} has no token`);
    const owner = owners.get(viewer.token);
    if (owner !== undefined) throw invalid(`viewer ${who} has the same token as ${owner}: give each its own`);
    owners.set(viewer.token, `viewer ${who}`);
    return { name: viewer.name, domains: selectorsOf(viewer, who) };
  });
}

function selectorsOf({ domains }: Viewer, who: string): readonly DomainSelector[] {
  if (!Array.isArray(domains) || domains.some((domain) => typeof domain !== "string" || domain === "")) {
    throw invalid(`the domains of viewer ${who} must be a list of uuids and names`);
  }
  if (domains.length === 0) throw invalid(`viewer ${who} has no domains: name at least one`);
  return checkQuery({ domains }).domains!;
}

function digest(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}
