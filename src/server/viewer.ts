import { createHash, randomUUID, timingSafeEqual } from "node:crypto";
import type { Connection } from "../client/connection.ts";
import type { Driver } from "../driver/driver.ts";
import { checkMembers, VirstreamError } from "../model/error.ts";
import { checkQuery, type DomainSelector } from "../model/query.ts";
import { Sampling } from "../sampling/sampling.ts";
import { Channels } from "./channels.ts";
import { VisibleDriver } from "./visible-driver.ts";

/** Sees only some domains: for a client with this token, the others do not exist. */
export interface Viewer {
  /** For the figures; not empty, and different for each viewer. */
  readonly name: string;
  /** Not empty, and different from all other tokens. */
  readonly token: string;
  /** The domains by uuid or name; at least one. One that is named goes by its name, whichever domain has it. */
  readonly domains: readonly string[];
}

const VIEWER_MEMBERS = ["name", "token", "domains"];

/**
 * What one principal may see, and all that serves it. Principals share nothing: what is watched for one, and the numbers of
 * hosts and channels, would leak another's domains. Each has an epoch of its own: a client that comes back with another
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

/** What each token lets a client see: the server's token everything, each viewer's token its domains. */
export class Views {
  /** The view of everything. */
  readonly whole: View;
  /** The viewers' views, in their order. */
  readonly narrow: readonly View[];
  /** The tokens' digests. Without any, every client may see everything. */
  readonly #tokens: readonly { readonly digest: Buffer; readonly view: View }[];

  /**
   * @param token what opens the view of everything; undefined: nothing does where there are viewers, and else all do
   * @throws VirstreamError `invalid-argument` for an empty token, for viewers that are not valid, and for an empty list of
   *   them, which would let every client in
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

  /** The view that a token opens; undefined: none. Takes the same time whatever the token. */
  admit(token: string | undefined): View | undefined {
    if (this.#tokens.length === 0) return this.whole;
    const shown = digest(token ?? "");
    const same = this.#tokens.map((known) => timingSafeEqual(shown, known.digest));
    return this.#tokens[same.indexOf(true)]?.view;
  }

  *[Symbol.iterator](): Generator<View> {
    yield this.whole;
    yield* this.narrow;
  }

  /** Ends all channels, and the viewers' watches; those of the connection are its own. */
  close(): void {
    for (const { channels } of this) channels.close();
    const error = new VirstreamError("server-shutdown", "the server is shutting down");
    for (const { sampling } of this.narrow) sampling.close(error);
  }
}

function viewOf(viewer: string | undefined, driver: Driver, sampling: Sampling): View {
  return { viewer, driver, sampling, channels: new Channels(), epoch: randomUUID() };
}

/** Names and selectors of viewers that are valid. Messages name viewers, and no token. */
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
  if (domains.length === 0) throw invalid(`viewer ${who} has no domains, and would see nothing: name at least one`);
  return checkQuery({ domains }).domains!;
}

function digest(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}

function invalid(message: string): VirstreamError {
  return new VirstreamError("invalid-argument", message);
}
