/** @module-tag any-node */

import { expect, it } from "vitest";
import { HostList } from "../../src/driver/host-list.ts";

it("the names of several hosts follow each change of a name, of the order and of the number of hosts", () => {
  const hosts = new HostList();
  const lists = [[], ["a"], ["a", "b"], ["a", "b"], ["b", "a"], ["b", "a", "c"], ["b", "x", "c"], ["b"], []];
  expect(lists.map((names) => hosts.of(names))).toEqual(lists.map((names) => names.join(",")));
});
