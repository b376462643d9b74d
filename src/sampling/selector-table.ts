import type { DomainSelector } from "../model/query.ts";
import type { DomainIdentity } from "../model/record.ts";
import { NIL_UUID } from "../model/uuid.ts";

/**
 * Resolves the selectors of a query to domains, which are known by host and uuid. A selector does not say on which host
 * its domain is, and a name does not say the uuid. Only a record of the domain shows its host, its uuid and its name.
 * So a table keeps a value for each selector, and finds the values of all selectors that mean a given domain.
 */
export class SelectorTable<Value> {
  readonly #byUuid = new Map<string, Value>();
  readonly #byName = new Map<string, Value>();
  /**
   * The values of the selectors with a uuid, by the text of the selector in the query: a domain may have this text as
   * its name.
   */
  readonly #byOtherName = new Map<string, Value>();

  /** @param value makes the value for a selector; `ordinal` is the selector's place in the list */
  constructor(selectors: readonly DomainSelector[], value: (selector: DomainSelector, ordinal: number) => Value) {
    for (const [ordinal, selector] of selectors.entries()) {
      const its = value(selector, ordinal);
      if ("uuid" in selector) {
        this.#byUuid.set(selector.uuid, its);
        this.#byOtherName.set(selector.name ?? selector.uuid, its);
      } else {
        this.#byName.set(selector.name, its);
      }
    }
  }

  /** The values of all selectors. */
  values(): Value[] {
    return [...this.#byUuid.values(), ...this.#byName.values()];
  }

  /**
   * The value of exactly this selector; undefined if it is not in the table, even if another selector in the table
   * means the same domain.
   */
  get(selector: DomainSelector): Value | undefined {
    return "uuid" in selector ? this.#byUuid.get(selector.uuid) : this.#byName.get(selector.name);
  }

  /**
   * The values of the selectors that mean a domain: two if both its uuid and its name are selectors, first the value of
   * the uuid.
   */
  of({ uuid, name }: DomainIdentity): Value[] {
    const byUuid = (uuid === NIL_UUID ? undefined : this.#byUuid.get(uuid)) ?? this.#byOtherName.get(name);
    const byName = this.#byName.get(name);
    if (byUuid === undefined) return byName === undefined ? [] : [byName];
    return byName === undefined ? [byUuid] : [byUuid, byName];
  }
}
