import type { ChannelState } from "./channel-state.ts";
import type { SchemaOf } from "./columns/block-decoder.ts";
import type { TimeBase } from "./columns/block-encoder.ts";
import { MessageBudget } from "./columns/message-budget.ts";
import { malformed } from "./errors.ts";
import type { Applied, Channels, MessageDecoder } from "./message-decoder.ts";
import { idOf, type RawMessage, wholeOf } from "./messages.ts";
import { LIMITS } from "./protocol.ts";

/** A watch that is under way on a connection. */
interface OpenWatch {
  readonly id: number;
  readonly state: ChannelState;
  /** The channel that serves the watch; undefined before the watch's `begin`. */
  channel: number | undefined;
  /** True if the client has cancelled the watch, so that its messages are ignored. */
  released: boolean;
}

/**
 * The watches of one connection, each with the channel that serves it. Passes each message of a watch or of its channel
 * to the watch's ChannelState.
 */
export class ChannelTable implements Channels {
  readonly #watches = new Map<number, OpenWatch>();
  readonly #channels = new Map<number, OpenWatch>();

  /** The table of a decoder's connection; the first call makes it. */
  static of(decoder: MessageDecoder): ChannelTable {
    const table = decoder.channels ?? new ChannelTable();
    decoder.channels = table;
    return table as ChannelTable;
  }

  /**
   * Passes the messages of a watch to its ChannelState until the watch ends. Call it before the request of the watch is
   * sent.
   */
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

  apply(type: string, message: RawMessage, base: () => TimeBase, schemaOf: SchemaOf): Applied | undefined {
    const channel = message["channel"] === undefined ? undefined : wholeOf(message, "channel", LIMITS.id);
    switch (type) {
      case "begin":
        return channel === undefined
          ? undefined
          : applied(this.#place(idOf(message), channel), false, (state) => state.begin(message));
      case "records": {
        // There is no watch, for example, if the id belongs to a sweep.
        const watch = this.#watches.get(idOf(message));
        return watch && applied(watch, true, (state) => state.snapshot(message, base(), schemaOf, new MessageBudget()));
      }
      case "changes":
        return applied(this.#of(channel), true, (state) =>
          state.changes(message, base(), schemaOf, new MessageBudget()),
        );
      case "sync":
      case "status":
      case "gap":
        return applied(this.#of(channel), false, (state) => state[type](message));
      case "welcome":
      case "schema":
      case "end":
      case "beat":
        return undefined;
      default:
        // A type that a later version of the protocol adds. A message of a channel counts in the sequence even if its
        // type is not known.
        return channel === undefined ? undefined : applied(this.#of(channel), false, (state) => state.unknown(message));
    }
  }

  /** Assigns a channel to a watch, and removes the channel that the watch had before. */
  #place(id: number, channel: number): OpenWatch {
    const watch = this.#watches.get(id);
    if (watch === undefined) throw malformed(`id ${id} is not in use`);
    const other = this.#channels.get(channel);
    if (other !== undefined && other !== watch) throw malformed(`channel ${channel} serves two watches`);
    if (watch.channel !== undefined) this.#channels.delete(watch.channel);
    watch.channel = channel;
    this.#channels.set(channel, watch);
    return watch;
  }

  #of(channel: number | undefined): OpenWatch {
    const watch = this.#channels.get(channel as number);
    if (watch === undefined) throw malformed(`channel ${channel} is not in use`);
    return watch;
  }
}

function applied(
  { id, state, released }: OpenWatch,
  usesCredit: boolean,
  apply: (state: ChannelState) => void,
): Applied {
  if (!released) apply(state);
  return { id, usesCredit: usesCredit && !released };
}
