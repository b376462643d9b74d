import type { Schema } from "../model/params.ts";
import type { DomainStatsRecord } from "../model/record.ts";
import { cellsOf } from "./cells.ts";
import type { WireWriter } from "./encoding.ts";
import { FrameSchemas, type Numbering } from "./frame-schemas.ts";
import { MessageType, ROW_HEAD } from "./protocol.ts";
import { statusToWire } from "./row-status.ts";

/**
 * One RECORDS message while it grows. Rows are positional: the keys are in the schema, which is sent once. A value that
 * equals that of the row before with the same schema is nil, and a string says only how it goes on from that one: hosts
 * run many guests of one make, whose capacities, limits and device names are all the same, and whose paths nearly so.
 */
export class RecordsFrame<Message> {
  readonly #writer: WireWriter<Message>;
  readonly #numbering: Numbering;
  readonly #id: number;
  readonly #startedAt: number;
  #mark = 0;
  #rows = 0;
  #nextIndex = 0;
  #hosts = 0;
  readonly #schemas = new FrameSchemas();

  /**
   * @param id the sweep
   * @param startedAt what the rows' times count from, in ms since 1970
   */
  constructor(writer: WireWriter<Message>, numbering: Numbering, id: number, startedAt: number) {
    this.#writer = writer;
    this.#numbering = numbering;
    this.#id = id;
    this.#startedAt = startedAt;
  }

  /** How many rows it has. */
  get rows(): number {
    return this.#rows;
  }

  /** How long it is so far. */
  get length(): number {
    return this.#rows === 0 ? 0 : this.#writer.length;
  }

  /** The schemas that its rows refer to. */
  get schemas(): Iterable<Schema> {
    return this.#schemas.all;
  }

  /** One more than the greatest number of a host that its rows refer to. */
  get hosts(): number {
    return this.#hosts;
  }

  /** Whether a record's schema still has room beside those of the rows before. */
  fits(record: DomainStatsRecord): boolean {
    return this.#schemas.fits(record.params.schema);
  }

  /** Adds a row. If the record cannot be encoded it throws, and the frame is as before. */
  add(record: DomainStatsRecord): void {
    const writer = this.#writer;
    if (this.#rows === 0) {
      writer.arrayHead(3);
      writer.number(MessageType.records);
      writer.number(this.#id);
      this.#mark = writer.beginArray();
    }
    const before = writer.length;
    try {
      this.#row(record);
    } catch (error) {
      writer.truncate(before);
      if (this.#rows === 0) writer.take();
      throw error;
    }
    this.#rows++;
  }

  /** Gives the message away; the frame is empty again. */
  take(): Message {
    this.#writer.endArray(this.#mark, this.#rows);
    this.#rows = 0;
    this.#nextIndex = 0;
    this.#hosts = 0;
    this.#schemas.clear();
    return this.#writer.take();
  }

  #row(record: DomainStatsRecord): void {
    const writer = this.#writer;
    const { domain, params, status } = record;
    const { schema } = params;
    const cells = cellsOf(params);
    writer.arrayHead(ROW_HEAD + cells.length);
    writer.uuid(domain.uuid);
    writer.string(domain.name);
    writer.number(domain.id);
    const host = this.#numbering.host(domain.host);
    writer.number(host);
    writer.number(record.index - this.#nextIndex);
    writer.number(this.#numbering.schema(schema));
    writer.number(Math.round(record.sampledAt) - this.#startedAt);
    writer.number(Math.round(record.tookMs * 1000));
    if (status === "ok") writer.number(0);
    else writer.value(statusToWire(record));

    const before = this.#schemas.before(schema);
    writer.cells(cells, before);
    this.#schemas.wrote(schema, cells, before);
    if (host >= this.#hosts) this.#hosts = host + 1;
    this.#nextIndex = record.index + 1;
  }
}
