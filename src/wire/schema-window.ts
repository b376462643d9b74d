import type { Schema } from "../model/params.ts";
import { LIMITS } from "./protocol.ts";

/**
 * Which schemas are valid on a connection. Both ends keep the same window without talking about it: the newest
 * definitions count, up to 1,024 of them and up to 1,048,576 keys together, and the newest one always. So a host that
 * keeps inventing shapes cannot make either end grow without bound.
 */
export class SchemaWindow {
  readonly #schemas = new Map<number, Schema>();
  #keys = 0;

  get(number: number): Schema | undefined {
    return this.#schemas.get(number);
  }

  has(number: number): boolean {
    return this.#schemas.has(number);
  }

  /** Whether defining these would push older ones out. */
  evictsFor(count: number, keys: number): boolean {
    return this.#schemas.size + count > LIMITS.schemas || this.#keys + keys > LIMITS.schemaKeys;
  }

  /** Defines, or defines anew, the schema of a number; the oldest leave until the window is within its bounds. */
  define(number: number, schema: Schema): void {
    this.#forget(number);
    this.#schemas.set(number, schema);
    this.#keys += schema.keys.length;
    for (const oldest of this.#schemas.keys()) {
      if (this.#schemas.size <= LIMITS.schemas && this.#keys <= LIMITS.schemaKeys) break;
      if (oldest === number) break;
      this.#forget(oldest);
    }
  }

  #forget(number: number): void {
    const schema = this.#schemas.get(number);
    if (schema === undefined) return;
    this.#keys -= schema.keys.length;
    this.#schemas.delete(number);
  }
}
