import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import type { ClientAddresses, Peer } from "./client-address.ts";

/**
 * The sockets whose clients have not been greeted: they have sent no request yet, no hello, or they were refused. Anybody who
 * reaches the port can open them, so they do not count as clients. When there are too many, a new one replaces the oldest: a
 * client with a right token is greeted sooner than that. When there are too many of one address, a new one replaces the oldest of these.
 */
export class WaitingSockets {
  readonly #most: number;
  readonly #mostPerAddress: number;
  readonly #addresses: ClientAddresses;
  readonly #onReplace: (address: string, most: number) => void;
  /** With the key of its address; the oldest first. */
  readonly #sockets = new Map<Duplex, string | undefined>();
  readonly #byAddress = new Map<string, Set<Duplex>>();

  /** @param onReplace called with the address of each connection that a newer one replaces, and how many there may be */
  constructor(
    most: number,
    mostPerAddress: number,
    addresses: ClientAddresses,
    onReplace: (address: string, most: number) => void,
  ) {
    this.#onReplace = onReplace;
    this.#most = most;
    this.#mostPerAddress = mostPerAddress;
    this.#addresses = addresses;
  }

  get size(): number {
    return this.#sockets.size;
  }

  /**
   * A socket that is among them already keeps its place. Behind a proxy, its request says more of its address.
   *
   * @param peer the socket's connection or request
   */
  add(socket: Duplex, peer: Peer): void {
    const key = this.#addresses.limitKeyOf(peer);
    const isNew = !this.#sockets.has(socket);
    if (isNew) this.#replace(this.#sockets.keys(), this.#sockets, this.#most);
    else if (this.#sockets.get(socket) === key) return;
    else this.#leaveAddress(socket);
    if (key !== undefined) {
      const own = this.#byAddress.get(key) ?? new Set();
      this.#replace(own, own, this.#mostPerAddress);
      this.#byAddress.set(key, own.add(socket));
    }
    this.#sockets.set(socket, key);
    if (isNew) socket.once("close", () => this.delete(socket));
  }

  /** It belongs to a client now, or is closed. */
  delete(socket: Duplex): void {
    this.#leaveAddress(socket);
    this.#sockets.delete(socket);
  }

  destroy(): void {
    for (const socket of this.#sockets.keys()) socket.destroy();
  }

  /** Makes room for one more among these, of which there may be so many. */
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
