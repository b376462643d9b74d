/** @module-tag any-node */

import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";

const read = (name: string) => readFileSync(new URL(`../${name}`, import.meta.url), "utf8");
/** The cells of each row of a page's tables, without the headings. */
const rowsOf = (page: string, heading: string) =>
  [...read(page).matchAll(new RegExp(`^\\| (?!${heading}|---)(.*) \\|$`, "gm"))].map(([, row]) => row!.split(" | "));

/** The tests of a row, each with its file; a name may be the beginning of a longer one. */
function testsOf(cell: string): [file: string, name: string][] {
  return cell.split(/; (?=`)/).flatMap((part) => {
    const [, file, names] = /^`(test\/[\w/-]+\.test\.ts)`: (.+)$/.exec(part)!;
    return names!.split("; ").map((name): [string, string] => [file!, name]);
  });
}

/** The tests that the cells name and that do not exist in the files that they name. */
const missingFrom = (cells: readonly string[]) =>
  cells.flatMap(testsOf).filter(([file, name]) => !['"', "`"].some((quote) => read(file).includes(quote + name)));

describe("The page of field cases", () => {
  it("names tests that exist, in the files that have them", () => {
    const rows = rowsOf("docs/field-cases.md", "what happened");
    expect(missingFrom(rows.map(([, , cell]) => cell!))).toEqual([]);
    expect(rows.length).toBeGreaterThan(50);
    expect(new Set(rows.map((cells) => cells.length))).toEqual(new Set([3]));
  });
});

describe("The comparison with other libraries", () => {
  it("names for each point a test that exists, in the file that has it", () => {
    const rows = rowsOf("docs/comparison.md", "point").filter((cells) => cells.length > 2);
    expect(missingFrom(rows.map((cells) => cells.at(-1)!))).toEqual([]);
    expect(rows.length).toBeGreaterThan(20);
    expect(new Set(rows.map((cells) => cells.length))).toEqual(new Set([5]));
  });
});

describe("The security policy", () => {
  it("names for each claim tests that exist, in the files that have them", () => {
    const rows = rowsOf("SECURITY.md", "claim").filter((cells) => cells.at(-1)!.startsWith("`test/"));
    expect(missingFrom(rows.map((cells) => cells.at(-1)!))).toEqual([]);
    expect(rows.length).toBeGreaterThan(20);
    expect(new Set(rows.map((cells) => cells.length))).toEqual(new Set([2]));
  });
});
