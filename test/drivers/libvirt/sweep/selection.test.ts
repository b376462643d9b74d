import { describe, expect, it } from "vitest";
import { uuidOf } from "../rpc/fake-daemon.ts";
import { advance, Run, turnTheClock } from "./run.ts";
import { SimulatedDaemon } from "./simulated-daemon.ts";

turnTheClock();

describe("A sweep of the domains that patterns match", () => {
  it("expects and asks for these only", async () => {
    const daemon = new SimulatedDaemon(12);
    const run = new Run(daemon, { names: ["vm1", "vm1?"] });
    await advance(2_000);
    await run.done;
    expect([run.expected, run.summary]).toEqual([3, ["vm1:ok", "vm10:ok", "vm11:ok"]]);
    const asked = new Set(daemon.statsCalls.flatMap(({ uuids }) => uuids));
    expect([...asked].sort()).toEqual([1, 10, 11].map(uuidOf).sort());
  });

  it("ends at once where none matches, and on a host that does not match without a call", async () => {
    const daemon = new SimulatedDaemon(3);
    const none = new Run(daemon, { names: ["web-*"] });
    await advance(100);
    await none.done;
    expect([none.expected, none.records, none.error]).toEqual([0, [], undefined]);
    const before = daemon.calls.length;
    const elsewhere = new Run(daemon, { hosts: ["node2"] });
    await advance(100);
    await elsewhere.done;
    expect([elsewhere.expected, elsewhere.records, daemon.calls.length - before]).toEqual([0, [], 0]);
    const here = new Run(daemon, { hosts: ["node?"] });
    await advance(2_000);
    await here.done;
    expect(here.count("ok")).toBe(3);
  });

  it("has a domain that was renamed since it was listed as gone, by the name that matched", async () => {
    const daemon = new SimulatedDaemon(3, () => ({ monitorMs: 50 }));
    const run = new Run(daemon, { names: ["vm*"] });
    await advance(10);
    daemon.domains[1] = { ...daemon.domains[1]!, name: "secret" };
    await advance(2_000);
    await run.done;
    expect([run.expected, run.summary]).toEqual([3, ["vm0:ok", "vm1:gone", "vm2:ok"]]);
  });
});
