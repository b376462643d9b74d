import { type Place, parseGlob } from "../model/glob.ts";
import { LIST_FILTERS } from "../model/query.ts";

const { active, inactive, persistent, transient, running, paused, shutoff, other } = LIST_FILTERS;
/**
 * The filters come in families. A domain passes if, in each family that the query uses, it has one of the bits that the
 * query sets.
 */
const FAMILIES = [active | inactive, persistent | transient, running | paused | shutoff | other];

/**
 * For at most this many different characters, Globs remembers which places of the patterns match. The names of domains
 * have few different characters.
 */
const MASKS_KEPT = 256;

/**
 * Patterns for names: `*` is any text, `?` any character, `[a-z]` one of these characters, `[!a-z]` any other
 * character, and a backslash takes the next character literally.
 *
 * Patterns come from clients, so no pattern may cost much. All patterns are matched in one pass over a name. Each place
 * of each pattern has a bit, which is set if the text so far matches the pattern up to this place. This is the
 * bit-parallel simulation of an automaton (Baeza-Yates and Gonnet's Shift-And), which never goes back in the text.
 */
export class Globs {
  readonly #places: (Place | undefined)[] = [];
  readonly #starts: Uint32Array;
  readonly #ends: Uint32Array;
  /** The places after a `*`. Once reached, they stay reached. */
  readonly #stars: Uint32Array;
  readonly #masks = new Map<number, Uint32Array>();

  /** @throws VirstreamError `invalid-argument` for a malformed pattern */
  constructor(patterns: readonly string[]) {
    const globs = patterns.map((pattern) => parseGlob(pattern, "patterns"));
    const bits = (): Uint32Array => new Uint32Array((this.#places.length >>> 5) + 1);
    const starts: number[] = [];
    const ends: number[] = [];
    const stars: number[] = [];
    for (const glob of globs) {
      const start = this.#places.length;
      starts.push(start);
      for (const place of glob.stars) stars.push(start + place);
      this.#places.push(...glob.places, undefined);
      ends.push(this.#places.length - 1);
    }
    const setOf = (numbers: readonly number[]): Uint32Array => {
      const set = bits();
      for (const number of numbers) set[number >>> 5]! |= 1 << (number & 31);
      return set;
    };
    this.#starts = setOf(starts);
    this.#ends = setOf(ends);
    this.#stars = setOf(stars);
  }

  /** True if one of the patterns matches the whole text. */
  matches(text: string): boolean {
    const reached = this.#starts.slice();
    for (const character of text) {
      const takes = this.#takes(character.codePointAt(0)!);
      let carry = 0;
      let any = 0;
      for (let word = 0; word < reached.length; word++) {
        const before = reached[word]!;
        const taken = before & takes[word]!;
        const now = (taken << 1) | carry | (before & this.#stars[word]!);
        carry = taken >>> 31;
        reached[word] = now;
        any |= now;
      }
      if (any === 0) return false;
    }
    return reached.some((word, i) => (word & this.#ends[i]!) !== 0);
  }

  /** The places that match a character, as a bit mask. */
  #takes(character: number): Uint32Array {
    const known = this.#masks.get(character);
    if (known !== undefined) return known;
    const mask = new Uint32Array(this.#starts.length);
    for (const [number, place] of this.#places.entries()) {
      if (place === undefined) continue;
      const listed = place.ranges.some(([from, to]) => from <= character && character <= to);
      if (listed !== place.inverted) mask[number >>> 5]! |= 1 << (number & 31);
    }
    if (this.#masks.size < MASKS_KEPT) this.#masks.set(character, mask);
    return mask;
  }
}

/** Returns a function that says whether a text matches one of the patterns. Without patterns, every text matches. */
export function matcherOf(patterns: readonly string[] | undefined): (text: string) => boolean {
  if (patterns === undefined) return () => true;
  const globs = new Globs(patterns);
  return (text) => globs.matches(text);
}

/**
 * The names in the `host` of a driver or a status, where commas separate several hosts. A host that has never answered
 * is left out: `host` has its URI in place of a name, but its events will have its name.
 */
export function hostNames(host: string): string[] {
  return host.split(",").filter((name) => !name.includes("://"));
}

/** The names in a `host` that match the patterns of a query's `hosts`; all names if there are no patterns. */
export function selectedHosts(host: string, hosts: readonly string[] | undefined): string[] {
  return hostNames(host).filter(matcherOf(hosts));
}

/**
 * True if a source may have a host that matches the patterns of a query's `hosts`. A host that has never answered may
 * match, because its name is not known.
 */
export function mayHaveHost(host: string, hosts: readonly string[] | undefined): boolean {
  return hosts === undefined || host.includes("://") || selectedHosts(host, hosts).length > 0;
}

/**
 * True if a domain with the filter bits `traits` passes the filters of a query's flags. Without filters, every domain
 * passes.
 */
export function passesFilter(traits: number, flags: number): boolean {
  return FAMILIES.every((family) => (flags & family) === 0 || (flags & family & traits) !== 0);
}
