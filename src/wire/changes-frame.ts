import type { Schema } from "../model/params.ts";
import type { DomainStatsRecord } from "../model/record.ts";
import { cellsOf } from "./cells.ts";
import type { ChangesHead, WireWriter } from "./encoding.ts";
import { FrameSchemas, type Numbering } from "./frame-schemas.ts";
import { WATCH_ROW_HEAD } from "./protocol.ts";
import { statusToWire } from "./row-status.ts";

/**
 * One STATE or CHANGES message while it grows. A domain's record is mostly told by what differs from the one before it:
 * of a hundred values a third change from one second to the next, and most of those are counters, whose differences take
 * half the bytes that they take themselves. Nothing but the message's own rows and the records told before is needed, so
 * that one message serves every watch of a channel.
 */
export class ChangesFrame<Message> {
  readonly #writer: WireWriter<Message>;
  readonly #numbering: Numbering;
  readonly #type: number;
  readonly #subject: number;
  readonly #sequence: number;
  readonly #schemas = new FrameSchemas();
  /** One for all rows: they are many. */
  readonly #head: ChangesHead = { number: 0, index: 0, sampledAt: 0, took: 0 };
  #mark = 0;
  #rows = 0;
  #hosts = 0;
  #nextNumber = 0;
  #sampledAt = 0;

  /**
   * @param type MessageType.state, or MessageType.changes
   * @param subject the watch of a STATE, the channel of CHANGES
   * @param sequence as of which its rows are, or the message's own
   */
  constructor(writer: WireWriter<Message>, numbering: Numbering, type: number, subject: number, sequence: number) {
    this.#writer = writer;
    this.#numbering = numbering;
    this.#type = type;
    this.#subject = subject;
    this.#sequence = sequence;
  }

  /** How many rows it has. */
  get rows(): number {
    return this.#rows;
  }

  /** How long it is so far. */
  get length(): number {
    return this.#rows === 0 ? 0 : this.#writer.length;
  }

  /** The schemas that its full rows refer to. */
  get schemas(): Iterable<Schema> {
    return this.#schemas.all;
  }

  /** One more than the greatest number of a host that its full rows refer to. */
  get hosts(): number {
    return this.#hosts;
  }

  /** Whether a record's schema still has room beside those of the rows before. */
  fits(record: DomainStatsRecord): boolean {
    return this.#schemas.fits(record.params.schema);
  }

  /**
   * Adds a row: of changes where the protocol allows it, else a full one. If the record cannot be encoded it throws, and
   * the frame is as before.
   *
   * @param number the domain's number in its channel
   * @param before what was told of that number last; undefined: nothing, or it shall not be referred to
   */
  add(number: number, record: DomainStatsRecord, before: DomainStatsRecord | undefined): void {
    const writer = this.#writer;
    const sampledAt = Math.round(record.sampledAt);
    if (this.#rows === 0) {
      writer.arrayHead(5);
      writer.number(this.#type);
      writer.number(this.#subject);
      writer.number(this.#sequence);
      writer.number(sampledAt);
      this.#sampledAt = sampledAt;
      this.#mark = writer.beginArray();
    }
    const length = writer.length;
    try {
      if (before === undefined || !this.#changes(number, record, before, sampledAt)) {
        this.#full(number, record, sampledAt);
      }
    } catch (error) {
      writer.truncate(length);
      if (this.#rows === 0) writer.take();
      throw error;
    }
    this.#nextNumber = number + 1;
    this.#sampledAt = sampledAt;
    this.#rows++;
  }

  /** Gives the message away; the frame is empty again. */
  take(): Message {
    this.#writer.endArray(this.#mark, this.#rows);
    this.#rows = 0;
    this.#hosts = 0;
    this.#nextNumber = 0;
    this.#schemas.clear();
    return this.#writer.take();
  }

  #changes(number: number, record: DomainStatsRecord, before: DomainStatsRecord, sampledAt: number): boolean {
    const { domain, params } = record;
    const known = before.domain;
    if (record.status !== "ok" || params.schema !== before.params.schema) return false;
    if (domain !== known) {
      if (domain.name !== known.name || domain.id !== known.id) return false;
      if (domain.host !== known.host || domain.uuid !== known.uuid) return false;
    }
    const head = this.#head;
    head.number = number - this.#nextNumber;
    head.index = record.index - before.index;
    head.sampledAt = sampledAt - this.#sampledAt;
    head.took = Math.round(record.tookMs * 1000);
    return this.#writer.changes(head, params.schema.types, cellsOf(params), cellsOf(before.params));
  }

  #full(number: number, record: DomainStatsRecord, sampledAt: number): void {
    const writer = this.#writer;
    const { domain, params, status } = record;
    const { schema } = params;
    const cells = cellsOf(params);
    const host = this.#numbering.host(domain.host);
    writer.arrayHead(WATCH_ROW_HEAD + cells.length);
    writer.number(number - this.#nextNumber);
    writer.uuid(domain.uuid);
    writer.string(domain.name);
    writer.number(domain.id);
    writer.number(host);
    writer.number(record.index);
    writer.number(this.#numbering.schema(schema));
    writer.number(sampledAt - this.#sampledAt);
    writer.number(Math.round(record.tookMs * 1000));
    if (status === "ok") writer.number(0);
    else writer.value(statusToWire(record));
    const before = this.#schemas.before(schema);
    writer.cells(cells, before);
    this.#schemas.wrote(schema, cells, before);
    if (host >= this.#hosts) this.#hosts = host + 1;
  }
}
