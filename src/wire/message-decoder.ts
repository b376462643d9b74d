import type { VirstreamError } from "../model/error.ts";
import { ParamType, Schema, TypedParams } from "../model/params.ts";
import { Domain, DomainStatsRecord, type SweepSummary } from "../model/record.ts";
import { MIN_INTERVAL_MS } from "../model/watch.ts";
import type { ParamCell } from "./cells.ts";
import type { ChannelState, Told } from "./channel-state.ts";
import { atLeast, malformed, mapOf, unsigned, type WireMessage, type WireReader, type WireValue } from "./encoding.ts";
import { errorFromWire } from "./error-map.ts";
import { JsonReader } from "./json.ts";
import type { Welcome } from "./message-encoder.ts";
import { MsgpackReader } from "./msgpack-reader.ts";
import { PieceJoiner } from "./pieces.ts";
import { FIRST_IGNORABLE_TYPE, LIMITS, MessageType, ROW_HEAD } from "./protocol.ts";
import { statusFromWire } from "./row-status.ts";
import { SchemaWindow } from "./schema-window.ts";
import { summaryFromWire } from "./summary-map.ts";
import { sizeOf } from "./text.ts";
import { type AdoptedWatch, WatchTable } from "./watch-table.ts";

/** What a message from the server means to its receiver. */
export type ServerMessage =
  | { readonly type: "welcome"; readonly welcome: Welcome }
  | { readonly type: "sweep"; readonly id: number; readonly domains: number | undefined }
  /** `bytes` is what the message takes of the credit. */
  | { readonly type: "records"; readonly id: number; readonly records: DomainStatsRecord[]; readonly bytes: number }
  | {
      readonly type: "end";
      readonly id: number;
      readonly summary: SweepSummary | undefined;
      readonly error: VirstreamError | undefined;
    }
  /** A message of a watch, or of its channel: its state has read it. `bytes` is what it takes of the credit: mostly 0. */
  | { readonly type: "watch"; readonly id: number; readonly bytes: number }
  /** Understood, and nothing for the receiver to do. */
  | { readonly type: "none" };

/** An hour of silence is no sign of life. */
const MAX_BEAT_MS = 3_600_000;
const NONE: ServerMessage = { type: "none" };
/** A client asks for far fewer at once: a server that begins more, and ends none, is up to something. */
const MAX_SWEEPS = 65_536;
const EMPTY_SCHEMA = TypedParams.EMPTY.schema;
/** How many items the messages of watches and channels have at least. */
const WATCH_ITEMS: ReadonlyMap<number, number> = new Map([
  [MessageType.position, 6],
  [MessageType.state, 5],
  [MessageType.current, 9],
  [MessageType.changes, 5],
  [MessageType.gone, 4],
  [MessageType.sync, 8],
  [MessageType.status, 6],
  [MessageType.gap, 6],
]);

/**
 * Reads the messages of one connection. It keeps what the server told (schemas, hosts, the times that sweeps count
 * from), each within its limit. Pure: no socket, no clock.
 *
 * Whatever a hostile or broken server sends either decodes to records whose values are of their declared types, or
 * throws `protocol-error`.
 */
export class MessageDecoder {
  readonly #owner: object;
  readonly #window = new SchemaWindow();
  readonly #hosts: string[] = [];
  readonly #startedAt = new Map<number, number>();
  readonly #joiner = new PieceJoiner();
  readonly #watches = new WatchTable();
  readonly #told: Told = { schema: (number) => this.#schemaOf(number), host: (number) => this.#hostOf(number) };

  /** @param owner the driver that the domains belong to */
  constructor(owner: object) {
    this.#owner = owner;
  }

  /** Lets a state have the messages of a watch, from before the watch is sent until its END. */
  adopt(id: number, state: ChannelState): void {
    this.#watches.adopt(id, state);
  }

  /** The client has cancelled a watch: what still comes of it, until its END, means nothing. */
  release(id: number): void {
    this.#watches.release(id);
  }

  /** @throws VirstreamError `protocol-error` */
  decode(message: WireMessage): ServerMessage {
    const size = sizeOf(message);
    if (size > LIMITS.message) throw malformed(`it has ${size} bytes; ${LIMITS.message} are allowed`);
    return this.#decode(message, size, false);
  }

  #decode(message: WireMessage, bytes: number, joined: boolean): ServerMessage {
    const reader: WireReader = typeof message === "string" ? new JsonReader(message) : new MsgpackReader(message);
    const size = reader.arrayHead();
    const type = unsigned(reader, 0xffffffff);
    if (this.#joiner.open && type !== MessageType.piece) throw malformed("the pieces before it are not complete");
    switch (type) {
      case MessageType.records: {
        atLeast(size, 3);
        const id = unsigned(reader, LIMITS.id);
        const records = this.#records(reader, id);
        return { type: "records", id, records, bytes };
      }
      case MessageType.schema:
        atLeast(size, 4);
        return this.#schema(reader);
      case MessageType.host:
        atLeast(size, 3);
        return this.#host(reader);
      case MessageType.sweep: {
        atLeast(size, 4);
        const id = unsigned(reader, LIMITS.id);
        this.#startedAt.set(id, unsigned(reader, Number.MAX_SAFE_INTEGER));
        if (this.#startedAt.size > MAX_SWEEPS) throw malformed(`more than ${MAX_SWEEPS} sweeps began and did not end`);
        const domains = reader.value(0);
        return { type: "sweep", id, domains: typeof domains === "number" ? domains : undefined };
      }
      case MessageType.end: {
        atLeast(size, 4);
        const id = unsigned(reader, LIMITS.id);
        this.#startedAt.delete(id);
        this.#watches.end(id);
        const summary = summaryFromWire(reader.value(LIMITS.depth));
        return { type: "end", id, summary, error: errorFromWire(reader.value(LIMITS.depth)) };
      }
      case MessageType.piece: {
        atLeast(size, 3);
        const last = reader.value(0);
        const piece = reader.value(0);
        if (typeof last !== "boolean") throw malformed("a piece does not say whether it is the last");
        if (typeof piece !== typeof message || (typeof piece !== "string" && !(piece instanceof Uint8Array))) {
          throw malformed("a piece is of another kind than its message");
        }
        if (joined) throw malformed("a piece is made of pieces");
        const whole = this.#joiner.add(last, piece);
        if (whole === undefined) return NONE;
        return this.#decode(whole, sizeOf(whole), true);
      }
      case MessageType.welcome:
        atLeast(size, 2);
        return { type: "welcome", welcome: welcomeFromWire(reader.value(LIMITS.depth)) };
      case MessageType.beat:
        return NONE;
      case MessageType.position: {
        atLeast(size, 6);
        const id = unsigned(reader, LIMITS.id);
        const watch = this.#watches.place(id, unsigned(reader, LIMITS.id));
        return this.#watch(type, watch, reader, 0);
      }
      case MessageType.state:
      case MessageType.current:
        atLeast(size, WATCH_ITEMS.get(type)!);
        return this.#watch(type, this.#watches.ofId(unsigned(reader, LIMITS.id)), reader, bytes);
      case MessageType.changes:
      case MessageType.gone:
      case MessageType.sync:
      case MessageType.status:
      case MessageType.gap:
        atLeast(size, WATCH_ITEMS.get(type)!);
        return this.#watch(type, this.#watches.ofChannel(unsigned(reader, LIMITS.id)), reader, bytes);
      default:
        if (type >= FIRST_IGNORABLE_TYPE) return NONE;
        throw malformed(`there is no message of type ${type}`);
    }
  }

  #watch(type: number, watch: AdoptedWatch, reader: WireReader, bytes: number): ServerMessage {
    if (watch.released) return NONE;
    const { id, state } = watch;
    switch (type) {
      case MessageType.position:
        state.position(watch.channel!, reader);
        break;
      case MessageType.state:
        state.state(reader, this.#told);
        return { type: "watch", id, bytes };
      case MessageType.current:
        state.current(reader);
        break;
      case MessageType.changes:
        state.changes(reader, this.#told);
        return { type: "watch", id, bytes };
      case MessageType.gone:
        state.gone(reader);
        break;
      case MessageType.sync:
        state.sync(reader);
        break;
      case MessageType.status:
        state.status(reader);
        break;
      default:
        state.gap(reader);
    }
    return { type: "watch", id, bytes: 0 };
  }

  #schemaOf(number: number): Schema {
    const schema = number === 0 ? EMPTY_SCHEMA : this.#window.get(number);
    if (schema === undefined) throw malformed(`schema ${number} was not told`);
    return schema;
  }

  #hostOf(number: number): string {
    const host = this.#hosts[number];
    if (host === undefined) throw malformed("a row's host was not told");
    return host;
  }

  #schema(reader: WireReader): ServerMessage {
    const number = unsigned(reader, LIMITS.id);
    if (number === 0) throw malformed("schema 0 cannot be defined");
    const keys: string[] = [];
    for (let left = reader.arrayHead(); left > 0; left--) keys.push(reader.text());
    const types = new Uint8Array(reader.arrayHead());
    if (types.length !== keys.length) throw malformed(`a schema of ${keys.length} keys has ${types.length} types`);
    for (let i = 0; i < types.length; i++) {
      types[i] = unsigned(reader, ParamType.string);
      if (types[i] === 0) throw malformed("a schema has a type 0");
    }
    this.#window.define(number, new Schema(keys, types));
    return NONE;
  }

  #host(reader: WireReader): ServerMessage {
    const number = unsigned(reader, LIMITS.hosts - 1);
    if (number > this.#hosts.length) throw malformed(`host ${number} is defined before host ${this.#hosts.length}`);
    this.#hosts[number] = reader.text();
    return NONE;
  }

  #records(reader: WireReader, id: number): DomainStatsRecord[] {
    const startedAt = this.#startedAt.get(id);
    if (startedAt === undefined) throw malformed(`records of sweep ${id}, which has not begun`);
    const count = reader.arrayHead();
    const records: DomainStatsRecord[] = [];
    const latest = new Map<number, readonly ParamCell[]>();
    let nextIndex = 0;
    for (let row = 0; row < count; row++) {
      const size = reader.arrayHead();
      const uuid = reader.uuid();
      const name = reader.text();
      const domainId = reader.integer();
      const host = this.#hostOf(unsigned(reader, LIMITS.hosts - 1));
      const index = nextIndex + reader.integer();
      const schemaNumber = unsigned(reader, LIMITS.id);
      const schema = this.#schemaOf(schemaNumber);
      if (size !== ROW_HEAD + schema.keys.length) {
        throw malformed(`a row of ${size} items refers to a schema of ${schema.keys.length} keys`);
      }
      const sampledAt = startedAt + reader.integer();
      const tookMs = unsigned(reader, Number.MAX_SAFE_INTEGER) / 1000;
      const status = statusFromWire(reader.value(LIMITS.depth));
      const cells = reader.cells(schema.types, latest.get(schemaNumber));
      latest.set(schemaNumber, cells);
      nextIndex = index + 1;
      records.push(
        new DomainStatsRecord({
          domain: new Domain(uuid, name, domainId, host, this.#owner),
          params: cells.length === 0 ? TypedParams.EMPTY : TypedParams.of(schema, cells),
          index,
          sampledAt,
          tookMs,
          status: status.status,
          reason: status.reason,
          missing: status.missing,
          error: status.error,
        }),
      );
    }
    return records;
  }
}

function welcomeFromWire(value: WireValue): Welcome {
  const map = mapOf(value);
  const member = (name: string): string => {
    const text = map[name];
    if (typeof text !== "string") throw malformed(`a WELCOME has no ${name}`);
    return text;
  };
  const { beatMs, minIntervalMs = MIN_INTERVAL_MS } = map;
  if (typeof minIntervalMs !== "number") throw malformed("a WELCOME's minIntervalMs is no number");
  if (typeof beatMs !== "number" || !(beatMs > 0 && beatMs <= MAX_BEAT_MS)) throw malformed("a WELCOME has no beatMs");
  return {
    epoch: member("epoch"),
    server: member("server"),
    host: member("host"),
    hypervisor: member("hypervisor"),
    beatMs,
    minIntervalMs,
  };
}
