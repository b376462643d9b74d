import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";

const read = (name: string) => readFileSync(new URL(`../${name}`, import.meta.url), "utf8");
const rows = [...read("docs/field-cases.md").matchAll(/^\| (?!what happened|---)(.*) \|$/gm)].map(([, row]) =>
  row!.split(" | "),
);

/** The tests of a row, each with its file; a name may be the beginning of a longer one. */
function testsOf(cell: string): [file: string, name: string][] {
  return cell.split(/; (?=`)/).flatMap((part) => {
    const [, file, names] = /^`(test\/[\w/-]+\.test\.ts)`: (.+)$/.exec(part)!;
    return names!.split("; ").map((name): [string, string] => [file!, name]);
  });
}

describe("The page of field cases", () => {
  it("names tests that exist, in the files that have them", () => {
    const missing = rows
      .flatMap(([, , cell]) => testsOf(cell!))
      .filter(([file, name]) => !['"', "`"].some((quote) => read(file).includes(quote + name)));
    expect(missing).toEqual([]);
    expect(rows.length).toBeGreaterThan(50);
    expect(new Set(rows.map((cells) => cells.length))).toEqual(new Set([3]));
  });
});
