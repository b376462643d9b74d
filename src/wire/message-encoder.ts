import { VirstreamError } from "../model/error.ts";
import type { Schema } from "../model/params.ts";
import type { SweepSummary } from "../model/record.ts";
import type { WireValue, WireWriter } from "./encoding.ts";
import { errorToWire } from "./error-map.ts";
import { JsonWriter } from "./json.ts";
import { MsgpackWriter } from "./msgpack-writer.ts";
import { cutBytes, cutText } from "./pieces.ts";
import { LIMITS, MessageType, type Subprotocol } from "./protocol.ts";
import { type Numbering, RecordsFrame } from "./records-frame.ts";
import { SchemaWindow } from "./schema-window.ts";
import { sizeOf } from "./text.ts";

/** A message as it goes into the socket: binary, or text. */
export type WireMessage = Uint8Array | string;

/** What a server says of itself when it welcomes a client. */
export interface Welcome {
  /** Changes when the server starts anew: numbers of before are void. */
  readonly epoch: string;
  /** The program and its version. */
  readonly server: string;
  /** The host whose domains these are. */
  readonly host: string;
  readonly hypervisor: string;
  /** How often the server says something at least, in ms. */
  readonly beatMs: number;
}

/** Schemas have the same numbers on all connections of a process; 0 is the schema without keys. */
const schemaNumbers = new WeakMap<Schema, number>();
let lastSchemaNumber = 0;

function schemaNumber(schema: Schema): number {
  if (schema.keys.length === 0) return 0;
  let number = schemaNumbers.get(schema);
  if (number === undefined) {
    number = ++lastSchemaNumber;
    schemaNumbers.set(schema, number);
  }
  return number;
}

/**
 * Makes the messages of one connection. It knows what the other end has been told (schemas, hosts) and puts that in
 * front of what needs it. Pure: no socket, no clock; messages are returned in the order in which they must be sent.
 */
export class MessageEncoder {
  readonly #writer: (capacity: number) => WireWriter<WireMessage>;
  readonly #window = new SchemaWindow();
  readonly #hosts = new Map<string, number>();
  #untoldHosts: string[] = [];

  constructor(subprotocol: Subprotocol) {
    this.#writer = subprotocol === "virstream.v1" ? (capacity) => new MsgpackWriter(capacity) : () => new JsonWriter();
  }

  welcome(welcome: Welcome): WireMessage[] {
    const { epoch, server, host, hypervisor, beatMs } = welcome;
    return this.#message([MessageType.welcome, { epoch, server, host, hypervisor, beatMs }]);
  }

  sweep(id: number, startedAt: number, domains: number | undefined): WireMessage[] {
    return this.#message([MessageType.sweep, id, startedAt, domains ?? null]);
  }

  beat(now: number): WireMessage[] {
    return this.#message([MessageType.beat, now]);
  }

  end(id: number, summary: SweepSummary, error: VirstreamError | undefined): WireMessage[] {
    const { domains, ok, partial, failed, gone, startedAt, tookMs } = summary;
    return this.#message([
      MessageType.end,
      id,
      { domains, ok, partial, failed, gone, startedAt, tookMs },
      errorToWire(error),
    ]);
  }

  /** A frame to gather records of a sweep in; `records` makes messages of it. */
  frame(id: number, startedAt: number): RecordsFrame<WireMessage> {
    const numbering: Numbering = { schema: schemaNumber, host: (host) => this.#hostNumber(host) };
    return new RecordsFrame(this.#writer(FRAME_CAPACITY), numbering, id, startedAt);
  }

  /**
   * The messages for a frame's rows, which the frame gives away: first the schemas and hosts that the other end does not
   * have, then the records.
   *
   * @returns the messages, and how much credit they take: the size of the RECORDS message
   */
  records(frame: RecordsFrame<WireMessage>): { messages: WireMessage[]; credit: number } {
    const messages: WireMessage[] = [];
    for (const host of this.#untoldHosts) {
      messages.push(...this.#message([MessageType.host, this.#hosts.get(host)!, host]));
    }
    this.#untoldHosts = [];
    for (const schema of this.#schemasToTell(frame.schemas)) {
      const number = schemaNumber(schema);
      messages.push(...this.#message([MessageType.schema, number, schema.keys, [...schema.types]]));
      this.#window.define(number, schema);
    }
    const records = frame.take();
    messages.push(...this.#cut(records));
    return { messages, credit: sizeOf(records) };
  }

  /**
   * The schemas of a frame that must be told before it. When telling some would push others out of the window, all of
   * the frame's are told: they are then the newest, and fit together.
   */
  #schemasToTell(schemas: Iterable<Schema>): Schema[] {
    const all: Schema[] = [];
    const missing: Schema[] = [];
    let keys = 0;
    for (const schema of schemas) {
      if (schema.keys.length === 0) continue;
      all.push(schema);
      if (!this.#window.has(schemaNumber(schema))) {
        missing.push(schema);
        keys += schema.keys.length;
      }
    }
    return missing.length > 0 && this.#window.evictsFor(missing.length, keys) ? all : missing;
  }

  #hostNumber(host: string): number {
    let number = this.#hosts.get(host);
    if (number === undefined) {
      number = this.#hosts.size;
      if (number >= LIMITS.hosts)
        throw new VirstreamError("limit-exceeded", `more than ${LIMITS.hosts} hosts in one connection`);
      this.#hosts.set(host, number);
      this.#untoldHosts.push(host);
    }
    return number;
  }

  #message(value: WireValue): WireMessage[] {
    const writer = this.#writer(MESSAGE_CAPACITY);
    writer.value(value);
    return this.#cut(writer.take());
  }

  #cut(message: WireMessage): WireMessage[] {
    const size = sizeOf(message);
    if (size <= LIMITS.message) return [message];
    if (size > LIMITS.joinedMessage) {
      throw new VirstreamError(
        "message-too-big",
        `a record of ${size} bytes is more than the protocol carries; ask for fewer groups`,
      );
    }
    const contents = typeof message === "string" ? cutText(message) : cutBytes(message);
    return contents.map((content, i) => {
      const writer = this.#writer(MESSAGE_CAPACITY);
      writer.value([MessageType.piece, i === contents.length - 1, content]);
      return writer.take();
    });
  }
}

/** A frame is sent once it passes 64 KiB, so that this much rarely has to grow. */
const FRAME_CAPACITY = 72 * 1024;
/** What most other messages fit. */
const MESSAGE_CAPACITY = 512;
