import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { SweepTally } from "../../../src/driver/tally.ts";
import { cut } from "../../../src/drivers/nats/chunk.ts";
import { Fleet, type FleetListener } from "../../../src/drivers/nats/fleet.ts";
import { hostOf, tokenOf } from "../../../src/drivers/nats/subjects.ts";
import { TickEncoder } from "../../../src/drivers/nats/tick.ts";
import { SimulatedDriver } from "../../../src/drivers/simulated/driver.ts";
import { VirstreamError } from "../../../src/model/error.ts";
import { checkQuery } from "../../../src/model/query.ts";
import type { DomainStatsRecord } from "../../../src/model/record.ts";
import { pack } from "../../../src/wire/pack.ts";

const INTERVAL_MS = 1_000;

async function recordsOf(host: string, domains: number): Promise<DomainStatsRecord[]> {
  const driver = new SimulatedDriver(`test:///default?domains=${domains}&host=${host}`);
  const records: DomainStatsRecord[] = [];
  const context = { signal: new AbortController().signal, expect: () => {} };
  for await (const chunk of driver.sweep(checkQuery({}), context)) records.push(...chunk);
  await driver.close();
  return records;
}

const records = await recordsOf("hv1", 20);

/** The messages of a tick of `hv1`, or of what gives itself this name. */
function tick(
  sequence: number,
  {
    epoch = "a",
    host = "hv1",
    own = records,
    maxPayload = 1_048_576,
    error = undefined as VirstreamError | undefined,
  } = {},
): Uint8Array[] {
  const tally = new SweepTally(1_000 * sequence);
  tally.add(own);
  const summary = error === undefined ? tally.summary(1) : undefined;
  const whole = { host, hypervisor: "test", intervalMs: INTERVAL_MS, records: own, summary, error, overrun: 0 };
  return cut(epoch, sequence, new TickEncoder(epoch, "test").encode(whole, 5_000), maxPayload);
}

/** A fleet, and what it tells its listeners. */
function openFleet(): { fleet: Fleet; events: string[]; send: (...messages: Uint8Array[]) => void } {
  const fleet = new Fleet({}, () => true);
  const events: string[] = [];
  const listener: FleetListener = {
    tick: ({ host, lost, tick }) =>
      events.push(`${host}: ${tick!.records.length} records${lost === undefined ? "" : `, ${lost.skipped} lost`}`),
    status: ({ host }, error) => events.push(`${host}: ${error?.code ?? "connected"}`),
    forgotten: ({ host }) => events.push(`${host}: forgotten`),
  };
  fleet.listeners.add(listener);
  const send = (...messages: Uint8Array[]): void => {
    for (const message of messages) fleet.take("hv1", message, 0, false);
  };
  return { fleet, events, send };
}

describe("The name of a host", () => {
  it("becomes one token of a subject, a different one for each name, and is read from it again", () => {
    expect(tokenOf("hv1.example.com")).toBe("hv1=2Eexample=2Ecom");
    expect(tokenOf("hv_1-A")).toBe("hv_1-A");
    expect(tokenOf("")).toBe("=");
    fc.assert(
      fc.property(fc.string({ unit: "grapheme" }), (host) => {
        expect(tokenOf(host)).toMatch(/^[A-Za-z0-9_=-]+$/);
        expect(hostOf(tokenOf(host))).toBe(host);
      }),
    );
  });

  it("is not read from a token that no host has", () => {
    for (const token of ["hv1=2e", "=FF", "=41", "hv*", "=2", "==", "hv 1"])
      expect(hostOf(token), token).toBeUndefined();
  });
});

describe("The newest state of a host", () => {
  it("has the records as they were published, at the same distances of time", () => {
    const { fleet, send } = openFleet();
    send(...tick(1));
    const { tick: taken } = fleet.hosts.get("hv1")!;
    const plain = (record: DomainStatsRecord): object => ({ ...record.toJSON(), steadyAt: 0 });
    expect(taken!.records.map(plain)).toEqual(records.map(plain));
    const [first, second] = taken!.records;
    expect(second!.steadyAt - first!.steadyAt).toBe(records[1]!.steadyAt - records[0]!.steadyAt);
  });

  it("tells a tick that comes twice from one that comes late, and reports how many were lost", () => {
    const { fleet, events, send } = openFleet();
    send(...tick(1), ...tick(2), ...tick(2), ...tick(6), ...tick(4), ...tick(4), ...tick(7));
    expect(events).toEqual(["hv1: 20 records", "hv1: 20 records", "hv1: 20 records, 3 lost", "hv1: 20 records"]);
    expect(fleet.figures).toMatchObject({ tick: 4, duplicate: 1, late: 2, refused: 0 });
  });

  it("begins again with a new start of the publisher, and ignores what comes late of the one before", () => {
    const { fleet, events, send } = openFleet();
    send(...tick(8), ...tick(1, { epoch: "b" }), ...tick(8), ...tick(2, { epoch: "b" }));
    expect(events).toEqual(["hv1: 20 records", "hv1: 20 records, undefined lost", "hv1: 20 records"]);
    expect(fleet.figures).toMatchObject({ tick: 3, stale: 1 });
  });

  it("says so while two publishers give themselves the same name", () => {
    const { fleet, events, send } = openFleet();
    send(...tick(8), ...tick(1, { epoch: "b" }), ...tick(9), ...tick(2, { epoch: "b" }));
    expect(events.slice(2)).toEqual(["hv1: invalid-argument", "hv1: 20 records"]);
    const [[state, error] = []] = fleet.degraded;
    expect({ ...state, error }).toMatchObject({
      ...{ host: "hv1", error: { message: expect.stringContaining("two publishers") } },
    });
    fleet.check(performance.now() + 60_000);
    expect(events.at(-1)).toBe("hv1: connection-lost");
  });

  it("is reported as not known when the host is silent, or could not be swept, until it is known again", () => {
    const { fleet, events, send } = openFleet();
    const now = performance.now();
    send(...tick(1));
    fleet.check(now + 2 * INTERVAL_MS);
    expect(events).toEqual(["hv1: 20 records"]);
    fleet.check(now + 10 * INTERVAL_MS);
    send(...tick(2));
    send(...tick(3, { error: new VirstreamError("socket-missing", "no libvirtd") }));
    send(...tick(4));
    const known = ["hv1: connected", "hv1: 20 records"];
    const failed = ["hv1: socket-missing", "hv1: 20 records"];
    expect(events.slice(1)).toEqual(["hv1: connection-lost", ...known, ...failed, ...known]);
  });

  it("is put together from chunks in any order, and never from those of two ticks", () => {
    const { fleet, events, send } = openFleet();
    const [one, two] = [tick(1, { maxPayload: 2_048 }), tick(2, { maxPayload: 2_048 })];
    expect(one.length).toBeGreaterThan(3);
    send(...one.slice(0, -1), ...two.slice(0, 1), one.at(-1)!, ...two.slice(1).reverse());
    expect(events).toEqual(["hv1: 20 records"]);
    expect(fleet.figures).toMatchObject({ tick: 1, incomplete: 1 });
  });
});

describe("A message that is none of a host's own", () => {
  it("changes nothing, whatever it has: it is counted, and the host that sends nothing else is reported", async () => {
    const others = await recordsOf("hv2", 3);
    const [good] = tick(5);
    const foreign: Record<string, Uint8Array[]> = {
      garbage: [new Uint8Array(100).fill(0xc1)],
      "no bytes": [new Uint8Array(0)],
      "another version": [pack({ v: 2, epoch: "a", sequence: 1, chunk: 0, chunks: 1, body: new Uint8Array(3) })],
      "a body that is no tick": [pack({ v: 1, epoch: "a", sequence: 1, chunk: 0, chunks: 1, body: new Uint8Array(9) })],
      "more chunks than it says": [
        pack({ v: 1, epoch: "a", sequence: 1, chunk: 3, chunks: 2, body: new Uint8Array(9) }),
      ],
      "a tick of another host": tick(1, { host: "hv2", own: others }),
      "domains of another host": tick(1, { own: others }),
      "a domain twice": tick(1, { own: [...records, records[0]!] }),
      "a cut message": [good!.subarray(0, good!.length - 1)],
    };
    for (const [what, messages] of Object.entries(foreign)) {
      const { fleet, events, send } = openFleet();
      send(...messages);
      expect(events, what).toEqual(["hv1: protocol-error"]);
      expect(fleet.figures, what).toMatchObject({ tick: 0, refused: 1 });
      send(...tick(5));
      expect(events.slice(1), what).toEqual(["hv1: connected", "hv1: 20 records"]);
      send(...messages);
      expect(events.slice(3), what).toEqual([]);
    }
  });

  it("is refused for any change of its bytes, or is the same tick", () => {
    const [good] = tick(5, { own: records.slice(0, 3) });
    fc.assert(
      fc.property(fc.nat(good!.length - 1), fc.integer({ min: 1, max: 255 }), (at, flip) => {
        const { fleet, send } = openFleet();
        const bad = good!.slice();
        bad[at]! ^= flip;
        send(bad);
        for (const { domain } of fleet.hosts.get("hv1")!.tick?.records ?? []) expect(domain.host).toBe("hv1");
        const { tick: taken, waiting, refused } = fleet.figures;
        expect(taken + waiting + refused).toBe(1);
      }),
      { numRuns: 2_000 },
    );
  });

  it("cannot make the chunks that wait take more memory than they may", () => {
    const { fleet } = openFleet();
    const body = new Uint8Array(1_000_000);
    for (let host = 0; host < 200; host++) {
      fleet.take(`hv${host}`, pack({ v: 1, epoch: "a", sequence: 1, chunk: 0, chunks: 9, body }), 0, false);
    }
    const { waiting, refused } = fleet.figures;
    expect(waiting).toBeGreaterThan(100);
    expect(waiting).toBeLessThan(136);
    expect(waiting + refused).toBe(200);
  });
});
