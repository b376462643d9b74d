import { invalid, quote } from "./error.ts";

/**
 * One place of a pattern, which matches one character: a character whose code point is in one of the ranges, or, if
 * `inverted`, a character whose code point is in none of them.
 */
export interface Place {
  readonly ranges: readonly (readonly [from: number, to: number])[];
  readonly inverted: boolean;
}

/**
 * A parsed pattern: its places in order, and the positions of its `*`. A `*` at position n comes before the place with
 * the index n. If there is no such place, the `*` comes last.
 */
export interface Glob {
  readonly places: readonly Place[];
  readonly stars: ReadonlySet<number>;
}

const ANY: Place = { ranges: [], inverted: true };

/**
 * Checks a list of patterns. Returns the patterns sorted and without repetitions, so that queries with the same
 * patterns are equal and can be shared.
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
    parseGlob(pattern, member);
  }
  return [...new Set<string>(patterns)].sort();
}

/**
 * Matches one piece of a pattern: a list in brackets, or one character, perhaps after a backslash. In the list, the two
 * alternatives (a backslash with a character, and any other character) never match the same text. So the search takes
 * only linear time.
 */
const PIECE = /\[((?:\\.|[^\\\]])+)\]|\\?./gsu;
/** One item of a list in brackets: a character, or a range such as `a-z`. */
const RANGE = /(\\?.)(?:-(\\?.))?/gsu;

/** Parses a pattern. @throws VirstreamError `invalid-argument` for an invalid pattern; the message names `member` */
export function parseGlob(pattern: string, member: string): Glob {
  const places: Place[] = [];
  const stars = new Set<number>();
  for (const { 0: piece, 1: list = piece, index } of pattern.matchAll(PIECE)) {
    const inverted = list !== piece && list.startsWith("!");
    const ranges = [...list.slice(inverted ? 1 : 0).matchAll(RANGE)].map(
      ([, from = "", to = from]) => [codeOf(from), codeOf(to)] as const,
    );
    if (piece === "[" || piece === "\\" || ranges.length === 0 || ranges.some(([from, to]) => from > to)) {
      const rest = quote(pattern.slice(index));
      throw invalid(
        `${member}: ${quote(pattern)} is malformed at ${rest}. A backslash takes the next character literally`,
      );
    }
    if (piece === "*") stars.add(places.length);
    else places.push(piece === "?" ? ANY : { ranges, inverted });
  }
  return { places, stars };
}

/** The code point of a character, which may have a backslash before it. */
function codeOf(character: string): number {
  return character.codePointAt(character.length > 1 && character.startsWith("\\") ? 1 : 0)!;
}
