import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Completeness } from "../../../../src/drivers/libvirt/sweep/completeness.ts";
import { GROUPS, type Group, groupMask, groupNames } from "../../../../src/model/group.ts";
import { TypedParams } from "../../../../src/model/params.ts";

/** A disk as it shows in the keys: with a path, over the network, an empty drive, or vhost-user. */
type Disk = "file" | "network" | "empty" | "vhost-user";

/** What the keys of a running guest depend on. */
interface Shape {
  /** On KVM; otherwise it is emulated. */
  readonly kvm: boolean;
  /** Its QEMU has statistics of its own (7.1 and later). */
  readonly queryStats: boolean;
  readonly vcpus: number;
  readonly disks: readonly Disk[];
  readonly iothreads: number;
  readonly nics: number;
  readonly balloon: boolean;
  /** The daemon finds halt polling times in the host's debugfs when it does not ask QEMU. */
  readonly debugfs: boolean;
  /** Its QEMU and its libvirt know of dirty rates (5.2 and 7.2). */
  readonly dirtyrate: boolean;
}

const PLAIN: Shape = {
  kvm: true,
  queryStats: true,
  vcpus: 2,
  disks: ["file"],
  iothreads: 0,
  nics: 1,
  balloon: true,
  debugfs: false,
  dirtyrate: true,
};

const numbered = (count: number, prefix: string, keys: readonly string[]) =>
  Array.from({ length: count }, (_, index) => keys.map((key) => `${prefix}.${index}.${key}`)).flat();

/** The keys of each group as libvirt 9.0 with QEMU 7.2 was seen to send them: those without the job, those with it. */
const KEYS: Readonly<Record<string, (shape: Shape) => { free: string[]; job: string[] }>> = {
  state: () => ({ free: ["state.state", "state.reason"], job: [] }),
  "cpu-total": ({ queryStats, debugfs }) => {
    const times = ["cpu.haltpoll.success.time", "cpu.haltpoll.fail.time"];
    return {
      free: ["cpu.time", "cpu.user", "cpu.system", "cpu.cache.monitor.count", ...(debugfs ? times : [])],
      // QEMU counts zero for an emulated guest.
      job: queryStats && !debugfs ? times : [],
    };
  },
  balloon: ({ balloon }) => ({
    free: ["balloon.current", "balloon.maximum"],
    job: balloon ? ["balloon.last-update", "balloon.rss"] : ["balloon.rss"],
  }),
  vcpu: ({ vcpus, kvm, queryStats }) => ({
    free: ["vcpu.current", "vcpu.maximum", ...numbered(vcpus, "vcpu", ["state", "time", "wait", "delay"])],
    job: kvm && queryStats ? numbered(vcpus, "vcpu", ["guest_mode.cur", "halt_exits.sum", "preemption_other.max"]) : [],
  }),
  interface: ({ nics }) => ({
    free: ["net.count", ...numbered(nics, "net", ["name", "rx.bytes", "rx.pkts", "tx.bytes", "tx.pkts"])],
    job: [],
  }),
  block: ({ disks }) => ({
    free: [
      "block.count",
      ...disks.flatMap((disk, index) => {
        const path = disk === "file" ? ["path"] : [];
        const backing = disk === "file" || disk === "network" ? ["backingIndex"] : [];
        return ["name", ...path, ...backing].map((key) => `block.${index}.${key}`);
      }),
    ],
    job: disks.flatMap((disk, index) => {
      const counters = disk === "vhost-user" ? [] : ["rd.reqs", "rd.bytes", "wr.reqs", "wr.bytes", "fl.reqs"];
      const sizes = disk === "file" || disk === "network" ? ["allocation", "capacity", "physical"] : [];
      return [...counters, ...sizes].map((key) => `block.${index}.${key}`);
    }),
  }),
  iothread: ({ iothreads }) => ({
    free: [],
    job: iothreads > 0 ? ["iothread.count", ...numbered(iothreads, "iothread", ["poll-max-ns", "poll-grow"])] : [],
  }),
  dirtyrate: ({ dirtyrate }) => ({
    free: [],
    job: dirtyrate ? ["dirtyrate.calc_status", "dirtyrate.calc_start_time", "dirtyrate.calc_mode"] : [],
  }),
  vm: ({ kvm, queryStats }) => ({
    free: [],
    job: kvm && queryStats ? ["vm.pages_4k.cur", "vm.remote_tlb_flush.sum"] : [],
  }),
};

/** An answer of a running guest; the groups of `without` lack what needs the job. */
function answer(shape: Shape, groups: readonly Group[], without: readonly Group[] = []): TypedParams {
  const keys = (groups.length === 0 ? GROUPS : groups).flatMap((group) => {
    const { free, job } = KEYS[group]?.(shape) ?? { free: [], job: [] };
    return without.includes(group) ? free : [...free, ...job];
  });
  return TypedParams.from(keys.map((key) => [key, "ullong", 1n] as const));
}

const jobless = (shape: Shape, groups: readonly Group[]) => answer(shape, groups, GROUPS);
/** The groups of a shape that have something to lose. */
const losable = (shape: Shape) => GROUPS.filter((group) => (KEYS[group]?.(shape).job.length ?? 0) > 0);

/**
 * Whether a group's silence is evidence, after the guest was seen complete. Iothreads may have gone, a disk without a
 * path may have become one that never tells, and halt polling times may be the host's, unless QEMU tells others too.
 */
function tells(group: Group, { disks, kvm }: Shape): boolean {
  if (group === "block") return disks.includes("file");
  return group === "cpu-total" ? kvm : group !== "iothread";
}

const MODERN = 9_000_000;
const UUID = "6d7f0e2c-9f4e-4d4e-8a5c-0c4e0a3f7b11";
const NEEDING: readonly Group[] = ["cpu-total", "balloon", "vcpu", "block", "iothread", "dirtyrate", "vm"];

function observe(completeness: Completeness, groups: readonly Group[], params: TypedParams, id = 7, uuid = UUID) {
  return completeness.missing({ uuid, id }, groupMask(groups), params);
}

const shapes: fc.Arbitrary<Shape> = fc.record({
  kvm: fc.boolean(),
  queryStats: fc.boolean(),
  vcpus: fc.integer({ min: 1, max: 3 }),
  disks: fc.array(fc.constantFrom<Disk>("file", "network", "empty", "vhost-user"), { maxLength: 3 }),
  iothreads: fc.integer({ min: 0, max: 2 }),
  nics: fc.integer({ min: 0, max: 1 }),
  balloon: fc.boolean(),
  debugfs: fc.boolean(),
  dirtyrate: fc.boolean(),
});
const masks: fc.Arbitrary<readonly Group[]> = fc.subarray([...GROUPS]);

describe("Completeness, of answers that had the job", () => {
  it("never misses anything, whatever the guest, what was asked before, and how often the job was not had", () => {
    fc.assert(
      fc.property(
        shapes,
        fc.array(fc.record({ groups: masks, job: fc.boolean(), iothreads: fc.nat(2), disks: fc.nat(3) })),
        fc.constantFrom(MODERN, 1_002_009),
        (shape, asks, version) => {
          const completeness = new Completeness(version);
          for (const { groups, job, iothreads, disks } of asks) {
            // Iothreads and disks come and go while a guest runs.
            const now = { ...shape, iothreads, disks: shape.disks.slice(0, disks) };
            const params = job ? answer(now, groups) : jobless(now, groups);
            const missing = observe(completeness, groups, params);
            if (job) expect(missing).toEqual([]);
          }
        },
      ),
    );
  });

  it("lets iothreads go: a guest that has none any more is complete", () => {
    const completeness = new Completeness(MODERN);
    const had = { ...PLAIN, iothreads: 1 };
    expect(observe(completeness, [], answer(had, []))).toEqual([]);
    expect(observe(completeness, ["iothread"], answer(PLAIN, ["iothread"]))).toEqual([]);
    expect(observe(completeness, [], answer(PLAIN, []))).toEqual([]);
  });

  it("lets halt polling times go that come from the host's debugfs: it can be unmounted", () => {
    const completeness = new Completeness(MODERN);
    const old = { ...PLAIN, queryStats: false, debugfs: true };
    expect(observe(completeness, [], answer(old, []))).toEqual([]);
    const unmounted = answer({ ...old, debugfs: false }, ["cpu-total"]);
    expect(observe(completeness, ["cpu-total"], unmounted)).toEqual([]);
  });

  it("does not hold a libvirt from before 4.5 to a resident set size that it may not have", () => {
    const completeness = new Completeness(1_003_001);
    const params = answer(PLAIN, ["balloon"], ["balloon"]);
    expect(observe(completeness, ["balloon"], params)).toEqual([]);
    expect(observe(completeness, ["state", "balloon"], params)).toEqual([]);
    expect(observe(new Completeness(MODERN), ["balloon"], params)).toEqual(["balloon"]);
  });

  it("does not hold a domain that is off to anything", () => {
    const keys = ["state.state", "cpu.time", "balloon.current", "balloon.maximum", "block.count", "block.0.path"];
    const params = TypedParams.from(keys.map((key) => [key, "ullong", 1n] as const));
    expect(observe(new Completeness(MODERN), [], params, -1)).toEqual([]);
  });
});

describe("Completeness, of answers that did not have the job", () => {
  it("misses every group that needs the monitor, of a guest that was never seen before", () => {
    expect(observe(new Completeness(MODERN), [], jobless(PLAIN, []))).toEqual(NEEDING);
    const emulated = { ...PLAIN, kvm: false, disks: [], balloon: false };
    expect(observe(new Completeness(MODERN), [], jobless(emulated, []))).toEqual(NEEDING);
  });

  it("misses nothing that was not asked for", () => {
    const asked: Group[] = ["state", "balloon", "vcpu", "interface"];
    expect(observe(new Completeness(MODERN), asked, jobless(PLAIN, asked))).toEqual(["balloon", "vcpu"]);
  });

  it("misses nothing where only groups without the monitor were asked for", () => {
    const asked: Group[] = ["state", "interface", "perf", "memory"];
    expect(observe(new Completeness(MODERN), asked, jobless(PLAIN, asked))).toEqual([]);
  });

  it("says nothing where nothing can be known: vcpu alone, of a guest never seen complete", () => {
    for (const group of ["vcpu", "cpu-total", "iothread", "dirtyrate", "vm"] as const) {
      expect(observe(new Completeness(MODERN), [group], jobless(PLAIN, [group])), group).toEqual([]);
    }
  });

  it("says nothing of disks that never report: vhost-user disks, and what cannot be distinguished from them", () => {
    for (const disks of [[], ["vhost-user"], ["empty"], ["network"]] satisfies Disk[][]) {
      const shape = { ...PLAIN, disks };
      expect(observe(new Completeness(MODERN), ["block"], jobless(shape, ["block"])), disks.join()).toEqual([]);
    }
    const mixed = { ...PLAIN, disks: ["vhost-user", "empty", "file"] as const };
    expect(observe(new Completeness(MODERN), ["block"], jobless(mixed, ["block"]))).toEqual(["block"]);
  });

  it("misses exactly what the guest has, once it was seen complete", () => {
    fc.assert(
      fc.property(shapes, masks, (shape, groups) => {
        const completeness = new Completeness(MODERN);
        expect(observe(completeness, [], answer(shape, []))).toEqual([]);
        const missing = observe(completeness, groups, jobless(shape, groups));
        const lost = losable(shape).filter((group) => groups.length === 0 || groups.includes(group));
        const telling = lost.filter((group) => tells(group, shape));
        expect(missing).toEqual(telling.length > 0 ? lost : []);
        expect(observe(completeness, groups, answer(shape, groups))).toEqual([]);
      }),
    );
  });

  it("does not miss halt polling times that come from the host's debugfs", () => {
    const shape = { ...PLAIN, debugfs: true };
    expect(observe(new Completeness(MODERN), [], jobless(shape, []))).toEqual(
      NEEDING.filter((group) => group !== "cpu-total"),
    );
  });

  it("does not take a vCPU's halted state for a sign: libvirt remembers it", () => {
    const completeness = new Completeness(MODERN);
    const keys = ["balloon.current", "balloon.maximum", "vcpu.0.state", "vcpu.0.halted", "vcpu.0.delay"];
    const params = TypedParams.from(keys.map((key) => [key, "ullong", 1n] as const));
    expect(observe(completeness, ["balloon", "vcpu"], params)).toEqual(["balloon", "vcpu"]);
  });

  it("does not learn from them", () => {
    const completeness = new Completeness(MODERN);
    expect(observe(completeness, [], jobless(PLAIN, []))).toEqual(NEEDING);
    expect(observe(completeness, [], jobless(PLAIN, []))).toEqual(NEEDING);
    expect(observe(completeness, ["vm"], answer(PLAIN, ["vm"]))).toEqual([]);
    expect(observe(completeness, [], jobless(PLAIN, []))).toEqual(NEEDING);
  });
});

describe("Completeness, of answers that lost a part", () => {
  it("notices when one group of an answer lacks what this guest brought before, as when it dies in the middle", () => {
    fc.assert(
      fc.property(shapes, fc.constantFrom(...GROUPS), (shape, group) => {
        fc.pre(losable(shape).includes(group) && tells(group, shape));
        const completeness = new Completeness(MODERN);
        expect(observe(completeness, [], answer(shape, []))).toEqual([]);
        expect(observe(completeness, [], answer(shape, [], [group]))).toEqual([group]);
        expect(observe(completeness, [], answer(shape, []))).toEqual([]);
      }),
    );
  });

  it("takes the word of the other groups for a guest it has not seen before", () => {
    expect(observe(new Completeness(MODERN), [], answer(PLAIN, [], ["vm"]))).toEqual([]);
    expect(observe(new Completeness(MODERN), [], answer(PLAIN, [], ["balloon"]))).toEqual([]);
  });
});

describe("Completeness, of many guests", () => {
  it("learns a guest again that was started again", () => {
    const completeness = new Completeness(MODERN);
    expect(observe(completeness, [], answer(PLAIN, []), 7)).toEqual([]);
    const emulated = { ...PLAIN, kvm: false };
    expect(observe(completeness, ["vcpu"], answer(emulated, ["vcpu"]), 8)).toEqual([]);
    expect(observe(completeness, [], answer(emulated, []), 8)).toEqual([]);
    const lost = ["cpu-total", "balloon", "block", "dirtyrate"];
    expect(observe(completeness, [], jobless(emulated, []), 8)).toEqual(lost);
  });

  it("tells guests apart", () => {
    const completeness = new Completeness(MODERN);
    expect(observe(completeness, ["vcpu"], answer(PLAIN, ["vcpu"]))).toEqual([]);
    const emulated = answer({ ...PLAIN, kvm: false }, ["vcpu"]);
    expect(observe(completeness, ["vcpu"], emulated, 7, UUID.replace("6", "5"))).toEqual([]);
    expect(observe(completeness, ["vcpu"], emulated)).toEqual(["vcpu"]);
  });

  it("keeps in mind as many guests as a daemon can list, and forgets those that it has not seen for long", () => {
    const completeness = new Completeness(MODERN);
    const [whole, bare] = [answer(PLAIN, ["vcpu"]), jobless(PLAIN, ["vcpu"])];
    const uuid = (index: number) => `00000000-0000-4000-8000-${String(index).padStart(12, "0")}`;
    const see = (from: number, to: number) => {
      for (let index = from; index < to; index++) observe(completeness, ["vcpu"], whole, 7, uuid(index));
    };
    see(0, 16_384);
    expect(observe(completeness, ["vcpu"], bare, 7, uuid(0))).toEqual(["vcpu"]);
    see(16_384, 20_000);
    // Asked again, so kept; the one beside it is not.
    expect(observe(completeness, ["vcpu"], bare, 7, uuid(0))).toEqual(["vcpu"]);
    see(20_000, 36_000);
    expect(observe(completeness, ["vcpu"], bare, 7, uuid(0))).toEqual(["vcpu"]);
    expect(observe(completeness, ["vcpu"], bare, 7, uuid(1))).toEqual([]);
  });

  it("names groups in the order of their bits", () => {
    const missing = observe(new Completeness(MODERN), [], jobless(PLAIN, []));
    expect(missing).toEqual(groupNames(groupMask(missing)));
  });
});
