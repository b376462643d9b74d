import type { Query } from "../model/query.ts";
import type { Cadence } from "../model/watch.ts";
import type { Sampling } from "../sampling/sampling.ts";
import { ChannelEncoder } from "../wire/channel-encoder.ts";
import { type Profile, profileOf } from "../wire/profile.ts";
import { SUBPROTOCOLS, type Subprotocol } from "../wire/protocol.ts";
import { Channel } from "./channel.ts";

/**
 * The channels of a server: one for each query, cadence and encoding that a client watches. A connection with two watches of the
 * same query gets two channels, because a channel's messages do not say to which watch of a connection they belong.
 */
export class Channels {
  readonly #profiles = new Map<Subprotocol, Profile>();
  readonly #channels = new Map<string, Channel[]>();
  #last = 0;

  constructor() {
    for (const subprotocol of SUBPROTOCOLS) this.#profiles.set(subprotocol, profileOf(subprotocol));
  }

  /** The profile for all connections with a subprotocol; they share the slots of schemas. */
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
   * The channel for a watch. The caller must join it at once, before it returns to the event loop.
   *
   * @param sampling the sampling of the client's view, which has the domains that the client may see
   * @param taken whether the connection already uses a channel
   * @param wanted the number of the client's last channel, which is preferred
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
    // A driver may refuse at once. The feed has then ended already, and would not report its end to a new listener.
    if (feed.error !== undefined) throw feed.error;
    const key = JSON.stringify([query, cadence, profile.subprotocol]);
    // A channel of another feed belongs to another view, or has ended.
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

  /** Ends all channels, also those that wait for clients that were cut off. */
  close(): void {
    for (const channels of [...this.#channels.values()]) for (const channel of channels) channel.end();
  }
}
