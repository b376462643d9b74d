import type { DomainIdentity } from "../../model/record.ts";
import { NIL_UUID } from "../../model/uuid.ts";

/** Two integers of 32 bits. */
type Hash = readonly [one: number, other: number];

/**
 * The domains that had their record in a sweep. Of each domain it keeps a hash of 64 bits, and not the texts: a million domains
 * take 16 MiB instead of a hundred. Two domains of ten thousand have the same hash in one of 10^11 sweeps; then the sweep is
 * refused. Each sweep starts its hashes elsewhere, so the next one is not.
 *
 * The two halves of the hashes are in `#hashes`, side by side: a table with open addressing, whose free places are 0.
 */
export class SeenDomains {
  /** Where the hashes of this sweep start. */
  readonly #start: Hash = [Math.random() * 2 ** 32, 1];
  #hashes = new Int32Array(2_048);
  /** How many domains it has. */
  size = 0;
  #host: string | undefined;
  /** The hash of the host, where the hashes of its domains start. */
  #ofHost = this.#start;

  /** Adds a domain. Returns false if it has been added before. */
  add({ host, uuid, name }: DomainIdentity): boolean {
    // The separator keeps apart a host `a` with the name `bc` and a host `ab` with the name `c`.
    if (host !== this.#host) this.#ofHost = hash(`${host}\n`, this.#start);
    this.#host = host;
    // At most three of four places are taken.
    if (this.size * 2.7 > this.#hashes.length) this.#grow();
    // A domain that was asked for by a name that no host has is known by that name.
    return this.#put(hash(uuid === NIL_UUID ? name : uuid, this.#ofHost));
  }

  #put([one, other]: Hash): boolean {
    const hashes = this.#hashes;
    const mask = hashes.length - 1;
    let at = (2 * one) & mask;
    for (; hashes[at + 1] !== 0; at = (at + 2) & mask) {
      if (hashes[at] === one && hashes[at + 1] === other) return false;
    }
    hashes[at] = one;
    hashes[at + 1] = other;
    this.size++;
    return true;
  }

  #grow(): void {
    const before = this.#hashes;
    this.#hashes = new Int32Array(2 * before.length);
    this.size = 0;
    for (let at = 0; at < before.length; at += 2) if (before[at + 1] !== 0) this.#put([before[at]!, before[at + 1]!]);
  }
}

/** Two hashes of a text, which mix each character in differently. The second is odd, so that it is not 0. */
function hash(text: string, [one, other]: Hash): Hash {
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    one = Math.imul(one ^ code, 0x9e3779b1);
    one ^= one >>> 15;
    other = Math.imul(other + code, 0x9e3779b1);
    other ^= other >>> 13;
  }
  return [one | 0, other | 1];
}
