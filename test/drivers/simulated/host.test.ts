import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { NO_FAULT } from "../../../src/drivers/simulated/fault.ts";
import { SimulatedHost } from "../../../src/drivers/simulated/host.ts";
import { parseSimulatedUri } from "../../../src/drivers/simulated/parameters.ts";
import { fieldOf, type KnownKey } from "../../../src/model/field/field.ts";
import { ALL_GROUPS, GROUPS, groupMask, groupNames } from "../../../src/model/group.ts";
import { PARAM_TYPES } from "../../../src/model/schema.ts";
import { cellsOf } from "../../model/cells.ts";
import { SIX_GROUPS } from "./harness.ts";
import { ManualClock } from "./manual-clock.ts";

const NOW = 1_790_000_000_000;

function host(parameters = ""): SimulatedHost {
  return new SimulatedHost(parseSimulatedUri(`test:///default?${parameters}`), new ManualClock(NOW));
}

const shape = fc.record({
  domains: fc.constant(50),
  vcpus: fc.constantFrom("1", "2", "1-8", "70"),
  disks: fc.constantFrom("0", "1", "0-3", "30"),
  nics: fc.constantFrom("0", "2", "0-4"),
  shutoff: fc.integer({ min: 0, max: 20 }),
  paused: fc.integer({ min: 0, max: 20 }),
  extras: fc.constantFrom(0, 1),
  seed: fc.integer({ min: 0, max: 0xffffffff }),
});
type Shape = typeof shape extends fc.Arbitrary<infer T> ? T : never;
const search = (shape: Shape) => new URLSearchParams(Object.entries(shape).map(([k, v]) => [k, String(v)])).toString();
const guest = fc.nat(49);
const groups = fc.integer({ min: 0, max: ALL_GROUPS });
const time = fc.integer({ min: 0, max: 4_000_000_000_000 });

describe("a record of a simulated guest", () => {
  it("has libvirt's 79 parameters for 2 vCPUs, 2 disks and 2 interfaces in six groups", () => {
    const params = host("domains=3&vcpus=2&disks=2&nics=2").sample(1, groupMask(SIX_GROUPS), NOW);
    const balloon = "current maximum swap_in swap_out major_fault minor_fault unused available usable last-update";
    const requests = "rd.reqs rd.bytes rd.times wr.reqs wr.bytes wr.times fl.reqs fl.times";
    expect(params.schema.keys).toEqual([
      ...["state.state", "state.reason", "cpu.time", "cpu.user", "cpu.system"],
      ...["cpu.haltpoll.success.time", "cpu.haltpoll.fail.time"],
      ...`${balloon} disk_caches hugetlb_pgalloc hugetlb_pgfail rss`.split(" ").map((name) => `balloon.${name}`),
      ...["vcpu.current", "vcpu.maximum"],
      ...[0, 1].flatMap((i) => ["state", "time", "wait", "delay"].map((name) => `vcpu.${i}.${name}`)),
      "net.count",
      ...[0, 1].flatMap((i) =>
        "name rx.bytes rx.pkts rx.errs rx.drop tx.bytes tx.pkts tx.errs tx.drop"
          .split(" ")
          .map((name) => `net.${i}.${name}`),
      ),
      "block.count",
      ...[0, 1].flatMap((i) =>
        `name path backingIndex ${requests} allocation capacity physical`
          .split(" ")
          .map((name) => `block.${i}.${name}`),
      ),
    ]);
    expect(params.size).toBe(79);
    expect(params.get("block.1.path")).toBe("/var/lib/libvirt/images/guest-00001-vdb.qcow2");
    expect(params.get("block.1.backingIndex")).toBe(2);
    expect(params.get("net.1.name")).toBe("vnet3");
  });

  it("follows from seed, index and time alone", () => {
    fc.assert(
      fc.property(shape, guest, groups, fc.boolean(), time, (shape, guest, groups, backing, now) => {
        const one = host(search(shape));
        const other = host(search(shape));
        for (let i = 0; i < 50; i += 7) other.sample(i, ALL_GROUPS, now + 1000);
        expect(other.domain(guest)).toEqual(one.domain(guest));
        const params = one.sample(guest, groups, now, backing);
        expect([...other.sample(guest, groups, now, backing).list()]).toEqual([...params.list()]);
      }),
    );
  });

  it("differs from guest to guest and from seed to seed", () => {
    const cells = (parameters: string, index: number) =>
      host(`vcpus=1&disks=1&nics=1&domains=9&${parameters}`).sample(index, ALL_GROUPS, NOW).doubles.join();
    expect(new Set([cells("", 0), cells("", 1), cells("seed=2", 0), cells("host=other", 0)]).size).toBe(4);
  });

  it("has only keys that the field table knows, in the types that it gives, of the groups that were asked for", () => {
    fc.assert(
      fc.property(shape, guest, groups, fc.boolean(), (shape, guest, groups, backing) => {
        const simulated = host(search(shape));
        const asked = new Set<string>(groupNames(groups));
        let group = 0;
        for (const { key, type } of simulated.sample(guest, groups, NOW, backing).list()) {
          const field = fieldOf(key);
          expect(field, key).toBeDefined();
          expect(field!.types, key).toContain(type);
          expect(asked.has(field!.group), `${key} of ${field!.group}`).toBe(true);
          expect(GROUPS.indexOf(field!.group), `${key} out of order`).toBeGreaterThanOrEqual(group);
          group = GROUPS.indexOf(field!.group);
        }
      }),
    );
  });

  it("has as many values as keys, each within its type", () => {
    fc.assert(
      fc.property(shape, guest, groups, fc.boolean(), time, (shape, guest, groups, backing, now) => {
        const simulated = host(search(shape));
        const params = simulated.sample(guest, groups, now, backing);
        const { schema } = params;
        const cells = cellsOf(params);
        expect(cells.length).toBe(schema.keys.length);
        expect(new Set(schema.keys).size).toBe(cells.length);
        cells.forEach((cell, i) => {
          const type = PARAM_TYPES[schema.types[i]! - 1]!;
          const within =
            type === "string" || type === "boolean"
              ? typeof cell === type
              : typeof cell === "bigint"
                ? cell > 2n ** 53n - 1n && cell < 2n ** 64n
                : Number.isSafeInteger(cell) && (cell as number) >= 0;
          expect(within, `${schema.keys[i]} = ${String(cell)}`).toBe(true);
        });
      }),
    );
  });

  it("shares its schema, by identity, with every record of its shape", () => {
    const simulated = host("domains=100&vcpus=1-2&disks=1&nics=1");
    const schemas = new Set(Array.from({ length: 100 }, (_, i) => simulated.sample(i, ALL_GROUPS, NOW + i).schema));
    expect(schemas.size).toBe(2);
    expect(schemas).toContain(simulated.sample(0, ALL_GROUPS, NOW).schema);
  });

  it("reaches every group", () => {
    const simulated = host("domains=10&vcpus=2&extras=1");
    const params = simulated.sample(0, ALL_GROUPS, NOW);
    const found = new Set(params.schema.keys.map((key) => fieldOf(key)!.group));
    expect([...found]).toEqual(GROUPS);
    expect(params.get("vcpu.1.exits.sum")).toBeTypeOf("bigint");
    expect(params.get("vcpu.1.guest_mode.cur")).toBeTypeOf("boolean");
    expect(params.get("memory.bandwidth.monitor.1.vcpus")).toBe("0-1");
    expect(params.get("dirtyrate.calc_status")).toBe(2);
    expect(params.get("iothread.count")).toBe(2);
  });

  it("of a shut-off guest has what QEMU's driver gives for one", () => {
    const params = host("domains=1&shutoff=1&vcpus=2&disks=1").sample(0, ALL_GROUPS, NOW);
    expect(params.schema.keys).toEqual([
      ...["state.state", "state.reason", "cpu.time", "cpu.user", "cpu.system", "balloon.current", "balloon.maximum"],
      ...["vcpu.current", "vcpu.maximum", "block.count", "block.0.name", "block.0.path"],
      ...["block.0.allocation", "block.0.capacity", "block.0.physical"],
    ]);
    expect(params.get("state.state")).toBe(5);
  });

  it("lists the backing image of each disk when it is asked to, with sizes and no requests", () => {
    const simulated = host("domains=1&disks=2");
    const params = simulated.sample(0, ALL_GROUPS, NOW, true);
    expect(params.get("block.count")).toBe(4);
    expect([0, 1, 2, 3].map((i) => params.get(`block.${i}.name`))).toEqual(["vda", "vda", "vdb", "vdb"]);
    expect([0, 1, 2, 3].map((i) => params.get(`block.${i}.backingIndex`))).toEqual([1, 2, 3, 4]);
    expect([0, 1, 2, 3].map((i) => params.has(`block.${i}.rd.reqs`))).toEqual([true, false, true, false]);
    expect(params.has("block.3.capacity")).toBe(true);
  });
});

describe("the values of a simulated guest", () => {
  // Two moments of one term of 2^32 ms; the guests restart with the next.
  const moments = fc.tuple(fc.integer({ min: 0, max: 2 ** 32 - 1 }), fc.integer({ min: 0, max: 2 ** 32 - 1 }));

  it("never count down while time passes", () => {
    fc.assert(
      fc.property(shape, guest, moments, (shape, guest, moments) => {
        const simulated = host(search(shape));
        const [earlier, later] = moments.toSorted((a, b) => a - b).map((ms) => 400 * 2 ** 32 + ms);
        const before = simulated.sample(guest, ALL_GROUPS, earlier!);
        const after = simulated.sample(guest, ALL_GROUPS, later!);
        expect(after.schema).toBe(before.schema);
        before.schema.keys.forEach((key, i) => {
          if (fieldOf(key)!.kind === "counter") expect(after.doubles[i]! >= before.doubles[i]!, key).toBe(true);
        });
      }),
    );
  });

  it("never count down from one ms to the next", () => {
    const simulated = host("domains=50&extras=1&vcpus=2&disks=2");
    for (let guest = 0; guest < 50; guest++) {
      let before = simulated.sample(guest, ALL_GROUPS, NOW);
      const counters = before.schema.keys.flatMap((key, i) => (fieldOf(key)!.kind === "counter" ? [i] : []));
      for (let ms = 1; ms < 100; ms++) {
        const after = simulated.sample(guest, ALL_GROUPS, NOW + ms);
        for (const i of counters) {
          if (after.doubles[i]! < before.doubles[i]!) throw new Error(`${after.schema.keys[i]} of guest ${guest} fell`);
        }
        before = after;
      }
    }
  });

  it("fit each other", () => {
    fc.assert(
      fc.property(shape, guest, time, (shape, guest, now) => {
        const params = host(search(shape)).sample(guest, ALL_GROUPS, now);
        if (params.get("state.state") === 5) return;
        const n = (key: KnownKey) => params.number(key)!;
        expect(n("cpu.user") + n("cpu.system")).toBeLessThanOrEqual(n("cpu.time"));
        let vcpuTime = 0;
        for (let i = 0; i < n("vcpu.current"); i++) vcpuTime += n(`vcpu.${i}.time`);
        expect(vcpuTime).toBeLessThanOrEqual(n("cpu.time"));
        expect(n("balloon.current")).toBeLessThanOrEqual(n("balloon.maximum"));
        expect(n("balloon.available")).toBeLessThanOrEqual(n("balloon.current"));
        expect(n("balloon.usable")).toBeLessThanOrEqual(n("balloon.available"));
        expect(n("balloon.unused") + n("balloon.disk_caches")).toBeLessThanOrEqual(n("balloon.usable"));
        expect(n("balloon.last-update") * 1000).toBeLessThanOrEqual(now);
        for (let i = 0; i < n("block.count"); i++) {
          expect(n(`block.${i}.rd.bytes`)).toBeGreaterThanOrEqual(512 * n(`block.${i}.rd.reqs`));
          expect(n(`block.${i}.allocation`)).toBeLessThanOrEqual(n(`block.${i}.capacity`));
        }
        for (let i = 0; i < n("net.count"); i++) {
          expect(n(`net.${i}.rx.bytes`)).toBeGreaterThanOrEqual(60 * n(`net.${i}.rx.pkts`));
          expect(n(`net.${i}.rx.drop`)).toBeLessThanOrEqual(n(`net.${i}.rx.pkts`));
        }
      }),
    );
  });

  it("are those of guests that have been up for weeks, and about a third of them change within a second", () => {
    const simulated = host("domains=1000&vcpus=2&disks=2&nics=2");
    const groups = groupMask(SIX_GROUPS);
    let changed = 0;
    for (let i = 0; i < 1000; i++) {
      const before = simulated.sample(i, groups, NOW);
      const after = simulated.sample(i, groups, NOW + 1000);
      changed += before.doubles.filter((double, at) => double !== after.doubles[at]).length;
      expect(before.number("cpu.time")).toBeGreaterThan(1e12);
      expect(before.number("cpu.time")).toBeLessThan(2 ** 53);
    }
    expect(changed / 79_000).toBeGreaterThan(0.25);
    expect(changed / 79_000).toBeLessThan(0.4);
  });

  it("stand still while a guest is paused", () => {
    const simulated = host("domains=4&paused=4&extras=1");
    const before = simulated.sample(2, ALL_GROUPS, NOW);
    expect(before.get("state.state")).toBe(3);
    expect(simulated.sample(2, ALL_GROUPS, NOW + 60_000)).toEqual(before);
  });
});

describe("the faults of a simulated guest", () => {
  it("restart its counters at every multiple of the period with reset", () => {
    const simulated = host("domains=2&reset=1:60000");
    const start = 60_000 * Math.ceil(NOW / 60_000);
    const at = (now: number) => simulated.sample(1, ALL_GROUPS, now).number("cpu.time")!;
    expect(at(start)).toBe(0);
    expect(at(start + 30_000)).toBeGreaterThan(0);
    expect(at(start + 59_000)).toBeGreaterThan(at(start + 30_000));
    expect(at(start + 61_000)).toBeLessThan(at(start + 59_000));
  });

  it("count from a restart, and as before when the fault is lifted", () => {
    const simulated = host("domains=2");
    simulated.change(1, { resetMs: NOW });
    expect(simulated.sample(1, ALL_GROUPS, NOW).number("cpu.time")).toBe(0);
    const later = simulated.sample(1, ALL_GROUPS, NOW + 100_000).number("cpu.time")!;
    expect(later).toBeGreaterThan(0);
    expect(later).toBeLessThan(1e12);
    simulated.change(1, NO_FAULT);
    expect(simulated.sample(1, ALL_GROUPS, NOW).number("cpu.time")).toBeGreaterThan(1e12);
  });

  it.each([84, 1_000, 1_001, 30_000])("make a record of exactly %i parameters with huge", (size) => {
    const simulated = host("domains=1&vcpus=2&disks=2&nics=2");
    simulated.change(0, { parameters: size });
    const params = simulated.sample(0, ALL_GROUPS, NOW);
    expect(params.size).toBe(size);
    expect(params.schema.keys.length).toBe(size);
    expect(new Set(params.schema.keys).size).toBe(size);
    for (const key of params.schema.keys.slice(-20)) expect(fieldOf(key), key).toBeDefined();
    expect(simulated.sample(0, ALL_GROUPS, NOW + 1).schema).toBe(params.schema);
    simulated.change(0, { parameters: 0 });
    expect(simulated.sample(0, ALL_GROUPS, NOW).size).toBe(83);
  });

  it("cover all seven types at their limits with extremes", () => {
    const simulated = host("domains=1&extremes=0");
    const params = simulated.sample(0, ALL_GROUPS, NOW);
    const extremes = [...params.list()].filter(({ key }) => key.startsWith("extreme."));
    expect(new Set(extremes.map(({ type }) => type))).toEqual(new Set(PARAM_TYPES));
    expect(params.getUnknown("extreme.llong.min")).toBe(-(2n ** 63n));
    expect(params.getUnknown("extreme.ullong.max")).toBe(2n ** 64n - 1n);
    expect(params.getUnknown("extreme.ullong.highest-exact")).toBe(2n ** 53n - 1n);
    expect(params.getUnknown("extreme.ullong.odd-above-exact")).toBe(2n ** 53n + 1n);
    expect(params.getUnknown("extreme.int.min")).toBe(-2_147_483_648);
    expect(params.getUnknown("extreme.double.smallest")).toBe(5e-324);
    expect(params.getUnknown("extreme.boolean.false")).toBe(false);
    expect([...params.bigs!.keys()].map((position) => params.schema.keys[position])).toEqual([
      "extreme.llong.min",
      "extreme.llong.max",
      "extreme.llong.below-exact",
      "extreme.ullong.above-exact",
      "extreme.ullong.odd-above-exact",
      "extreme.ullong.max",
    ]);
  });

  it("are refused for guests that the host does not have", () => {
    expect(() => host("domains=3").change(3, { slowMs: Number.POSITIVE_INFINITY })).toThrow(
      expect.objectContaining({ code: "invalid-argument" }),
    );
  });

  it("are forgotten when they are lifted", () => {
    const simulated = host("domains=3&freeze=1&error=1");
    simulated.change(1, { slowMs: 0, failing: false });
    expect(simulated.fault(1)).toBeUndefined();
  });
});
