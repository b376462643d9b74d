import type { VirstreamError } from "../model/error.ts";
import type { Schema } from "../model/params.ts";
import type { SweepSummary } from "../model/record.ts";
import type { StatusEvent } from "../model/watch.ts";
import { ChangesFrame } from "./changes-frame.ts";
import type { ChannelMessage } from "./channel-encoder.ts";
import type { WireMessage } from "./encoding.ts";
import { errorToWire } from "./error-map.ts";
import type { Numbering } from "./frame-schemas.ts";
import { HostTable } from "./host-table.ts";
import { MessageBuilder } from "./message-builder.ts";
import { MessageType, type Subprotocol } from "./protocol.ts";
import { RecordsFrame } from "./records-frame.ts";
import { schemaNumber } from "./schema-numbers.ts";
import { SchemaWindow } from "./schema-window.ts";
import { statusEventToWire } from "./source-events.ts";
import { summaryToWire } from "./summary-map.ts";
import { sizeOf } from "./text.ts";

export type { WireMessage } from "./encoding.ts";

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
  /** The shortest interval that a watch may ask for, in ms. */
  readonly minIntervalMs: number;
}

/** What the end of a snapshot says. */
export interface Current {
  /** The channel's sequence by now. */
  readonly through: number;
  /** The channel's last tick by now; 0: none yet. */
  readonly tick: number;
  /** The host that was swept in it; empty when there was none. */
  readonly host: string;
  readonly overrun: number;
  /** Undefined when there was no tick. */
  readonly summary: SweepSummary | undefined;
  /** Of each source that is not connected. */
  readonly statuses: readonly StatusEvent[];
  /** Whether every domain has been told, of all hosts that are there: who is not among them is gone. */
  readonly complete: boolean;
}

/**
 * Makes the messages of one connection. It knows what the other end has been told (schemas, hosts) and puts that in
 * front of what needs it. Pure: no socket, no clock; messages are returned in the order in which they must be sent.
 */
export class MessageEncoder {
  readonly #builder: MessageBuilder;
  readonly #window = new SchemaWindow();
  readonly #hosts: HostTable;
  readonly #numbering: Numbering;
  #toldHosts = 0;

  /** @param hosts the numbers of the hosts; shared with the encoders of channels, whose messages have the same numbers */
  constructor(subprotocol: Subprotocol, hosts = new HostTable()) {
    this.#builder = new MessageBuilder(subprotocol);
    this.#hosts = hosts;
    this.#numbering = { schema: schemaNumber, host: (host) => hosts.number(host) };
  }

  welcome(welcome: Welcome): WireMessage[] {
    const { epoch, server, host, hypervisor, beatMs, minIntervalMs } = welcome;
    return this.#builder.message([MessageType.welcome, { epoch, server, host, hypervisor, beatMs, minIntervalMs }]);
  }

  sweep(id: number, startedAt: number, domains: number | undefined): WireMessage[] {
    return this.#builder.message([MessageType.sweep, id, startedAt, domains ?? null]);
  }

  beat(now: number): WireMessage[] {
    return this.#builder.message([MessageType.beat, now]);
  }

  /** @param summary of a sweep; a watch has none */
  end(id: number, summary: SweepSummary | undefined, error: VirstreamError | undefined): WireMessage[] {
    return this.#builder.message([MessageType.end, id, summaryToWire(summary), errorToWire(error)]);
  }

  /** A frame to gather records of a sweep in; `records` makes messages of it. */
  frame(id: number, startedAt: number): RecordsFrame<WireMessage> {
    return new RecordsFrame(this.#builder.frameWriter(), this.#numbering, id, startedAt);
  }

  /**
   * The messages for a frame's rows, which the frame gives away: first the schemas and hosts that the other end does not
   * have, then the records.
   *
   * @returns the messages, and how much credit they take: the size of the RECORDS message
   */
  records(frame: RecordsFrame<WireMessage>): { messages: WireMessage[]; credit: number } {
    return this.#rows(frame);
  }

  /** Where a watch stands; see PROTOCOL.md, POSITION. */
  position(id: number, channel: number, sequence: number, tick: number, resumed: boolean): WireMessage[] {
    return this.#builder.message([MessageType.position, id, channel, sequence, tick, resumed]);
  }

  /**
   * A frame to gather records of a watch's snapshot in; `state` makes messages of it. Its records are added without ones
   * before them.
   *
   * @param asOf the sequence of the channel as of which they are
   */
  stateFrame(id: number, asOf: number): ChangesFrame<WireMessage> {
    return new ChangesFrame(this.#builder.frameWriter(), this.#numbering, MessageType.state, id, asOf);
  }

  /** The messages for a frame's rows, as `records` makes them. */
  state(frame: ChangesFrame<WireMessage>): { messages: WireMessage[]; credit: number } {
    return this.#rows(frame);
  }

  /** The end of a watch's snapshot. */
  current(id: number, { through, tick, host, overrun, summary, statuses, complete }: Current): WireMessage[] {
    return this.#builder.message([
      MessageType.current,
      id,
      through,
      tick,
      host,
      overrun,
      summaryToWire(summary),
      statuses.map(statusEventToWire),
      complete,
    ]);
  }

  /** What must be sent before a channel's message: the schemas and hosts that the other end does not have. */
  tell(message: ChannelMessage): WireMessage[] {
    return this.#tell(message.schemas, message.hosts);
  }

  #rows(frame: RecordsFrame<WireMessage> | ChangesFrame<WireMessage>): { messages: WireMessage[]; credit: number } {
    const messages = this.#tell(frame.schemas, frame.hosts);
    const rows = frame.take();
    messages.push(...this.#builder.cut(rows));
    return { messages, credit: sizeOf(rows) };
  }

  #tell(schemas: Iterable<Schema>, hosts: number): WireMessage[] {
    const messages: WireMessage[] = [];
    for (; this.#toldHosts < hosts; this.#toldHosts++) {
      const host = this.#hosts.name(this.#toldHosts);
      messages.push(...this.#builder.message([MessageType.host, this.#toldHosts, host]));
    }
    for (const schema of this.#schemasToTell(schemas)) {
      const number = schemaNumber(schema);
      messages.push(...this.#builder.message([MessageType.schema, number, schema.keys, [...schema.types]]));
      this.#window.define(number, schema);
    }
    return messages;
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
}
