import type { ChannelState } from "./channel-state.ts";
import { malformed } from "./encoding.ts";

/** A watch that is under way on a connection. */
export interface AdoptedWatch {
  readonly id: number;
  readonly state: ChannelState;
  /** The channel that serves it; undefined before its first POSITION. */
  channel: number | undefined;
  /** The client has cancelled it: what still comes of it means nothing. */
  released: boolean;
}

/** The watches of one connection, each with the channel that serves it. */
export class WatchTable {
  readonly #watches = new Map<number, AdoptedWatch>();
  readonly #channels = new Map<number, AdoptedWatch>();

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

  /** A watch gets its channel, in place of the one that it may have had. */
  place(id: number, channel: number): AdoptedWatch {
    const watch = this.#watches.get(id);
    if (watch === undefined) throw malformed(`watch ${id} is not under way`);
    const other = this.#channels.get(channel);
    if (other !== undefined && other !== watch) throw malformed(`channel ${channel} serves two watches`);
    if (watch.channel !== undefined) this.#channels.delete(watch.channel);
    watch.channel = channel;
    this.#channels.set(channel, watch);
    return watch;
  }

  /** The watch of an id that has a channel. */
  ofId(id: number): AdoptedWatch {
    const watch = this.#watches.get(id);
    if (watch?.channel === undefined) throw malformed(`watch ${id} is not under way`);
    return watch;
  }

  ofChannel(channel: number): AdoptedWatch {
    const watch = this.#channels.get(channel);
    if (watch === undefined) throw malformed(`channel ${channel} serves no watch`);
    return watch;
  }
}
