import type { VirstreamError } from "../model/error.ts";
import type { DomainStatsRecord, SweepSummary } from "../model/record.ts";
import { Schema } from "../model/schema.ts";
import type { SchemaTable } from "../model/schema-table.ts";
import { TypedParams } from "../model/typed-params.ts";
import type { ChannelState } from "./channel-state.ts";
import { readFull } from "./columns/block-decoder.ts";
import { MessageBudget } from "./columns/message-budget.ts";
import { sizeOfKeys } from "./columns/schema-slots.ts";
import { errorFromWire, malformed } from "./errors.ts";
import {
  listOf,
  mapOf,
  optionalTextOf,
  type RawMessage,
  summaryOf,
  textOf,
  type Welcome,
  welcomeOf,
  wholeOf,
} from "./messages.ts";
import { LIMITS } from "./protocol.ts";
import type { ServerClock } from "./server-clock.ts";
import { unpack } from "./unpack.ts";

/** A message from the server, decoded. */
export type DecodedMessage =
  | { readonly type: "welcome"; readonly welcome: Welcome }
  | { readonly type: "begin"; readonly id: number; readonly domains: number | undefined }
  /** Records of a sweep. `bytes` is the credit that the message uses, `expanded` about how much memory the records need. */
  | {
      readonly type: "records";
      readonly id: number;
      readonly records: DomainStatsRecord[];
      readonly bytes: number;
      readonly expanded: number;
    }
  | {
      readonly type: "end";
      readonly id: number;
      readonly summary: SweepSummary | undefined;
      readonly error: VirstreamError | undefined;
    }
  /** A message of a watch, which its state has applied. `bytes` is the credit that it uses. */
  | { readonly type: "watch"; readonly id: number; readonly bytes: number }
  /** A sign of life. `host` as in the welcome, if it has changed. */
  | { readonly type: "beat"; readonly host: string | undefined }
  /** A message that needs no action of the receiver. */
  | { readonly type: "none" };

const NONE: DecodedMessage = { type: "none" };
/** Makes the schema of a definition; a SchemaTable shares equal ones. */
export type SchemaSource = Pick<SchemaTable, "schemaOf">;

const NOT_SHARED: SchemaSource = { schemaOf: (keys, types) => new Schema(keys, types) };

const EMPTY_SCHEMA = TypedParams.EMPTY.schema;

/**
 * Decodes the messages of one connection in the binary profile. It keeps the schemas that the server defined, and passes the
 * messages of watches to their states. Pure: no socket, no clock.
 *
 * Any bytes, also those of a hostile or broken server, either decode to records whose values have their declared types, or
 * throw `protocol-error`.
 */
export class MessageDecoder {
  readonly #owner: object;
  readonly #clock: ServerClock;
  readonly #table: SchemaSource;
  readonly #schemas = new Map<number, Schema>();
  #schemaSize = 0;
  readonly #watches = new WatchTable();

  /**
   * @param owner the driver that the domains belong to
   * @param clock is kept across connections, so that records from before and after a reconnection are comparable
   * @param table where many decoders have the same schemas: shares them
   */
  constructor(owner: object, clock: ServerClock, table = NOT_SHARED) {
    this.#owner = owner;
    this.#clock = clock;
    this.#table = table;
  }

  /** Passes the messages of a watch to a state until the watch ends. To be called before the watch is sent. */
  adopt(id: number, state: ChannelState): void {
    this.#watches.adopt(id, state);
  }

  /** The client has cancelled a watch: its messages are ignored from now on. */
  release(id: number): void {
    this.#watches.release(id);
  }

  /** @throws VirstreamError `protocol-error` */
  decode(bytes: Uint8Array): DecodedMessage {
    const size = bytes.length;
    if (size > LIMITS.message) throw malformed(`it has more than ${LIMITS.message} bytes`);
    const message = mapOf(unpack(bytes), "a message");
    switch (textOf(message, "type")) {
      case "welcome": {
        const welcome = welcomeOf(message);
        this.#clock.welcomed(welcome);
        return { type: "welcome", welcome };
      }
      case "schema":
        this.#define(message);
        return NONE;
      case "begin": {
        const id = idOf(message);
        if (message["channel"] !== undefined) {
          const watch = this.#watches.place(id, wholeOf(message, "channel", LIMITS.id));
          return applied(watch, 0, (state) => state.begin(message));
        }
        const domains = message["domains"] === undefined ? undefined : wholeOf(message, "domains");
        return { type: "begin", id, domains };
      }
      case "records": {
        const id = idOf(message);
        const watch = this.#watches.ofId(id);
        if (watch !== undefined) {
          return applied(watch, size, (state) =>
            state.snapshot(message, this.#clock.baseOf(message), this.#schemaOf, new MessageBudget()),
          );
        }
        const budget = new MessageBudget();
        const records = this.#records(message, budget);
        return { type: "records", id, records, bytes: size, expanded: budget.bytes };
      }
      case "changes":
        return this.#ofChannel(message, size, (state) =>
          state.changes(message, this.#clock.baseOf(message), this.#schemaOf, new MessageBudget()),
        );
      case "sync":
        return this.#ofChannel(message, 0, (state) => state.sync(message));
      case "status":
        return this.#ofChannel(message, 0, (state) => state.status(message));
      case "gap":
        return this.#ofChannel(message, 0, (state) => state.gap(message));
      case "end": {
        const id = idOf(message);
        this.#watches.end(id);
        const summary = message["summary"] === undefined ? undefined : summaryOf(message["summary"]);
        return { type: "end", id, summary, error: errorFromWire(message["error"]) };
      }
      case "beat":
        return { type: "beat", host: optionalTextOf(message, "host") };
      default:
        // A type that a later version of the protocol adds: as a message of a channel it counts in its sequence.
        return message["channel"] === undefined ? NONE : this.#ofChannel(message, 0, (state) => state.unknown(message));
    }
  }

  #ofChannel(message: RawMessage, bytes: number, apply: (state: ChannelState) => void): DecodedMessage {
    return applied(this.#watches.ofChannel(wholeOf(message, "channel", LIMITS.id)), bytes, apply);
  }

  #records(message: RawMessage, budget: MessageBudget): DomainStatsRecord[] {
    const base = this.#clock.baseOf(message);
    const records: DomainStatsRecord[] = [];
    for (const block of listOf(message, "blocks")) {
      readFull(block, this.#schemaOf, this.#owner, base, budget, (_, record) => records.push(record));
    }
    return records;
  }

  /** The schema of a slot. An undefined slot has the schema without keys. */
  readonly #schemaOf = (slot: unknown): Schema => {
    if (!Number.isInteger(slot)) throw malformed("a block has no valid slot");
    return this.#schemas.get(slot as number) ?? EMPTY_SCHEMA;
  };

  #define(message: RawMessage): void {
    const slot = wholeOf(message, "slot", LIMITS.slots - 1);
    const keys = listOf(message, "keys");
    const types = listOf(message, "types");
    if (!keys.every((key) => typeof key === "string")) throw malformed("a schema has no valid keys");
    const isType = (type: unknown): boolean => Number.isInteger(type) && (type as number) >= 1 && (type as number) <= 7;
    if (types.length !== keys.length || !types.every(isType)) throw malformed("a schema has no valid types");
    this.#schemaSize += sizeOfKeys(keys as string[]) - sizeOfKeys(this.#schemas.get(slot)?.keys ?? []);
    if (this.#schemaSize > LIMITS.schemaSize) throw malformed("its schemas are too large");
    if (keys.length === 0) this.#schemas.delete(slot);
    else this.#schemas.set(slot, this.#table.schemaOf(keys as string[], Uint8Array.from(types as number[])));
  }
}

function applied(watch: OpenWatch, bytes: number, apply: (state: ChannelState) => void): DecodedMessage {
  if (watch.released) return NONE;
  apply(watch.state);
  return { type: "watch", id: watch.id, bytes };
}

function idOf(message: RawMessage): number {
  return wholeOf(message, "id", LIMITS.id);
}

/** A watch that is under way on a connection. */
interface OpenWatch {
  readonly id: number;
  readonly state: ChannelState;
  /** The channel that serves it; undefined before its `begin`. */
  channel: number | undefined;
  /** The client has cancelled it, so its messages are ignored. */
  released: boolean;
}

/** The watches of one connection, each with the channel that serves it. */
class WatchTable {
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

  /** Assigns a channel to a watch, and removes the one that it had. */
  place(id: number, channel: number): OpenWatch {
    const watch = this.#watches.get(id);
    if (watch === undefined) throw malformed(`id ${id} is not in use`);
    const other = this.#channels.get(channel);
    if (other !== undefined && other !== watch) throw malformed(`channel ${channel} serves two watches`);
    if (watch.channel !== undefined) this.#channels.delete(watch.channel);
    watch.channel = channel;
    this.#channels.set(channel, watch);
    return watch;
  }

  /** The watch with this id; undefined: there is none, for example because the id belongs to a sweep. */
  ofId(id: number): OpenWatch | undefined {
    return this.#watches.get(id);
  }

  ofChannel(channel: number): OpenWatch {
    const watch = this.#channels.get(channel);
    if (watch === undefined) throw malformed(`channel ${channel} is not in use`);
    return watch;
  }
}
