import type { IncomingHttpHeaders } from "node:http";
import { BlockList, isIP } from "node:net";
import { invalid, quote } from "../../model/error.ts";
import { isLoopback } from "../access/origins.ts";

/**
 * Stands for the address of a client at a socket file, because such a client has no IP address. In `trustedProxies`,
 * the same word means all these clients.
 */
export const SOCKET_FILE = "unix";

/** The parts of a connection or a request that show the address of its client. */
export interface Peer {
  readonly socket: { readonly remoteAddress?: string | undefined };
  /** Undefined before the client has sent its request. */
  readonly headers?: IncomingHttpHeaders;
}

/** Finds the addresses of clients, including those behind proxies that the server trusts. */
export class ClientAddresses {
  readonly #proxies = new BlockList();
  readonly #trustsFile: boolean;

  /**
   * @param proxies addresses, networks such as 10.0.0.0/8, and `unix`
   * @throws VirstreamError `invalid-argument`
   */
  constructor(proxies: readonly string[] = []) {
    this.#trustsFile = proxies.includes(SOCKET_FILE);
    for (const proxy of proxies) {
      if (proxy === SOCKET_FILE) continue;
      const [, address = "", bits] = /^([^/]*)(?:\/(\d{1,3}))?$/.exec(String(proxy)) ?? [];
      const family = isIP(address);
      const most = family === 4 ? 32 : 128;
      if (family === 0 || Number(bits ?? most) > most) {
        throw invalid(`a trusted proxy is an address, a network as 10.0.0.0/8, or ${SOCKET_FILE}, not ${quote(proxy)}`);
      }
      this.#proxies.addSubnet(address, Number(bits ?? most), family === 4 ? "ipv4" : "ipv6");
    }
  }

  /**
   * The address of a client. If a trusted proxy sent the request, the result is the last address in `X-Forwarded-For`
   * that is no trusted proxy. A trusted proxy has added this address, but the client may have invented the addresses
   * before it.
   */
  addressOf({ socket, headers }: Peer): string {
    let address = plain(socket.remoteAddress ?? SOCKET_FILE);
    // If a request has several headers of this name, Node joins them with commas.
    const hops = String(headers?.["x-forwarded-for"] ?? "").split(",");
    while (this.#trusts(address)) {
      const hop = plain(hops.pop()?.trim() ?? "");
      if (isIP(hop) === 0) break;
      address = hop;
    }
    return address;
  }

  /**
   * The key by which the limits per address count a client. For IPv4 the key is the address. For IPv6 it is the network
   * of 64 bits, because one customer of an Internet provider usually has all addresses of such a network. The key is
   * undefined for a client that does not count: a client on this machine, or a client behind a trusted proxy while only
   * the proxy's address is known.
   */
  limitKeyOf(peer: Peer): string | undefined {
    const address = this.addressOf(peer);
    if (address === SOCKET_FILE || isLoopback(address) || this.#trusts(address)) return undefined;
    return isIP(address) === 6 ? `${groupsOf(address).slice(0, 4).join(":")}::/64` : address;
  }

  #trusts(address: string): boolean {
    if (address === SOCKET_FILE) return this.#trustsFile;
    const family = isIP(address);
    return family !== 0 && this.#proxies.check(address, family === 4 ? "ipv4" : "ipv6");
  }
}

/** An address in its shortest form, without a zone. An IPv4 address in IPv6 form becomes a plain IPv4 address. */
function plain(address: string): string {
  const [bare = ""] = address.split("%");
  if (isIP(bare) !== 6) return bare;
  const groups = groupsOf(bare);
  if (groups.slice(0, 5).some((group) => group !== "0") || groups[5] !== "ffff") {
    return new URL(`http://[${bare}]`).hostname.slice(1, -1);
  }
  const [high, low] = groups.slice(6).map((group) => Number.parseInt(group, 16)) as [number, number];
  return [high >> 8, high & 255, low >> 8, low & 255].join(".");
}

/** The eight groups of an IPv6 address, without leading zeros. */
function groupsOf(address: string): string[] {
  const [head = "", tail] = new URL(`http://[${address}]`).hostname.slice(1, -1).split("::");
  const [first, last] = [head, tail ?? ""].map((part) => part.split(":").filter((group) => group !== "")) as [
    string[],
    string[],
  ];
  return [...first, ...Array<string>(8 - first.length - last.length).fill("0"), ...last];
}
