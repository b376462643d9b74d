import { VirstreamError } from "../model/error.ts";
import type { Feed } from "../sampling/feed.ts";
import { type Profile, profileOf } from "../wire/profile.ts";
import { SUBPROTOCOLS, type Subprotocol } from "../wire/protocol.ts";
import { Channel, type ChannelMemory } from "./channel.ts";

/**
 * The channels of a View: one for each query, cadence and encoding that the view's clients watch. Only a connection
 * with several equal watches gets a channel for each of these watches, because a channel's messages do not say to
 * which watch of a connection they belong.
 */
export class Channels {
  readonly #profiles = new Map(SUBPROTOCOLS.map((subprotocol) => [subprotocol, profileOf(subprotocol)]));
  readonly #channels = new Map<Feed, Channel[]>();
  readonly #memory: ChannelMemory;
  #last = 0;

  constructor(memory: ChannelMemory) {
    this.#memory = memory;
  }

  /** The profile for all connections with a subprotocol; these connections share the slots of schemas. */
  profile(subprotocol: Subprotocol): Profile {
    return this.#profiles.get(subprotocol)!;
  }

  /** How many channels there are. */
  get size(): number {
    return [...this.#channels.values()].flat().length;
  }

  /**
   * The channel for a watch. The caller must join it at once, before it returns to the event loop, because a channel
   * that no client reads may end.
   *
   * @param feed a feed of the client's view, which has the domains that the client may see
   * @param taken the channels that the connection already uses
   * @param wanted the number of the channel that the client wants to resume. This channel is preferred if the
   *   connection may use it
   * @param hold called for a new channel; it may throw. It returns a function that the channel calls when the channel
   *   has ended, which may be long after the channel's last client was cut off
   */
  open(
    feed: Feed,
    profile: Profile,
    taken: ReadonlySet<Channel>,
    wanted: number | undefined,
    hold: () => () => void,
  ): Channel {
    // If the driver refuses at once, the feed has ended already, and would not report its end to a new listener.
    if (feed.error !== undefined) throw feed.error;
    const all = this.#channels.get(feed) ?? [];
    const free = all.filter((channel) => channel.profile === profile && !taken.has(channel));
    const found = free.find((channel) => channel.number === wanted) ?? free[0];
    if (found !== undefined) return found;
    let release: () => void;
    try {
      release = hold();
    } catch (thrown) {
      // A feed ends by itself when its last listener leaves. This feed has had no listener yet, so it is ended here.
      if (feed.listeners === 0) feed.end(VirstreamError.from(thrown));
      throw thrown;
    }
    const channel: Channel = new Channel(feed, ++this.#last, profile, this.#memory, () => {
      release();
      const rest = (this.#channels.get(feed) ?? []).filter((other) => other !== channel);
      if (rest.length === 0) this.#channels.delete(feed);
      else this.#channels.set(feed, rest);
    });
    this.#channels.set(feed, [...all, channel]);
    return channel;
  }

  /** Ends all channels, including those that wait for clients that were cut off. */
  close(): void {
    for (const channel of [...this.#channels.values()].flat()) channel.end();
  }
}
