import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import type { ServerLimits } from "../limits.ts";
import type { ClientAddresses, Peer } from "./client-address.ts";

type WaitingLimits = Pick<ServerLimits, "waiting" | "waitingPerAddress">;

/**
 * The sockets whose clients the server has not welcomed: they have not sent a request or a hello yet, or they were
 * refused. Anybody who reaches the port can open such sockets, so they do not count as clients. When there are too
 * many, a new one replaces the oldest. This does no harm to a client with a valid token, because the server welcomes it
 * before its socket becomes the oldest. When one address has too many, a new one replaces the oldest of that address.
 */
export class WaitingSockets {
  readonly #limits: WaitingLimits;
  readonly #addresses: ClientAddresses;
  readonly #onReplace: (address: string, most: number) => void;
  /** Each socket with the key of its client's address, the oldest first. */
  readonly #sockets = new Map<Duplex, string | undefined>();
  readonly #byAddress = new Map<string, Set<Duplex>>();

  /**
   * @param limits may change: new limits apply when the next connection comes
   * @param onReplace called with the address of each connection that a newer one replaces, and with the limit
   */
  constructor(limits: WaitingLimits, addresses: ClientAddresses, onReplace: (address: string, most: number) => void) {
    this.#onReplace = onReplace;
    this.#limits = limits;
    this.#addresses = addresses;
  }

  /**
   * Adds a socket. A socket that is already here keeps its place, but gets a new key: behind a proxy, only the request
   * shows the client's address.
   *
   * @param peer the client's connection, or its request once this has come: either shows the client's address
   */
  add(socket: Duplex, peer: Peer): void {
    const key = this.#addresses.limitKeyOf(peer);
    const isNew = !this.#sockets.has(socket);
    if (isNew) this.#replace(this.#sockets.keys(), this.#sockets, this.#limits.waiting);
    else if (this.#sockets.get(socket) === key) return;
    else this.#leaveAddress(socket);
    if (key !== undefined) {
      const own = this.#byAddress.get(key) ?? new Set();
      this.#replace(own, own, this.#limits.waitingPerAddress);
      this.#byAddress.set(key, own.add(socket));
    }
    this.#sockets.set(socket, key);
    if (isNew) socket.once("close", () => this.delete(socket));
  }

  /** Removes a socket, for example because the server has welcomed its client, or because the socket is closed. */
  delete(socket: Duplex): void {
    this.#leaveAddress(socket);
    this.#sockets.delete(socket);
  }

  destroy(): void {
    for (const socket of this.#sockets.keys()) socket.destroy();
  }

  /** Makes room for one more socket among these sockets, if their limit is reached. */
  #replace(oldestFirst: Iterable<Duplex>, { size }: { readonly size: number }, most: number): void {
    let excess = size - most + 1;
    for (const oldest of oldestFirst) {
      if (excess-- <= 0) break;
      this.delete(oldest);
      this.#onReplace(this.#addresses.addressOf({ socket: oldest as Socket }), most);
      oldest.destroy();
    }
  }

  #leaveAddress(socket: Duplex): void {
    const key = this.#sockets.get(socket);
    if (key === undefined) return;
    const own = this.#byAddress.get(key)!;
    own.delete(socket);
    if (own.size === 0) this.#byAddress.delete(key);
  }
}
