import { VirstreamError } from "../model/error.ts";
import { Domain, DomainStatsRecord, plainRecord } from "../model/record.ts";
import type { Schema } from "../model/schema.ts";
import { TypedParams } from "../model/typed-params.ts";
import { NIL_UUID, parseUuid } from "../model/uuid.ts";
import { BlockEncoder, type TimeBase } from "./columns/block-encoder.ts";
import { type BlockRows, isExact, markUnsendable, RowBatch } from "./columns/row-batch.ts";
import { SchemaSlots, type SlotSchema } from "./columns/schema-slots.ts";
import { utf8Length } from "./flow-control.ts";
import type { ServerMessage } from "./messages.ts";
import { pack, packOnce } from "./pack.ts";
import { LIMITS, type Subprotocol } from "./protocol.ts";

/** A WebSocket message: binary, or text. */
export type WireMessage = Uint8Array | string;

/**
 * What the rows belong to: a sweep or the snapshot of a watch, by its id; or a message of a channel, by its sequence.
 */
export type RowsHead = { readonly id: number } | { readonly channel: number; readonly sequence: number };

/** The messages that a profile makes of rows. */
export interface EncodedRows {
  readonly messages: readonly WireMessage[];
  /** The size of the messages in bytes, which is the credit that they use. */
  readonly bytes: number;
  /** The schemas that the messages use: the server sends them first on each connection that does not have them. */
  readonly schemas: readonly SlotSchema[];
}

/** One of the protocol's two encodings of the same messages. */
export interface Profile {
  readonly subprotocol: Subprotocol;
  /** Encodes a message that has no rows. */
  message(message: ServerMessage): WireMessage;
  /**
   * The messages for the rows of a batch, and for domains that left. A failed record replaces a record that cannot be
   * sent, such as a record that is larger than a message may be. The error of the failed record gives the reason.
   *
   * @param gone the domains that left; a message has them before the rows
   */
  rows(head: RowsHead, batch: RowBatch, gone?: readonly Departure[]): EncodedRows;
}

/** A domain that left its channel, with its number there. */
export interface Departure {
  readonly number: number;
  readonly domain: Domain;
}

/**
 * Makes the profile of a subprotocol. All connections of one View with this subprotocol use the same profile, so they
 * share its slots of schemas.
 */
export function profileOf(subprotocol: Subprotocol): Profile {
  return subprotocol === "virstream.v1" ? new BinaryProfile() : new JsonProfile();
}

const NO_DEPARTURES: readonly Departure[] = [];
const NO_SCHEMAS: readonly SlotSchema[] = [];

/** `virstream.v1`: msgpack, and rows in columns. */
class BinaryProfile implements Profile {
  readonly subprotocol = "virstream.v1";
  readonly #slots = new SchemaSlots();
  readonly #blocks = new BlockEncoder();

  message(message: ServerMessage): Uint8Array {
    return pack(message);
  }

  rows(head: RowsHead, batch: RowBatch, gone = NO_DEPARTURES): EncodedRows {
    let sent = batch;
    // Each pass replaces the records that are larger than `most`, and then `most` is halved: records that are small
    // enough one by one may be too large together.
    for (let most: number = LIMITS.message; ; most /= 2) {
      try {
        return this.#encode(head, sent, gone);
      } catch (error) {
        if (most < 1) throw error;
        sent = this.#sendable(batch, most);
      }
    }
  }

  #encode(head: RowsHead, batch: RowBatch, gone: readonly Departure[]): EncodedRows {
    this.#blocks.reset();
    const schemas: SlotSchema[] = [];
    const { first } = batch;
    const base: TimeBase = { wall: Math.round(first?.sampledAt ?? 0), steady: Math.round(first?.steadyAt ?? 0) };
    const slotOf = (schema: Schema): number => {
      const slot = this.#slots.slotOf(schema);
      schemas.push({ slot, schema });
      return slot;
    };
    const at = [base.wall, base.steady];
    const changed: unknown[] = [];
    for (const rows of batch.changed.values()) {
      const block = this.#blocks.changes(rows, slotOf(rows.schema), base);
      if (block === undefined) return this.#encode(head, withoutInexact(batch), gone);
      changed.push(block);
    }
    const full: unknown[] = [];
    for (const rows of batch.full.values()) full.push(this.#blocks.full(rows, slotOf(rows.schema), base));
    const message =
      "id" in head
        ? packOnce({ type: "records", id: head.id, at, blocks: full })
        : pack({ type: "changes", ...head, gone: gone.map(({ number }) => number), at, full, changed });
    // Texts with a common start are short in the message, but the client counts them in full.
    if (message.length > LIMITS.message || batch.characters > LIMITS.characters) {
      throw tooBig(Math.max(message.length, batch.characters));
    }
    return { messages: [message], bytes: message.length, schemas };
  }

  /**
   * A copy of the batch with a failed record in place of each record that cannot be sent, or is larger than `most`
   * bytes.
   */
  #sendable(batch: RowBatch, most: number): RowBatch {
    return rebuilt(batch, (number, record, before, copy) => {
      const alone = new RowBatch();
      alone.add(number, record);
      try {
        const { bytes } = this.#encode({ id: 0 }, alone, NO_DEPARTURES);
        if (bytes > most) throw tooBig(bytes);
        copy.add(number, record, before);
      } catch (thrown) {
        copy.add(number, failedInstead(record, VirstreamError.from(thrown)));
      }
    });
  }
}

/** `virstream.v1.json`: each record is an object in a message of its own. */
class JsonProfile implements Profile {
  readonly subprotocol = "virstream.v1.json";

  message(message: ServerMessage): string {
    return JSON.stringify(message);
  }

  rows(head: RowsHead, batch: RowBatch, gone = NO_DEPARTURES): EncodedRows {
    const messages: string[] = [];
    let bytes = 0;
    const say = (plain: object, record?: DomainStatsRecord): void => {
      let text = JSON.stringify({ type: "record", ...head, record: plain });
      let size = utf8Length(text);
      if (size > LIMITS.message && record !== undefined) {
        text = JSON.stringify({ type: "record", ...head, record: plainRecord(failedInstead(record, tooBig(size))) });
        size = utf8Length(text);
      }
      messages.push(text);
      bytes += size;
    };
    for (const { domain } of gone) say({ domain: identityOf(domain), status: "gone" });
    for (const blocks of [batch.full, batch.changed]) {
      for (const { records } of blocks.values()) for (const record of records) say(plainRecord(record), record);
    }
    return { messages, bytes, schemas: NO_SCHEMAS };
  }
}

function identityOf({ uuid, name, id, host }: Domain): object {
  return { uuid, name, id, host };
}

/** A copy of the batch with full rows in place of changes whose differences are not exact. */
function withoutInexact(batch: RowBatch): RowBatch {
  return rebuilt(batch, (number, record, before, copy) => {
    copy.add(number, record, before !== undefined && isExact(record, before) ? before : undefined);
  });
}

function rebuilt(
  batch: RowBatch,
  add: (
    number: number | undefined,
    record: DomainStatsRecord,
    before: DomainStatsRecord | undefined,
    copy: RowBatch,
  ) => void,
): RowBatch {
  const copy = new RowBatch();
  const each = ({ records, numbers, before }: BlockRows): void => {
    for (const [row, record] of records.entries()) add(numbers[row], record, before[row], copy);
  };
  for (const blocks of [batch.full, batch.changed]) for (const rows of blocks.values()) each(rows);
  return copy;
}

function failedInstead(record: DomainStatsRecord, error: VirstreamError): DomainStatsRecord {
  markUnsendable(record);
  const { sampledAt, steadyAt, tookMs, index } = record;
  const { uuid, name, id, host } = record.domain;
  const domain = parseUuid(uuid) === uuid ? record.domain : new Domain(NIL_UUID, name, id, host);
  const rest = { sampledAt, steadyAt, tookMs, index };
  return new DomainStatsRecord({
    domain,
    params: TypedParams.EMPTY,
    status: "failed",
    reason: "error",
    error,
    ...rest,
  });
}

function tooBig(bytes: number): VirstreamError {
  return new VirstreamError(
    "message-too-big",
    `the record has ${bytes} bytes, and a message, with other records, at most ${LIMITS.message}: request fewer groups`,
  );
}
