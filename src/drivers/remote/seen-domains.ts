import type { DomainIdentity } from "../../model/record.ts";
import { NIL_UUID } from "../../model/uuid.ts";

/**
 * The domains of which a sweep has delivered the record. Of each domain it keeps a hash of 64 bits, and not the texts:
 * a million domains take 16 MiB instead of a hundred MiB. In one of 10^11 sweeps of ten thousand domains, two domains
 * have the same hash; then the sweep is refused. Each sweep starts its hashes with another random number, so the next
 * sweep is not refused.
 *
 * `#hashes` is a table with open addressing. It has the two halves of each hash side by side, and 0 in its free places.
 */
export class SeenDomains {
  /** The random number with which the hashes of this sweep start. */
  readonly #start = Math.random() * 2 ** 32;
  #hashes = new Int32Array(2_048);
  /** The number of domains that were added. */
  size = 0;
  #host: string | undefined;
  /** The hash of the host, with which the hashes of its domains start. */
  readonly #ofHost = new Int32Array(2);

  /** Adds the domains of records. Returns false if one of the domains has been added before. */
  add(records: readonly { readonly domain: DomainIdentity }[]): boolean {
    // All hashes are computed before the loop in `#put`. So that loop is so short that the processor loads several
    // places of the table at a time.
    const added = new Int32Array(2 * records.length);
    for (let i = 0; i < records.length; i++) {
      const { host, uuid, name } = records[i]!.domain;
      // The separator keeps apart a host `a` with the name `bc` and a host `ab` with the name `c`.
      if (host !== this.#host) hash(`${host}\n`, this.#start, 1, this.#ofHost, 0);
      this.#host = host;
      // If the query gives a name that no domain has, the record's domain has no uuid, and its hash is of the name.
      hash(uuid === NIL_UUID ? name : uuid, this.#ofHost[0]!, this.#ofHost[1]!, added, 2 * i);
    }
    // The table grows before more than three of four places are taken.
    while ((this.size + records.length) * 2.7 > this.#hashes.length) this.#grow();
    return this.#put(added);
  }

  #put(added: Int32Array): boolean {
    const hashes = this.#hashes;
    const mask = hashes.length - 1;
    for (let i = 0; i < added.length; i += 2) {
      const one = added[i]!;
      const other = added[i + 1]!;
      // When the table grows, `added` is the smaller table, and this is one of its free places.
      if (other === 0) continue;
      let at = (2 * one) & mask;
      for (; hashes[at + 1] !== 0; at = (at + 2) & mask) {
        if (hashes[at] === one && hashes[at + 1] === other) return false;
      }
      hashes[at] = one;
      hashes[at + 1] = other;
      this.size++;
    }
    return true;
  }

  #grow(): void {
    const before = this.#hashes;
    this.#hashes = new Int32Array(2 * before.length);
    this.size = 0;
    this.#put(before);
  }
}

/**
 * Computes two hashes of a text, two characters at a time, each hash in another way. The second hash is odd, so that it
 * is not 0.
 *
 * @param one and `other`: the start values of the two hashes
 * @param into the array into which the hashes are written, from index `at`
 */
function hash(text: string, one: number, other: number, into: Int32Array, at: number): void {
  for (let i = 0; i < text.length; i += 2) {
    const code = text.charCodeAt(i) | (text.charCodeAt(i + 1) << 16);
    one = Math.imul(one ^ code, 0x9e3779b1);
    one ^= one >>> 15;
    other = Math.imul(other + code, 0x9e3779b1);
    other ^= other >>> 15;
  }
  into[at] = one;
  into[at + 1] = other | 1;
}
