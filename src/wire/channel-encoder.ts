import type { Schema } from "../model/params.ts";
import type { DomainStatsRecord } from "../model/record.ts";
import type { GapEvent, StatusEvent, SyncEvent } from "../model/watch.ts";
import { ChangesFrame } from "./changes-frame.ts";
import type { WireMessage, WireValue } from "./encoding.ts";
import type { Numbering } from "./frame-schemas.ts";
import type { HostTable } from "./host-table.ts";
import { MessageBuilder } from "./message-builder.ts";
import { MessageType, type Subprotocol } from "./protocol.ts";
import { schemaNumber } from "./schema-numbers.ts";
import { gapEventToWire, statusEventToWire } from "./source-events.ts";
import { summaryToWire } from "./summary-map.ts";
import { sizeOf } from "./text.ts";

/** A message of a channel, ready to be sent to all its watches. */
export interface ChannelMessage {
  readonly sequence: number;
  /** Itself, or its pieces. */
  readonly messages: readonly WireMessage[];
  /** What it takes of the credit; 0 for all but CHANGES. */
  readonly bytes: number;
  /** Bytes of all messages together: what it takes to keep it. */
  readonly size: number;
  /** The schemas that must be told before it on each connection. */
  readonly schemas: readonly Schema[];
  /** The hosts below this number must have been told. */
  readonly hosts: number;
  /** The tick of a SYNC. */
  readonly tick: number | undefined;
}

const NO_SCHEMAS: readonly Schema[] = Object.freeze([]);

/**
 * Makes the messages of a channel, once for all its watches: what a connection has been told (schemas, hosts) is said
 * with each message, for MessageEncoder.tell. Pure: no socket, no clock.
 *
 * GONE, SYNC, STATUS and GAP come after the records before them: the open frame must have been taken with `changes`.
 */
export class ChannelEncoder {
  readonly channel: number;
  readonly #builder: MessageBuilder;
  readonly #numbering: Numbering;
  #sequence = 0;
  #frame: ChangesFrame<WireMessage>;
  readonly #writer: ReturnType<MessageBuilder["frameWriter"]>;

  /** @param hosts the table that the encoders of the connections number by */
  constructor(channel: number, subprotocol: Subprotocol, hosts: HostTable) {
    this.channel = channel;
    this.#builder = new MessageBuilder(subprotocol);
    this.#numbering = { schema: schemaNumber, host: (host) => hosts.number(host) };
    this.#writer = this.#builder.frameWriter();
    this.#frame = this.#open();
  }

  /** The sequence of the last message that was made; 0: none yet. */
  get sequence(): number {
    return this.#sequence;
  }

  /** How many rows the open frame has. */
  get rows(): number {
    return this.#frame.rows;
  }

  /** How long the open frame is so far. */
  get length(): number {
    return this.#frame.length;
  }

  /** Whether a record's schema still has room in the open frame; if not, take that with `changes` first. */
  fits(record: DomainStatsRecord): boolean {
    return this.#frame.fits(record);
  }

  /** Adds a record to the open frame; see ChangesFrame.add. */
  add(number: number, record: DomainStatsRecord, before: DomainStatsRecord | undefined): void {
    this.#frame.add(number, record, before);
  }

  /** The open frame as a message; undefined when it has no rows. */
  changes(): ChannelMessage | undefined {
    if (this.#frame.rows === 0) return undefined;
    const schemas = [...this.#frame.schemas];
    const { hosts } = this.#frame;
    const changes = this.#frame.take();
    const messages = this.#builder.cut(changes);
    return this.#made(messages, { bytes: sizeOf(changes), schemas, hosts });
  }

  /** @param numbers the domains that left */
  gone(numbers: readonly number[]): ChannelMessage {
    return this.#message(MessageType.gone, [numbers]);
  }

  /** @param complete whether every domain has been told, of all hosts that are there */
  sync(
    tick: number,
    { host, overrun, summary }: Pick<SyncEvent, "host" | "overrun" | "summary">,
    complete = true,
  ): ChannelMessage {
    return this.#message(MessageType.sync, [tick, host, overrun, summaryToWire(summary), complete], tick);
  }

  status(event: StatusEvent): ChannelMessage {
    return this.#message(MessageType.status, statusEventToWire(event));
  }

  gap(event: GapEvent): ChannelMessage {
    return this.#message(MessageType.gap, gapEventToWire(event));
  }

  #message(type: number, fields: readonly WireValue[], tick?: number): ChannelMessage {
    if (this.rows > 0) throw new Error("the records before it have not been taken");
    const messages = this.#builder.message([type, this.channel, this.#sequence + 1, ...fields]);
    return this.#made(messages, { bytes: 0, schemas: NO_SCHEMAS, hosts: 0, tick });
  }

  #made(
    messages: readonly WireMessage[],
    {
      bytes,
      schemas,
      hosts,
      tick,
    }: { bytes: number; schemas: readonly Schema[]; hosts: number; tick?: number | undefined },
  ): ChannelMessage {
    const sequence = ++this.#sequence;
    this.#frame = this.#open();
    const size =
      messages.length === 1 && bytes > 0 ? bytes : messages.reduce((sum, message) => sum + sizeOf(message), 0);
    return { sequence, messages, bytes, size, schemas, hosts, tick };
  }

  #open(): ChangesFrame<WireMessage> {
    return new ChangesFrame(this.#writer, this.#numbering, MessageType.changes, this.channel, this.#sequence + 1);
  }
}
