import type { ChannelState } from "./channel-state.ts";
import { malformed } from "./malformed.ts";

/** A watch that is under way on a connection. */
export interface OpenWatch {
  readonly id: number;
  readonly state: ChannelState;
  /** The channel that serves it; undefined before it has begun. */
  channel: number | undefined;
  /** The client has cancelled it: what still comes of it means nothing. */
  released: boolean;
}

/** The watches of one connection, each with the channel that serves it. */
export class WatchTable {
  readonly #watches = new Map<number, OpenWatch>();
  readonly #channels = new Map<number, OpenWatch>();

  adopt(id: number, state: ChannelState): void {
    this.end(id);
    this.#watches.set(id, { id, state, channel: undefined, released: false });
  }

  release(id: number): void {
    const watch = this.#watches.get(id);
    if (watch !== undefined) watch.released = true;
  }

  end(id: number): void {
    const watch = this.#watches.get(id);
    if (watch === undefined) return;
    this.#watches.delete(id);
    if (watch.channel !== undefined) this.#channels.delete(watch.channel);
  }

  /** Gives a watch its channel, in place of the one that it may have had. */
  place(id: number, channel: number): OpenWatch {
    const watch = this.#watches.get(id);
    if (watch === undefined) throw malformed(`watch ${id} is not under way`);
    const other = this.#channels.get(channel);
    if (other !== undefined && other !== watch) throw malformed(`channel ${channel} serves two watches`);
    if (watch.channel !== undefined) this.#channels.delete(watch.channel);
    watch.channel = channel;
    this.#channels.set(channel, watch);
    return watch;
  }

  /** The watch of an id; undefined: there is none, as where the id is a sweep's. */
  ofId(id: number): OpenWatch | undefined {
    return this.#watches.get(id);
  }

  ofChannel(channel: number): OpenWatch {
    const watch = this.#channels.get(channel);
    if (watch === undefined) throw malformed(`channel ${channel} serves no watch`);
    return watch;
  }
}
