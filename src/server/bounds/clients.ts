import type { ServerLimits } from "../limits.ts";

type ClientLimits = Pick<ServerLimits, "clients" | "clientsPerAddress">;

/**
 * The last words of each reason for a refusal: what the client can do. The whole reason must fit into a close frame.
 */
const ADVICE = ": try later, or let the operator raise it";

/** Counts the welcomed clients of a server, in total and by address. */
export class Clients {
  readonly #limits: ClientLimits;
  readonly #clients = new Map<object, string | undefined>();
  readonly #byAddress = new Map<string, number>();

  /** @param limits their values may change; new values apply to clients that enter later */
  constructor(limits: ClientLimits) {
    this.#limits = limits;
  }

  get size(): number {
    return this.#clients.size;
  }

  /**
   * Counts a client and returns undefined. If there are too many clients already, returns the reason for the refusal
   * and does not count the client.
   *
   * @param address undefined: no limit per address applies
   */
  enter(client: object, address: string | undefined): string | undefined {
    if (this.size >= this.#limits.clients) return `the limit clients is ${this.#limits.clients}${ADVICE}`;
    if (address !== undefined) {
      const others = this.#byAddress.get(address) ?? 0;
      if (others >= this.#limits.clientsPerAddress)
        return `clientsPerAddress is ${this.#limits.clientsPerAddress} for ${address}${ADVICE}`;
      this.#byAddress.set(address, others + 1);
    }
    this.#clients.set(client, address);
    return undefined;
  }

  /** Removes a client. Safe to call for a client that did not enter. */
  leave(client: object): void {
    const address = this.#clients.get(client);
    this.#clients.delete(client);
    if (address === undefined) return;
    const others = this.#byAddress.get(address)! - 1;
    if (others > 0) this.#byAddress.set(address, others);
    else this.#byAddress.delete(address);
  }
}
