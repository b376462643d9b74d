import type { VirstreamError } from "../model/error.ts";
import { groupNames } from "../model/group.ts";
import { type ParamCell, ParamType, Schema, TypedParams } from "../model/params.ts";
import {
  Domain,
  DomainStatsRecord,
  RECORD_REASONS,
  RECORD_STATUSES,
  type RecordReason,
  type RecordStatus,
  type SweepSummary,
} from "../model/record.ts";
import { malformed, type WireReader, type WireValue } from "./encoding.ts";
import { errorFromWire } from "./error-map.ts";
import { JsonReader } from "./json.ts";
import type { Welcome, WireMessage } from "./message-encoder.ts";
import { MsgpackReader } from "./msgpack-reader.ts";
import { PieceJoiner } from "./pieces.ts";
import { FIRST_IGNORABLE_TYPE, LIMITS, MessageType, ROW_HEAD } from "./protocol.ts";
import { SchemaWindow } from "./schema-window.ts";
import { sizeOf } from "./text.ts";

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
  /** Understood, and nothing for the receiver to do. */
  | { readonly type: "none" };

/** An hour of silence is no sign of life. */
const MAX_BEAT_MS = 3_600_000;
const NONE: ServerMessage = { type: "none" };
/** A client asks for far fewer at once: a server that begins more, and ends none, is up to something. */
const MAX_SWEEPS = 65_536;
const EMPTY_SCHEMA = TypedParams.EMPTY.schema;

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

  /** @param owner the driver that the domains belong to */
  constructor(owner: object) {
    this.#owner = owner;
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
      default:
        if (type >= FIRST_IGNORABLE_TYPE) return NONE;
        throw malformed(`there is no message of type ${type}`);
    }
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
      const host = this.#hosts[unsigned(reader, LIMITS.hosts - 1)];
      if (host === undefined) throw malformed("a row's host was not told");
      const index = nextIndex + reader.integer();
      const schemaNumber = unsigned(reader, LIMITS.id);
      const schema = schemaNumber === 0 ? EMPTY_SCHEMA : this.#window.get(schemaNumber);
      if (schema === undefined) throw malformed(`schema ${schemaNumber} was not told`);
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
          params: cells.length === 0 ? TypedParams.EMPTY : new TypedParams(schema, cells),
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

interface RowStatus {
  readonly status: RecordStatus;
  readonly reason?: RecordReason | undefined;
  readonly missing?: ReturnType<typeof groupNames> | undefined;
  readonly error?: VirstreamError | undefined;
}

const OK: RowStatus = { status: "ok" };

function statusFromWire(value: WireValue): RowStatus {
  if (value === 0) return OK;
  if (!Array.isArray(value) || value.length < 4) throw malformed("a row's status is none");
  const [number, reason, missing, error] = value as readonly WireValue[];
  const status = typeof number === "number" ? RECORD_STATUSES[number] : undefined;
  if (status === undefined) throw malformed("a row's status is none");
  if (typeof reason !== "number") throw malformed("a row's reason is no number");
  if (typeof missing !== "number" || missing >>> 0 !== missing)
    throw malformed("a row's missing groups are no bit mask");
  return {
    status,
    reason: reason === 0 ? undefined : (RECORD_REASONS[reason - 1] ?? "error"),
    missing: groupNames(missing),
    error: errorFromWire(error!),
  };
}

function welcomeFromWire(value: WireValue): Welcome {
  const map = mapOf(value);
  const member = (name: string): string => {
    const text = map[name];
    if (typeof text !== "string") throw malformed(`a WELCOME has no ${name}`);
    return text;
  };
  const { beatMs } = map;
  if (typeof beatMs !== "number" || !(beatMs > 0 && beatMs <= MAX_BEAT_MS)) throw malformed("a WELCOME has no beatMs");
  return {
    epoch: member("epoch"),
    server: member("server"),
    host: member("host"),
    hypervisor: member("hypervisor"),
    beatMs,
  };
}

function summaryFromWire(value: WireValue): SweepSummary | undefined {
  if (value === null) return undefined;
  const map = mapOf(value);
  const member = (name: string): number => {
    const number = map[name];
    if (typeof number !== "number") throw malformed(`a summary has no ${name}`);
    return number;
  };
  return {
    domains: member("domains"),
    ok: member("ok"),
    partial: member("partial"),
    failed: member("failed"),
    gone: member("gone"),
    startedAt: member("startedAt"),
    tookMs: member("tookMs"),
  };
}

function mapOf(value: WireValue): { readonly [key: string]: WireValue } {
  if (typeof value !== "object" || value === null || Array.isArray(value) || value instanceof Uint8Array) {
    throw malformed("something else stands where a map belongs");
  }
  return value as { readonly [key: string]: WireValue };
}

function unsigned(reader: WireReader, most: number): number {
  const value = reader.integer();
  if (value >= 0 && value <= most) return value;
  throw malformed(`${value} stands where a whole number from 0 to ${most} belongs`);
}

/** Refuses a message with too few items; items beyond those that are known are left unread. */
function atLeast(size: number, items: number): void {
  if (size < items) throw malformed(`it has ${size} items and needs ${items}`);
}
