import type { Schema } from "../../model/schema.ts";
import { LIMITS } from "../protocol.ts";

/** A schema that a message refers to, by its slot. */
export interface SlotSchema {
  readonly slot: number;
  readonly schema: Schema;
}

/**
 * The size of a schema for the limit `schemaSize`: the characters of its keys, and 32 for the further memory of each
 * key.
 */
export function sizeOfKeys(keys: readonly string[]): number {
  return keys.reduce((sum, { length }) => sum + length, 32 * keys.length);
}

/**
 * Assigns slots to schemas, for all connections of one View. When there are more schemas than slots, the least recently
 * used schema loses its slot. So a host that keeps sending new schemas cannot make the memory of the server or of the
 * client grow without bound.
 */
export class SchemaSlots {
  /** The slot of each schema; the least recently used schema comes first. */
  readonly #slots = new Map<Schema, number>();
  /**
   * The last schema in the order of `#slots`. Most messages use the schema of the message before. It is found here
   * without reordering the Map, which would take memory.
   */
  #newest: SlotSchema | undefined;

  slotOf(schema: Schema): number {
    if (this.#newest?.schema === schema) return this.#newest.slot;
    let slot = this.#slots.get(schema);
    if (slot === undefined) {
      slot = this.#slots.size;
      if (slot === LIMITS.slots) {
        const [[oldest, freed]] = this.#slots as unknown as [[Schema, number]];
        this.#slots.delete(oldest);
        slot = freed;
      }
    } else {
      this.#slots.delete(schema);
    }
    this.#slots.set(schema, slot);
    this.#newest = { slot, schema };
    return slot;
  }
}

/** The schema that each slot of a connection has, as the server sent it to the client. */
export class SentSchemas {
  /** The schema of each slot, in the order in which the schemas were sent. */
  readonly #sent = new Map<number, Schema>();
  #size = 0;

  /**
   * The definitions that must be sent before a message that uses these schemas. If the schemas of all slots together
   * would be too large, the result begins with definitions without a schema. They empty the slots whose schemas were
   * sent first.
   */
  missing(schemas: readonly SlotSchema[]): { slot: number; schema: Schema | undefined }[] {
    const missing: { slot: number; schema: Schema | undefined }[] = [];
    for (const { slot, schema } of schemas) {
      if (this.#sent.get(slot) === schema) continue;
      this.#forget(slot);
      this.#sent.set(slot, schema);
      this.#size += sizeOfKeys(schema.keys);
      missing.push({ slot, schema });
    }
    if (this.#size <= LIMITS.schemaSize) return missing;
    const needed = new Set(schemas.map(({ slot }) => slot));
    const emptied: typeof missing = [];
    for (const slot of [...this.#sent.keys()]) {
      if (this.#size <= LIMITS.schemaSize || needed.has(slot)) continue;
      this.#forget(slot);
      emptied.push({ slot, schema: undefined });
    }
    return [...emptied, ...missing];
  }

  #forget(slot: number): void {
    this.#size -= sizeOfKeys(this.#sent.get(slot)?.keys ?? []);
    this.#sent.delete(slot);
  }
}
