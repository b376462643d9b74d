import { LIST_FILTERS } from "../../model/query.ts";
import { STATE_NUMBERS } from "../../model/state.ts";
import { mix } from "./identity.ts";
import type { SimulatedOptions } from "./parameters.ts";

/**
 * Which guests are shut off, paused or transient. Exactly as many as asked for, spread over the host, and known for each
 * guest at once: the index is mapped to a rank by a multiplication modulo the number of guests, which is a permutation
 * as long as the factor shares no divisor with it. The first ranks are shut off, the next paused, the last transient. So
 * how many guests pass a filter is counted from four borders, whatever the size of the host.
 */
export class Population {
  readonly #domains: number;
  readonly #factor: number;
  readonly #offset: number;
  readonly #shutoff: number;
  /** The first rank that runs, and the first that is transient. */
  readonly #running: number;
  readonly #transient: number;
  readonly #mixed: boolean;

  constructor({ domains, shutoff, paused, transient, seed }: SimulatedOptions) {
    this.#domains = domains;
    this.#factor = coprime(domains);
    this.#offset = domains === 0 ? 0 : (mix(seed, 0x500) >>> 0) % domains;
    this.#shutoff = shutoff;
    this.#running = shutoff + paused;
    this.#transient = domains - transient;
    this.#mixed = shutoff + paused + transient > 0;
  }

  /** libvirt's number of a guest's state. */
  state(index: number): number {
    if (!this.#mixed) return STATE_NUMBERS.running;
    const rank = this.#rank(index);
    if (rank < this.#shutoff) return STATE_NUMBERS.shutoff;
    return rank < this.#running ? STATE_NUMBERS.paused : STATE_NUMBERS.running;
  }

  /** Whether a guest passes the filter bits of a query's flags; no bits let all pass. */
  passes(index: number, filter: number): boolean {
    return filter === 0 || this.#rankPasses(this.#rank(index), filter);
  }

  /** How many guests pass. */
  count(filter: number): number {
    const borders = [0, this.#shutoff, this.#running, this.#transient, this.#domains].sort((a, b) => a - b);
    let count = 0;
    for (let i = 1; i < borders.length; i++) {
      if (this.#rankPasses(borders[i - 1]!, filter)) count += borders[i]! - borders[i - 1]!;
    }
    return count;
  }

  #rank(index: number): number {
    return (index * this.#factor + this.#offset) % this.#domains;
  }

  #rankPasses(rank: number, filter: number): boolean {
    const { active, inactive, persistent, transient, running, paused, shutoff, other } = LIST_FILTERS;
    const off = rank < this.#shutoff;
    const traits =
      (off ? inactive | shutoff : active | (rank < this.#running ? paused : running)) |
      (rank < this.#transient ? persistent : transient);
    for (const family of [active | inactive, persistent | transient, running | paused | shutoff | other]) {
      if ((filter & family) !== 0 && (filter & family & traits) === 0) return false;
    }
    return true;
  }
}

/** A number near the golden section of `size` that shares no divisor with it; at most 10^7, so that products are exact. */
function coprime(size: number): number {
  let factor = Math.max(1, Math.round(size * 0.618));
  while (divisor(factor, size) > 1) factor++;
  return factor;
}

function divisor(a: number, b: number): number {
  return b === 0 ? a : divisor(b, a % b);
}
