/** @module-tag any-node */

import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { chartOf } from "../bench/chart.ts";

const read = (name: string): string => readFileSync(new URL(`../docs/${name}`, import.meta.url), "utf8");

it("the chart of the measurements is drawn from the tables as they are", () => {
  const chart = chartOf(read("performance.md"));
  expect(read("performance.svg")).toBe(chart);
  expect(chart.match(/<rect x/g)!.length).toBeGreaterThan(30);
});
