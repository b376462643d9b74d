/** @module-tag any-node */

import { readFile } from "node:fs/promises";
import { describe, expect, it } from "vitest";
import { inputTable } from "./input-table.ts";

const PAGE = new URL("../../docs/hostile.md", import.meta.url);

describe("docs/hostile.md", () => {
  // This writes it: npx vitest run test/hostile/input-table.test.ts -u
  it("has the table of the hostile inputs that the tests send", async () => {
    const page = await readFile(PAGE, "utf8");
    await expect(page.replace(/(\| .*\n)+$/, inputTable())).toMatchFileSnapshot(PAGE.pathname);
  });
});
