/** @module-tag any-node */

import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { costsOf, withEstimates } from "../bench/scale/estimate.ts";

const read = (name: string): string => readFileSync(new URL(`../docs/${name}`, import.meta.url), "utf8");

it.each(["scale.md", "operating.md"])(
  "the estimates in %s follow from the measured costs of one domain, host and subscriber",
  (name) => {
    const page = read(name);
    expect(page.match(/\| [\d,]+ × \d+ \|/g)!.length).toBeGreaterThanOrEqual(4);
    expect(withEstimates(costsOf(read("scale.md")), page)).toBe(page);
  },
);
