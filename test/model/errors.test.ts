import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { ERROR_CODES } from "../../src/model/error.ts";

const page = readFileSync(new URL("../../docs/errors.md", import.meta.url), "utf8");
const sections = page
  .split(/^## /m)
  .slice(1)
  .map((section) => {
    const [heading = "", ...lines] = section.split("\n");
    return { heading, text: lines.join("\n") };
  });

describe("docs/errors.md", () => {
  it("has one heading for each error code, and no other, in the order of the code", () => {
    expect(sections.map(({ heading }) => heading)).toEqual(Object.keys(ERROR_CODES));
  });

  it("says of each code whether it is retryable, as the code has it", () => {
    const said = sections.map(({ heading, text }) => [heading, /^\nRetryable: (yes|no)\.$/m.exec(text)?.[1]]);
    const known = Object.entries(ERROR_CODES).map(([code, { retryable }]) => [code, retryable ? "yes" : "no"]);
    expect(said).toEqual(known);
  });

  it("says of each code what it means and what to do", () => {
    for (const { heading, text } of sections) {
      const paragraphs = text.trim().split("\n\n");
      expect([heading, paragraphs.length]).toEqual([heading, 3]);
      expect([heading, paragraphs[2]]).toEqual([heading, expect.stringMatching(/^What to do: \S/)]);
    }
  });
});
