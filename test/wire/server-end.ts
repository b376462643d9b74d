import type { DomainStatsRecord } from "../../src/model/record.ts";
import type { ChannelMessage } from "../../src/wire/channel-encoder.ts";
import { RowBatch } from "../../src/wire/columns/row-batch.ts";
import { SentSchemas } from "../../src/wire/columns/schema-slots.ts";
import type { ServerMessage } from "../../src/wire/messages.ts";
import { type Profile, profileOf, type RowsHead } from "../../src/wire/profile.ts";
import { SUBPROTOCOLS } from "../../src/wire/protocol.ts";

/** The server's end of one connection in the binary profile: makes the messages, with the schemas before them. */
export class ServerEnd {
  readonly profile: Profile;
  readonly #sentSchemas = new SentSchemas();

  /** @param profile shared by the connections of one view */
  constructor(profile: Profile = profileOf(SUBPROTOCOLS[0])) {
    this.profile = profile;
  }

  say(message: ServerMessage): Uint8Array[] {
    return [this.profile.message(message) as Uint8Array];
  }

  /** Rows of a sweep, or of a snapshot if they have numbers. */
  rows(
    id: number,
    records: readonly DomainStatsRecord[],
    numbers?: readonly number[],
  ): { messages: Uint8Array[]; bytes: number } {
    const batch = new RowBatch();
    for (const [row, record] of records.entries()) batch.add(numbers?.[row], record);
    return this.batch({ id }, batch);
  }

  batch(head: RowsHead, batch: RowBatch): { messages: Uint8Array[]; bytes: number } {
    const { messages, bytes, schemas } = this.profile.rows(head, batch);
    batch.clear(bytes);
    return { messages: [...this.#define(schemas), ...(messages as Uint8Array[])], bytes };
  }

  /** A message of a channel. */
  pass({ schemas, messages }: ChannelMessage): Uint8Array[] {
    return [...this.#define(schemas), ...(messages as Uint8Array[])];
  }

  #define(schemas: Parameters<SentSchemas["missing"]>[0]): Uint8Array[] {
    return this.#sentSchemas
      .missing(schemas)
      .flatMap(({ slot, schema }) =>
        this.say({ type: "schema", slot, keys: schema?.keys ?? [], types: [...(schema?.types ?? [])] }),
      );
  }
}
