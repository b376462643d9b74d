import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { VirstreamError } from "../../src/model/error.ts";
import { Host, Hosts } from "./hosts.ts";

/** What may become of a host between two sweeps. */
const faults = fc.oneof(
  fc.constant({ kind: "well" as const }),
  fc.record({ kind: fc.constant("frozen" as const), after: fc.nat(3) }),
  fc.constant({ kind: "failing" as const }),
  fc.constant({ kind: "lost" as const }),
  fc.constant({ kind: "over" as const }),
);
type Fault = typeof faults extends fc.Arbitrary<infer T> ? T : never;

function befall(host: Host, fault: Fault): void {
  host.frozenAfter = fault.kind === "frozen" ? fault.after : undefined;
  host.failure = undefined;
  host.down = fault.kind === "over";
  if (fault.kind === "failing") host.failure = new VirstreamError("hypervisor-error", "it cannot list its domains");
  if (fault.kind === "over") host.failure = new VirstreamError("unauthenticated", "the token is another one now");
  if (fault.kind === "lost") host.lose();
}

const SIZES = [0, 5, 150];
const NAMES = ["guest-00003", "guest-00120", "missing"];
/** What has these names, in order: two hosts have a domain of the first one. */
const NAMED = ["guest-00003", "guest-00003", "guest-00120", "missing"];

describe("Whatever becomes of the hosts", () => {
  it("each known domain has exactly one record in each sweep, each domain of a name one, and in the end all are back", async () => {
    const step = fc.record({ faults: fc.tuple(faults, faults, faults), pauseMs: fc.nat(40_000) });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 6 }), async (steps) => {
        await using all = await Hosts.opened(...SIZES.map((size, i) => new Host(`hv${i}`, `domains=${size}`)));
        await all.records();
        for (const { faults, pauseMs } of steps) {
          for (const [i, host] of all.hosts.entries()) befall(host, faults[i]!);
          const records = await all.records();
          expect(new Set(records.map(({ domain }) => domain.uuid)).size).toBe(155);
          expect(new Set(records.map(({ index }) => index)).size).toBe(records.length);
          expect(records).toHaveLength(155);
          const named = await all.records({ domains: NAMES });
          expect(named.map(({ domain }) => domain.name).sort()).toEqual(NAMED);
          expect(new Set(named.map(({ domain }) => domain.uuid)).size).toBe(NAMED.length);
          await all.pass(pauseMs);
        }
        for (const host of all.hosts) befall(host, { kind: "well" });
        await all.pass(62_000);
        for (const host of all.hosts) host.reconnect();
        const records = await all.records();
        expect(records.filter(({ status }) => status === "ok")).toHaveLength(155);
      }),
      { numRuns: 30 },
    );
  });
});
