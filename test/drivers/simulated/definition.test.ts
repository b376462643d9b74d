import { expect, it } from "vitest";
import { definitionOf } from "../../../src/drivers/simulated/definition.ts";

it("a simulated guest's definition has names for everything, whatever its draw is", () => {
  const devices = { vcpus: 1, disks: 1, nics: 1, firstNic: 0 };
  for (const draw of [0, 1, 2, 5, -1, -2, -3, 2 ** 31 - 1, -(2 ** 31)]) {
    const text = definitionOf({ uuid: "c81765ad-9a95-4f73-9169-ff37a29eee32", name: "guest", id: 1, draw, ...devices });
    expect(text).not.toContain("undefined");
    expect(text).toMatch(/<nova:name>(shop|research|build)-guest</);
  }
});
