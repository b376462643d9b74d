/** @module-tag any-node */

import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";

const page = readFileSync(new URL("../docs/architecture.md", import.meta.url), "utf8");
const section = page.split("## The path of one record\n")[1]!.split("\n## ")[0]!;

/** Each path's title and its lines: a file, a class, and one of its functions. */
const paths = [...section.matchAll(/\n(A [^\n]*):\n\n((?:\d+\. [^\n]*\n)+)/g)].map(([, title, list]) => {
  const lines = list!.trim().split("\n");
  return { title: title!, steps: lines.map((line) => /^\d+\. `(src\/\S+\.ts)` `(\w+)\.(#?\w+)`/.exec(line)?.slice(1)) };
});

describe("The path of one record in the page of the architecture", () => {
  it("leads through at most 8 objects in this process, and 14 and 15 to another", () => {
    expect(paths.map(({ title }) => title.split(",")[0])).toEqual([
      "A sweep in this process",
      "A watch in this process",
      "A sweep of a remote server",
      "A watch of a remote server",
    ]);
    for (const [i, most] of [8, 8, 14, 15].entries()) expect(paths[i]!.steps.length).toBeLessThanOrEqual(most);
  });

  it.each(paths)("names files and functions that exist: $title", ({ steps }) => {
    for (const step of steps) {
      const [file, name, method] = step!;
      const source = readFileSync(new URL(`../${file}`, import.meta.url), "utf8");
      const body = source.split(new RegExp(`\\bclass ${name}\\b`))[1];
      expect(body, `class ${name} in ${file}`).toBeDefined();
      expect(body, `${name}.${method} in ${file}`).toMatch(new RegExp(`^ {2}[\\w* ]*${method}(<\\w+>)?\\(`, "m"));
    }
  });
});
