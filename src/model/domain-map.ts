import type { DomainIdentity } from "./record.ts";
import { NIL_UUID } from "./uuid.ts";

/**
 * A map with one value for each domain of each host. The key is the host and the uuid: while a domain migrates, two
 * hosts have it, and the map has a value for each of them. A domain that a query names and that no host has may lack a
 * uuid: its key has the name instead. The map has two levels, hosts and then domains, instead of keys that join both.
 * So a call builds no joined key, and looks up the host only if it differs from the host of the call before.
 */
export class DomainMap<Value> {
  readonly #hosts = new Map<string, Map<string, Value>>();
  #host: string | undefined;
  #ofHost: Map<string, Value> = new Map();
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** The number of hosts that have a domain in this map. */
  get hosts(): number {
    return this.#hosts.size;
  }

  /** True if the map has a domain with this uuid, on any host. */
  hasUuid(uuid: string): boolean {
    for (const values of this.#hosts.values()) if (values.has(uuid)) return true;
    return false;
  }

  get(domain: DomainIdentity): Value | undefined {
    return this.#of(domain.host).get(nameOf(domain));
  }

  set(domain: DomainIdentity, value: Value): void {
    const values = this.#of(domain.host);
    const before = values.size;
    values.set(nameOf(domain), value);
    this.#size += values.size - before;
    if (before === 0) this.#hosts.set(domain.host, values);
  }

  delete(domain: DomainIdentity): void {
    const values = this.#of(domain.host);
    if (values.delete(nameOf(domain))) this.#size--;
    if (values.size === 0) this.#hosts.delete(domain.host);
  }

  *[Symbol.iterator](): Generator<Value> {
    for (const values of this.#hosts.values()) yield* values.values();
  }

  #of(host: string): Map<string, Value> {
    if (host !== this.#host) {
      this.#host = host;
      this.#ofHost = this.#hosts.get(host) ?? new Map();
    }
    return this.#ofHost;
  }
}

function nameOf({ uuid, name }: DomainIdentity): string {
  return uuid === NIL_UUID ? `name ${name}` : uuid;
}
