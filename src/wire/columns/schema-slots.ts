import type { Schema } from "../../model/schema.ts";
import { LIMITS } from "../protocol.ts";

/** A schema that a message refers to, by its slot. */
export interface SlotSchema {
  readonly slot: number;
  readonly schema: Schema;
}

/**
 * Gives schemas their slots, for all connections of one view. When there are more schemas than slots, the one that was used
 * least recently loses its slot: so a host that keeps inventing shapes cannot make either end grow without bound.
 */
export class SchemaSlots {
  /** In the order of their last use. */
  readonly #slots = new Map<Schema, number>();

  slotOf(schema: Schema): number {
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
    return slot;
  }
}

/** Which schema each slot of a connection has, as the server told its client. */
export class ToldSchemas {
  /** In the order in which they were sent. */
  readonly #told = new Map<number, Schema>();
  #keys = 0;

  /**
   * The definitions that must be sent before a message that refers to these schemas. When all slots together would have
   * too many keys, those that were sent first are emptied.
   */
  missing(schemas: readonly SlotSchema[]): { slot: number; schema: Schema | undefined }[] {
    const missing: { slot: number; schema: Schema | undefined }[] = [];
    for (const { slot, schema } of schemas) {
      if (this.#told.get(slot) === schema) continue;
      this.#forget(slot);
      this.#told.set(slot, schema);
      this.#keys += schema.keys.length;
      missing.push({ slot, schema });
    }
    if (this.#keys <= LIMITS.schemaKeys) return missing;
    const needed = new Set(schemas.map(({ slot }) => slot));
    const emptied: typeof missing = [];
    for (const slot of [...this.#told.keys()]) {
      if (this.#keys <= LIMITS.schemaKeys || needed.has(slot)) continue;
      this.#forget(slot);
      emptied.push({ slot, schema: undefined });
    }
    return [...emptied, ...missing];
  }

  #forget(slot: number): void {
    this.#keys -= this.#told.get(slot)?.keys.length ?? 0;
    this.#told.delete(slot);
  }
}
