import { invalid, quote, type VirstreamError } from "./error.ts";

/** The characters that one place of a pattern takes, as code points: those in a range, or all others. */
interface Place {
  readonly ranges: readonly (readonly [from: number, to: number])[];
  readonly inverted: boolean;
}

/** A pattern: what it takes one after the other, and before which of these places (or after the last) it has a `*`. */
interface Glob {
  readonly places: readonly Place[];
  readonly stars: ReadonlySet<number>;
}

const ANY: Place = { ranges: [], inverted: true };

/** For so many characters it is remembered which places take them: the names of domains have few different ones. */
const MASKS_KEPT = 256;

/**
 * Patterns for names: `*` is any text, `?` any character, `[a-z]` one of these, `[!a-z]` one of the others, and a backslash takes
 * the next character literally.
 *
 * Patterns come from clients, so no pattern may cost much. All patterns advance together through a name, once: a bit for each place
 * of each pattern says whether the text so far leads there. That is the bit-parallel simulation of an automaton (Baeza-Yates and
 * Gonnet's Shift-And), which has nothing to try again.
 */
export class Globs {
  readonly #places: (Place | undefined)[] = [];
  readonly #starts: Uint32Array;
  readonly #ends: Uint32Array;
  /** The places before which there is a `*`: they stay reached. */
  readonly #stars: Uint32Array;
  readonly #masks = new Map<number, Uint32Array>();

  /** @throws VirstreamError `invalid-argument` for a malformed pattern */
  constructor(patterns: readonly string[]) {
    const globs = patterns.map((pattern) => parse(pattern, "patterns"));
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

  /** Whether one of the patterns matches the whole text. */
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

  /** The places that take a character. */
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

/** A function that says whether a text matches one of the patterns; without patterns each does. */
export function matcherOf(patterns: readonly string[] | undefined): (text: string) => boolean {
  if (patterns === undefined) return () => true;
  const globs = new Globs(patterns);
  return (text) => globs.matches(text);
}

/**
 * Checks a list of patterns, and returns each once, in an order that does not depend on the list: equal queries are shared.
 *
 * @param member the name of the list in errors
 * @throws VirstreamError `invalid-argument`
 */
export function checkPatterns(member: string, patterns: unknown): readonly string[] {
  if (!Array.isArray(patterns)) throw invalid(`${member} must be a list of patterns, not ${quote(patterns)}`);
  if (patterns.length === 0) throw invalid(`${member} has no pattern: give it one, or leave it out to ask for all`);
  for (const pattern of patterns) {
    if (typeof pattern !== "string" || pattern === "") {
      throw invalid(`${member} takes patterns such as "web-*", not ${quote(pattern)}`);
    }
    parse(pattern, member);
  }
  return [...new Set<string>(patterns)].sort();
}

/** @throws VirstreamError `invalid-argument` for an invalid pattern; the message names `member` */
function parse(pattern: string, member: string): Glob {
  const characters = [...pattern];
  const places: Place[] = [];
  const stars = new Set<number>();
  let at = 0;
  const malformed = (why: string): VirstreamError =>
    invalid(`${member}: ${quote(pattern)} is malformed: ${why}. A backslash takes the next character literally`);
  const literal = (): number => {
    if (characters[at] === "\\") at++;
    const character = characters[at++]?.codePointAt(0);
    if (character === undefined) throw malformed("it ends too early");
    return character;
  };
  const list = (): Place => {
    const ranges: [from: number, to: number][] = [];
    const inverted = characters[at] === "!";
    if (inverted) at++;
    while (characters[at] !== "]") {
      const from = literal();
      const isRange = characters[at] === "-" && characters[at + 1] !== "]";
      if (isRange) at++;
      const to = isRange ? literal() : from;
      if (to < from) throw malformed("a range runs backwards");
      ranges.push([from, to]);
    }
    if (ranges.length === 0) throw malformed("a list is empty");
    at++;
    return { ranges, inverted };
  };
  while (at < characters.length) {
    switch (characters[at]) {
      case "*":
        at++;
        stars.add(places.length);
        break;
      case "?":
        at++;
        places.push(ANY);
        break;
      case "[":
        at++;
        places.push(list());
        break;
      default: {
        const character = literal();
        places.push({ ranges: [[character, character]], inverted: false });
      }
    }
  }
  return { places, stars };
}
