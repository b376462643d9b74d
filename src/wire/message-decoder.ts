import type { VirstreamError } from "../model/error.ts";
import type { DomainStatsRecord, SweepSummary } from "../model/record.ts";
import { Schema } from "../model/schema.ts";
import type { SchemaTable } from "../model/schema-table.ts";
import { TypedParams } from "../model/typed-params.ts";
import { readFull, type SchemaOf } from "./columns/block-decoder.ts";
import type { TimeBase } from "./columns/block-encoder.ts";
import { MessageBudget } from "./columns/message-budget.ts";
import { sizeOfKeys } from "./columns/schema-slots.ts";
import { errorFromWire, malformed } from "./errors.ts";
import {
  idOf,
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
  /**
   * Records of a sweep. `bytes` is the credit that the message uses, and `expanded` is about how much memory the
   * records need, in bytes.
   */
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
  /** A message of a watch, which the watch's ChannelState has applied. `bytes` is the credit that it uses. */
  | { readonly type: "watch"; readonly id: number; readonly bytes: number }
  /** A sign of life. `host` is the present value of the welcome's `host`; undefined if it has not changed. */
  | { readonly type: "beat"; readonly host: string | undefined }
  /** A message that needs no action of the receiver. */
  | { readonly type: "none" };

/** The id of the watch that a message was for, and whether the message used credit. */
export interface Applied {
  readonly id: number;
  readonly usesCredit: boolean;
}

/**
 * The interface of ChannelTable, which applies the messages of watches. A page without watches does not load that
 * class.
 */
export interface Channels {
  /** Applies a message to the watch that it is for. Returns undefined if it is not for a watch. */
  apply(type: string, message: RawMessage, base: () => TimeBase, schemaOf: SchemaOf): Applied | undefined;
  /** Called when the client has cancelled a watch: the watch's messages are ignored from now on. */
  release(id: number): void;
  /** Called when the server has ended a watch. */
  end(id: number): void;
}

const NONE: DecodedMessage = { type: "none" };
/** Makes the schema with these keys and types. A SchemaTable returns the same object for equal keys and types. */
export type SchemaSource = Pick<SchemaTable, "schemaOf">;

const NOT_SHARED: SchemaSource = { schemaOf: (keys, types) => new Schema(keys, types) };

const EMPTY_SCHEMA = TypedParams.EMPTY.schema;

/**
 * Decodes the messages of one connection in the binary profile. It keeps the schemas that the server defined, and
 * passes the messages of each watch to the watch's ChannelState. It has no socket and no timers.
 *
 * Any bytes, also those of a hostile or broken server, either decode to records whose values have their declared types,
 * or throw `protocol-error`.
 */
export class MessageDecoder {
  readonly #owner: object;
  readonly #clock: ServerClock;
  readonly #table: SchemaSource;
  readonly #schemas = new Map<number, Schema>();
  #schemaSize = 0;
  /** The watches of the connection: see ChannelTable.of(). Undefined before the first watch. */
  channels: Channels | undefined;

  /**
   * @param owner the driver that the domains belong to
   * @param clock the caller keeps it across connections, so that records from before and after a reconnection are
   *   comparable
   * @param table shares equal schemas among several decoders
   */
  constructor(owner: object, clock: ServerClock, table = NOT_SHARED) {
    this.#owner = owner;
    this.#clock = clock;
    this.#table = table;
  }

  /** @throws VirstreamError `protocol-error` */
  decode(bytes: Uint8Array): DecodedMessage {
    const size = bytes.length;
    if (size > LIMITS.message) throw malformed(`it has more than ${LIMITS.message} bytes`);
    const message = mapOf(unpack(bytes), "a message");
    const type = textOf(message, "type");
    const watch = this.channels?.apply(type, message, () => this.#clock.baseOf(message), this.#schemaOf);
    if (watch !== undefined) return { type: "watch", id: watch.id, bytes: watch.usesCredit ? size : 0 };
    switch (type) {
      case "welcome": {
        const welcome = welcomeOf(message);
        this.#clock.welcomed(welcome);
        return { type, welcome };
      }
      case "schema":
        this.#define(message);
        return NONE;
      case "begin": {
        if (message["channel"] !== undefined) throw malformed("its channel is not in use");
        const domains = message["domains"] === undefined ? undefined : wholeOf(message, "domains");
        return { type, id: idOf(message), domains };
      }
      case "records": {
        const budget = new MessageBudget();
        const records = this.#records(message, budget);
        return { type, id: idOf(message), records, bytes: size, expanded: budget.bytes };
      }
      case "end": {
        const id = idOf(message);
        this.channels?.end(id);
        const summary = message["summary"] === undefined ? undefined : summaryOf(message["summary"]);
        return { type, id, summary, error: errorFromWire(message["error"]) };
      }
      case "beat":
        return { type, host: optionalTextOf(message, "host") };
      default:
        // A type that a later version of the protocol adds. If the message names a channel, it is malformed: this
        // connection has had no watch, so it has no channel.
        if (message["channel"] !== undefined) throw malformed("its channel is not in use");
        return NONE;
    }
  }

  #records(message: RawMessage, budget: MessageBudget): DomainStatsRecord[] {
    const base = this.#clock.baseOf(message);
    const records: DomainStatsRecord[] = [];
    for (const block of listOf(message, "blocks")) {
      readFull(block, this.#schemaOf, this.#owner, base, budget, (_, record) => records.push(record));
    }
    return records;
  }

  /** The schema of a slot. A slot that the server did not define has the schema without keys. */
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
