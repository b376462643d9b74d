import { invalid, quote, type VirstreamError } from "./error.ts";

/** The characters that one place of a pattern takes, as code points: those in a range, or all others. */
export interface Place {
  readonly ranges: readonly (readonly [from: number, to: number])[];
  readonly inverted: boolean;
}

/** A pattern: what it takes one after the other, and before which of these places (or after the last) it has a `*`. */
export interface Glob {
  readonly places: readonly Place[];
  readonly stars: ReadonlySet<number>;
}

const ANY: Place = { ranges: [], inverted: true };

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
    parseGlob(pattern, member);
  }
  return [...new Set<string>(patterns)].sort();
}

/** @throws VirstreamError `invalid-argument` for an invalid pattern; the message names `member` */
export function parseGlob(pattern: string, member: string): Glob {
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
