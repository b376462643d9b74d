import { groupBit } from "../model/group.ts";
import type { Schema } from "../model/params.ts";
import { type DomainStatsRecord, RECORD_REASONS, RECORD_STATUSES } from "../model/record.ts";
import type { WireWriter } from "./encoding.ts";
import { errorToWire } from "./error-map.ts";
import { MessageType, ROW_HEAD } from "./protocol.ts";
import { RowBefore } from "./repetition.ts";

/** A frame refers to no more schemas, and to no more keys of them, so that its schemas fit the window together. */
const MAX_SCHEMAS = 512;
const MAX_KEYS = 262_144;

/** Gives schemas and hosts their numbers. */
export interface Numbering {
  schema(schema: Schema): number;
  host(host: string): number;
}

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
  #keys = 0;
  /** The schemas that the rows refer to, each with its latest row. */
  #latest = new Map<Schema, RowBefore>();

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
    return this.#latest.keys();
  }

  /** Whether a record's schema still has room beside those of the rows before. */
  fits(record: DomainStatsRecord): boolean {
    const schema = record.params.schema;
    if (this.#rows === 0 || this.#latest.has(schema)) return true;
    return this.#latest.size < MAX_SCHEMAS && this.#keys + schema.keys.length <= MAX_KEYS;
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
    this.#keys = 0;
    this.#latest = new Map();
    return this.#writer.take();
  }

  #row(record: DomainStatsRecord): void {
    const writer = this.#writer;
    const { domain, params, status } = record;
    const { schema, cells } = params;
    writer.arrayHead(ROW_HEAD + cells.length);
    writer.uuid(domain.uuid);
    writer.string(domain.name);
    writer.number(domain.id);
    writer.number(this.#numbering.host(domain.host));
    writer.number(record.index - this.#nextIndex);
    writer.number(this.#numbering.schema(schema));
    writer.number(Math.round(record.sampledAt) - this.#startedAt);
    writer.number(Math.round(record.tookMs * 1000));
    if (status === "ok") writer.number(0);
    else this.#status(record);

    const before = this.#latest.get(schema);
    writer.cells(cells, before);
    if (before === undefined) {
      this.#latest.set(schema, new RowBefore(cells));
      this.#keys += schema.keys.length;
    } else {
      before.cells = cells;
    }
    this.#nextIndex = record.index + 1;
  }

  /** The status of a record that is not ok: `[status, reason, missing, error]`. */
  #status(record: DomainStatsRecord): void {
    let missing = 0;
    for (const group of record.missing) missing = (missing | groupBit(group)) >>> 0;
    this.#writer.arrayHead(4);
    this.#writer.number(RECORD_STATUSES.indexOf(record.status));
    this.#writer.number(record.reason === undefined ? 0 : RECORD_REASONS.indexOf(record.reason) + 1);
    this.#writer.number(missing);
    this.#writer.value(errorToWire(record.error));
  }
}
