import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Globs, matcherOf } from "../../src/driver/matcher.ts";

/** A piece of a pattern: how it is written, and the characters that it takes; undefined: any text. */
type Piece = { readonly text: string; readonly takes: ((character: string) => boolean) | undefined };

const LETTERS = ["a", "b", "c", "-", "]", "!", "*", "?", "[", "\\", "é", "😀"];
const letter = fc.constantFrom(...LETTERS);
const quoted = (character: string) => `\\${character}`;

const piece: fc.Arbitrary<Piece> = fc.oneof(
  fc.constant<Piece>({ text: "*", takes: undefined }),
  fc.constant<Piece>({ text: "?", takes: () => true }),
  letter.map((own): Piece => ({ text: /[*?[\\]/.test(own) ? quoted(own) : own, takes: (other) => other === own })),
  letter.map((own): Piece => ({ text: quoted(own), takes: (other) => other === own })),
  fc
    .tuple(fc.boolean(), fc.array(fc.tuple(letter, letter), { minLength: 1, maxLength: 3 }))
    .map(([not, ranges]): Piece => {
      const codes = ranges.map((ends) => ends.toSorted((one, other) => one.codePointAt(0)! - other.codePointAt(0)!));
      const text = codes
        .map(([from, to]) => (from === to ? quoted(from!) : `${quoted(from!)}-${quoted(to!)}`))
        .join("");
      const isIn = (other: string) =>
        codes.some(
          ([from, to]) =>
            from!.codePointAt(0)! <= other.codePointAt(0)! && other.codePointAt(0)! <= to!.codePointAt(0)!,
        );
      return { text: `[${not ? "!" : ""}${text}]`, takes: (other) => isIn(other) !== not };
    }),
);

/** The plainest matcher: tries each way. */
function naive([first, ...rest]: readonly Piece[], name: readonly string[]): boolean {
  if (first === undefined) return name.length === 0;
  if (first.takes !== undefined) return name.length > 0 && first.takes(name[0]!) && naive(rest, name.slice(1));
  return naive(rest, name) || (name.length > 0 && naive([first, ...rest], name.slice(1)));
}

describe("patterns", () => {
  it("match what a matcher that tries each way matches, one or several together, also beyond a word of bits", () => {
    const patterns = fc.array(fc.array(piece, { maxLength: 8 }), { minLength: 1, maxLength: 12 });
    const names = fc.array(fc.array(letter, { maxLength: 8 }), { minLength: 1, maxLength: 20 });
    fc.assert(
      fc.property(patterns, names, (written, texts) => {
        const globs = new Globs(written.map((pieces) => pieces.map(({ text }) => text).join("")));
        for (const text of texts) {
          const expected = written.some((pieces) => naive(pieces, text));
          expect(globs.matches(text.join(""))).toBe(expected);
        }
      }),
      { numRuns: 500 },
    );
  });

  it.each([
    ["web-*", ["web-", "web-1"], ["Web-1", "my-web-1", "web"]],
    ["*", ["", "x"], []],
    ["db-[0-9]", ["db-7"], ["db-", "db-77", "db-x"]],
    ["db-[!0-9]", ["db-x", "db--"], ["db-7", "db-"]],
    ["a?c", ["abc", "a😀c"], ["ac", "abbc"]],
    ["a\\*", ["a*"], ["ab", "a\\*"]],
    ["[\\]-]", ["]", "-"], ["\\", "a"]],
    ["[a-]", ["a", "-"], ["b"]],
    [".*", [".x"], ["x"]],
    ["a]b", ["a]b"], ["ab"]],
  ])("%s is read as in a shell", (pattern, matching, others) => {
    const matches = matcherOf([pattern]);
    expect(matching.filter((name) => !matches(name))).toEqual([]);
    expect(others.filter(matches)).toEqual([]);
  });

  it.each(["[", "[a", "[]", "[!]", "[z-a]", "[a-", "a\\", "[\\"])("%s is refused as malformed", (pattern) => {
    expect(() => new Globs([pattern])).toThrow(
      expect.objectContaining({ code: "invalid-argument", message: expect.stringMatching(/is malformed/) }),
    );
  });

  it("that would take a matcher that tries each way longer than the universe exists match at once", () => {
    const globs = new Globs(Array.from({ length: 64 }, (_, i) => `${"*a".repeat(120)}${i}`));
    const name = "a".repeat(5_000);
    expect([globs.matches(name), globs.matches(`${name}63`)]).toEqual([false, true]);
  });
});
