import "../../client/watching.ts";
import { randomUUID } from "node:crypto";
import type { Connection } from "../../client/connection.ts";
import type { Driver } from "../../driver/driver.ts";
import { VirstreamError } from "../../model/error.ts";
import { groupNames } from "../../model/group.ts";
import type { Query } from "../../model/query.ts";
import { Sampling } from "../../sampling/sampling.ts";
import type { ChannelMemory } from "../channel.ts";
import { Channels } from "../channels.ts";
import { type Restriction, UNRESTRICTED } from "./principal.ts";
import { VisibleDriver } from "./visible-driver.ts";

/**
 * Everything that clients with the same restriction see, with the sampling and the channels that serve these clients.
 * Views of different domains share nothing: shared watches, or shared numbers for channels, would reveal another view's
 * domains. Each view has its own epoch, so a client that comes back with another restriction cannot resume a channel of
 * its earlier view.
 */
export interface View {
  /** The bits of the groups that may be queried; 0: all groups. */
  readonly groups: number;
  readonly driver: Driver;
  /** The connection's own sampling, if the view shows all domains; otherwise a sampling of this view alone. */
  readonly sampling: Sampling;
  readonly channels: Channels;
  readonly epoch: string;
  /** The present clients with this view, and the viewers of the server that have it. */
  readonly holders: Set<{ readonly name: string }>;
}

/** The views of a Connection: one for each restriction that a client or a viewer of the server has at present. */
export class Views {
  /** The view of clients that may see everything. */
  readonly whole: View;
  readonly #connection: Connection;
  readonly #most: () => number;
  readonly #memory: ChannelMemory;
  /** All other views, by the key of their restriction, the oldest view first. */
  readonly #narrow = new Map<string, View>();

  /**
   * @param most returns how many different restrictions the clients may have at a time; this number may change
   * @param memory bounds the memory that the channels of all views use together
   */
  constructor(connection: Connection, most: () => number, memory: ChannelMemory) {
    this.#connection = connection;
    this.#most = most;
    this.#memory = memory;
    this.whole = this.#viewOf(UNRESTRICTED);
  }

  /** The views that show only some domains. */
  get narrow(): View[] {
    return [...this].filter(({ sampling }) => sampling !== this.whole.sampling);
  }

  /**
   * The view of a restriction. The view lasts until its last holder is released, and after that as long as a client
   * that was cut off may resume one of its channels.
   *
   * @throws VirstreamError `limit-exceeded` when the clients have too many different restrictions
   */
  hold(restriction: Restriction, holder: { readonly name: string }): View {
    const key = keyOf(restriction);
    let view = key === keyOf(UNRESTRICTED) ? this.whole : this.#narrow.get(key);
    if (view === undefined) {
      const most = this.#most();
      this.#evict(most);
      if (this.#narrow.size >= most) {
        const message = `the clients may have at most ${most} different restrictions at a time`;
        throw new VirstreamError("limit-exceeded", message);
      }
      view = this.#viewOf(restriction);
      this.#narrow.set(key, view);
    }
    view.holders.add(holder);
    return view;
  }

  release(view: View, holder: { readonly name: string }): void {
    view.holders.delete(holder);
    this.#evict(Number.POSITIVE_INFINITY);
  }

  *[Symbol.iterator](): Generator<View> {
    yield this.whole;
    yield* this.#narrow.values();
  }

  /**
   * Ends all channels. Also ends the watches of views that show only some domains. The connection's own watches
   * continue.
   */
  close(): void {
    for (const view of this) this.#end(view);
  }

  /**
   * Removes the views that have neither clients nor channels. While `most` or more views remain, also removes views
   * that have channels but no clients, the oldest view first.
   */
  #evict(most: number): void {
    for (const [key, view] of this.#narrow) {
      if (view.holders.size > 0 || (view.channels.size > 0 && this.#narrow.size < most)) continue;
      this.#narrow.delete(key);
      this.#end(view);
    }
  }

  #end({ channels, sampling }: View): void {
    channels.close();
    if (sampling === this.#connection.sampling) return;
    sampling.close(new VirstreamError("server-shutdown", "the server is shutting down"));
  }

  #viewOf({ domains, names, groups }: Restriction): View {
    const all = this.#connection.driver;
    const shown = domains === undefined ? names && { names } : { domains };
    const driver = shown === undefined ? all : new VisibleDriver(all, shown);
    const sampling = shown === undefined ? this.#connection.sampling : new Sampling(driver);
    const channels = new Channels(this.#memory);
    return { groups, driver, sampling, channels, epoch: randomUUID(), holders: new Set() };
  }
}

/**
 * Returns the query if the view permits its groups. A query without groups gets all permitted groups.
 *
 * @throws VirstreamError `denied` if the query names another group; `unsupported` for a query with `at` if the source
 *   is not a recording
 */
export function permitted(query: Query, { groups, driver }: View): Query {
  if (query.at !== undefined && driver.recorded === undefined) {
    throw new VirstreamError("unsupported", "at needs a recording, and this server shows hosts as they are now");
  }
  if (groups === 0) return query;
  const others = (query.groups & ~groups) >>> 0;
  if (others === 0) return query.groups === 0 ? { ...query, groups } : query;
  const message = `the server does not permit this client the groups ${groupNames(others).join(", ")}, only ${groupNames(groups).join(", ")}: query these alone`;
  throw new VirstreamError("denied", message);
}

/** The names of the groups that a client of a view may query; undefined: all. */
export function permittedGroups({ groups, driver }: View): readonly string[] | undefined {
  const theirs = driver.permittedGroups;
  if (groups === 0) return theirs;
  return groupNames(groups).filter((group) => theirs === undefined || theirs.includes(group));
}

/**
 * A key of a restriction. Lists of the same domains in another order have the same key; their view has the order of the
 * list that came first.
 */
function keyOf({ domains, ...rest }: Restriction): string {
  return JSON.stringify({ ...rest, domains: domains?.map((selector) => JSON.stringify(selector)).sort() });
}
