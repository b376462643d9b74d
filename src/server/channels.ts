import type { Query } from "../model/query.ts";
import type { Cadence } from "../model/watch.ts";
import type { Sampling } from "../sampling/sampling.ts";
import { ChannelEncoder } from "../wire/channel-encoder.ts";
import { type Profile, profileOf } from "../wire/profile.ts";
import { SUBPROTOCOLS, type Subprotocol } from "../wire/protocol.ts";
import { Channel } from "./channel.ts";

/**
 * The channels of a server: one for each query, cadence and encoding that somebody watches. A connection that watches the
 * same twice is served by two, since a channel's messages do not say which of its watches they are for.
 */
export class Channels {
  readonly #profiles = new Map<Subprotocol, Profile>();
  readonly #channels = new Map<string, Channel[]>();
  #last = 0;

  constructor() {
    for (const subprotocol of SUBPROTOCOLS) this.#profiles.set(subprotocol, profileOf(subprotocol));
  }

  /** What all connections of a subprotocol are spoken to with: they share the slots of schemas. */
  profile(subprotocol: Subprotocol): Profile {
    return this.#profiles.get(subprotocol)!;
  }

  /** How many there are. */
  get size(): number {
    let size = 0;
    for (const channels of this.#channels.values()) size += channels.length;
    return size;
  }

  /**
   * The channel for a watch. It must be joined before anything else happens.
   *
   * @param sampling whose domains are watched, which says what the asker may see
   * @param taken whether the connection has a channel already
   * @param wanted the number of the channel that the client had before, which is preferred
   */
  open(
    sampling: Sampling,
    query: Query,
    cadence: Cadence,
    profile: Profile,
    taken: (channel: Channel) => boolean,
    wanted: number | undefined,
  ): Channel {
    const feed = sampling.feed(query, cadence);
    // A driver may refuse at once; nobody would hear of an end that has been.
    if (feed.error !== undefined) throw feed.error;
    const key = JSON.stringify([query, cadence, profile.subprotocol]);
    // Those of another feed are of somebody who may see something else, or at their end.
    const all = this.#channels.get(key) ?? [];
    const free = all.filter((channel) => channel.feed === feed && !taken(channel));
    const found = free.find((channel) => channel.number === wanted) ?? free[0];
    if (found !== undefined) return found;
    const channel: Channel = new Channel(feed, new ChannelEncoder(++this.#last, profile), () => {
      const rest = (this.#channels.get(key) ?? []).filter((other) => other !== channel);
      if (rest.length === 0) this.#channels.delete(key);
      else this.#channels.set(key, rest);
    });
    this.#channels.set(key, [...all, channel]);
    return channel;
  }

  /** Ends those that linger for readers who were cut off. */
  close(): void {
    for (const channels of [...this.#channels.values()]) for (const channel of channels) channel.end();
  }
}
