import { VirstreamError } from "../model/error.ts";
import { LIMITS } from "./protocol.ts";

/**
 * The numbers of hosts. One table may be shared by all connections of a server: messages that are made once for many
 * connections then have the same numbers on all of them.
 */
export class HostTable {
  readonly #numbers = new Map<string, number>();
  readonly #names: string[] = [];

  /** How many hosts have a number: those from 0 to one less. */
  get size(): number {
    return this.#names.length;
  }

  /**
   * The number of a host; a host that has none gets the next.
   *
   * @throws VirstreamError `limit-exceeded`
   */
  number(host: string): number {
    const known = this.#numbers.get(host);
    if (known !== undefined) return known;
    const number = this.#names.length;
    if (number >= LIMITS.hosts) {
      throw new VirstreamError("limit-exceeded", `more than ${LIMITS.hosts} hosts: spread them over several servers`);
    }
    this.#numbers.set(host, number);
    this.#names.push(host);
    return number;
  }

  /** The host of a number that `number` gave. */
  name(number: number): string {
    return this.#names[number]!;
  }
}
