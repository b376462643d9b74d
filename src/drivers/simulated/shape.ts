import { groupBit } from "../../model/group.ts";
import { ParamType, Schema } from "../../model/params.ts";
import type { SimulatedOptions } from "./parameters.ts";

/** What a guest is made of, as far as it decides on the keys of its record. */
export interface Shape {
  readonly vcpus: number;
  readonly disks: number;
  readonly nics: number;
  /** Running or paused: it has a QEMU process to ask. */
  readonly active: boolean;
}

/** The bits of the groups, as constants for the path that every record takes. */
export const Bit = {
  state: groupBit("state"),
  cpuTotal: groupBit("cpu-total"),
  balloon: groupBit("balloon"),
  vcpu: groupBit("vcpu"),
  interface: groupBit("interface"),
  block: groupBit("block"),
  perf: groupBit("perf"),
  iothread: groupBit("iothread"),
  memory: groupBit("memory"),
  dirtyrate: groupBit("dirtyrate"),
  vm: groupBit("vm"),
} as const;

/** The perf events that `perf=1` turns on, in libvirt's order. */
export const PERF_EVENTS = ["cache_misses", "cache_references", "instructions", "cpu_cycles"] as const;

/** What KVM counts per vCPU with `kvm=1`; a `.cur` is boolean, a `.sum` ullong. */
export const VCPU_COUNTS = [
  "exits.sum",
  "halt_exits.sum",
  "io_exits.sum",
  "mmio_exits.sum",
  "irq_injections.sum",
  "guest_mode.cur",
] as const;

/** What KVM counts per guest with `kvm=1`, all ullong. */
export const VM_COUNTS = [
  "remote_tlb_flush.sum",
  "mmu_cache_miss.sum",
  "pages_4k.cur",
  "pages_2m.cur",
  "pages_1g.cur",
  "max_mmu_page_hash_collisions.max",
] as const;

/** How many memory controllers each bandwidth monitor reports. */
export const MEMORY_NODES = 2;

const BALLOON_GUEST_FIELDS = [
  "swap_in",
  "swap_out",
  "major_fault",
  "minor_fault",
  "unused",
  "available",
  "usable",
  "last-update",
  "disk_caches",
  "hugetlb_pgalloc",
  "hugetlb_pgfail",
  "rss",
] as const;

/** Schemas of so many keys together are kept, and so many extended ones; beyond, their table starts afresh. */
const MOST_KEYS = 500_000;
const MOST_EXTENDED = 16;

/**
 * The schemas of one choice of groups: records of one shape share a schema by identity. The order of the keys is the
 * order in which libvirt's QEMU driver sends them.
 */
export class Layout {
  /** The groups, a bit mask of known ones; unlike in a query, 0 is none. */
  readonly groups: number;
  /** Whether each image of a backing chain is listed. */
  readonly backing: boolean;
  readonly #options: SimulatedOptions;
  readonly #schemas = new Map<number, Schema>();
  #keysKept = 0;
  readonly #extended = new Map<string, Schema>();

  constructor(options: SimulatedOptions, groups: number, backing: boolean) {
    this.#options = options;
    this.groups = groups;
    this.backing = backing;
  }

  /** The schema of a shape. */
  schema(shape: Shape): Schema {
    const key = ((shape.vcpus * 257 + shape.disks) * 65 + shape.nics) * 2 + (shape.active ? 1 : 0);
    let schema = this.#schemas.get(key);
    if (schema === undefined) {
      schema = schemaOf(this.#keys(shape));
      this.#keysKept += schema.keys.length;
      if (this.#keysKept > MOST_KEYS) {
        this.#schemas.clear();
        this.#keysKept = schema.keys.length;
      }
      this.#schemas.set(key, schema);
    }
    return schema;
  }

  /**
   * A shape's schema with further keys at its end.
   *
   * @param name tells extensions of the same shape apart
   * @param further makes the keys, called when they are not known yet
   */
  extended(shape: Shape, name: string, further: () => Keys): Schema {
    const own = this.schema(shape);
    const key = `${name} ${shape.vcpus} ${shape.disks} ${shape.nics} ${shape.active}`;
    let schema = this.#extended.get(key);
    if (schema === undefined) {
      // These can be of 200,000 keys: a few are kept, for the sweeps that follow.
      if (this.#extended.size >= MOST_EXTENDED) this.#extended.clear();
      const keys = own.keys.map((key, i): Key => [key, own.types[i]!]);
      schema = schemaOf([...keys, ...further()]);
      this.#extended.set(key, schema);
    }
    return schema;
  }

  #keys(shape: Shape): Keys {
    const { groups } = this;
    const { iothreads, perf, kvm, bandwidth, dirtyrate } = this.#options;
    const keys: Keys = [];
    if (groups & Bit.state) keys.push(["state.state", int], ["state.reason", int]);
    if (groups & Bit.cpuTotal) keys.push(...cpuTotalKeys(shape));
    if (groups & Bit.balloon) keys.push(...balloonKeys(shape));
    if (groups & Bit.vcpu) keys.push(...vcpuKeys(shape, kvm));
    if (groups & Bit.interface && shape.active) keys.push(...interfaceKeys(shape));
    if (groups & Bit.block) keys.push(...blockKeys(shape, this.backing));
    if (!shape.active) return keys;
    if (groups & Bit.perf && perf) keys.push(...PERF_EVENTS.map((event): Key => [`perf.${event}`, ullong]));
    if (groups & Bit.iothread && iothreads > 0) keys.push(...iothreadKeys(iothreads));
    if (groups & Bit.memory && bandwidth > 0) keys.push(...memoryKeys(bandwidth));
    if (groups & Bit.dirtyrate) keys.push(...dirtyrateKeys(dirtyrate));
    if (groups & Bit.vm && kvm) keys.push(...VM_COUNTS.map((name): Key => [`vm.${name}`, ullong]));
    return keys;
  }
}

/** A key with its type's code. */
export type Key = readonly [key: string, type: number];
/** Keys in the order of a record. */
export type Keys = Key[];

const { int, uint, llong, ullong, boolean, string } = ParamType;

function schemaOf(keys: Keys): Schema {
  return new Schema(
    keys.map(([key]) => key),
    Uint8Array.from(keys, ([, type]) => type),
  );
}

function cpuTotalKeys(shape: Shape): Keys {
  const names = ["time", "user", "system"];
  if (shape.active) names.push("haltpoll.success.time", "haltpoll.fail.time");
  return names.map((name) => [`cpu.${name}`, ullong]);
}

function balloonKeys(shape: Shape): Keys {
  const names = ["current", "maximum", ...(shape.active ? BALLOON_GUEST_FIELDS : [])];
  return names.map((name) => [`balloon.${name}`, ullong]);
}

function vcpuKeys(shape: Shape, kvm: boolean): Keys {
  const keys: Keys = [
    ["vcpu.current", uint],
    ["vcpu.maximum", uint],
  ];
  if (!shape.active) return keys;
  for (let i = 0; i < shape.vcpus; i++) {
    keys.push([`vcpu.${i}.state`, int]);
    for (const name of ["time", "wait", "delay"]) keys.push([`vcpu.${i}.${name}`, ullong]);
    if (kvm) for (const name of VCPU_COUNTS) keys.push([`vcpu.${i}.${name}`, name.endsWith(".cur") ? boolean : ullong]);
  }
  return keys;
}

function interfaceKeys(shape: Shape): Keys {
  const keys: Keys = [["net.count", uint]];
  for (let i = 0; i < shape.nics; i++) {
    keys.push([`net.${i}.name`, string]);
    for (const way of ["rx", "tx"]) {
      for (const name of ["bytes", "pkts", "errs", "drop"]) keys.push([`net.${i}.${way}.${name}`, ullong]);
    }
  }
  return keys;
}

/** Request counters stand at a disk's top image only; a disk of a guest that is shut off has just its sizes. */
function blockKeys(shape: Shape, backing: boolean): Keys {
  const keys: Keys = [["block.count", uint]];
  const chain = backing && shape.active ? 2 : 1;
  for (let i = 0; i < shape.disks * chain; i++) {
    keys.push([`block.${i}.name`, string], [`block.${i}.path`, string]);
    if (shape.active) keys.push([`block.${i}.backingIndex`, uint]);
    if (shape.active && i % chain === 0) {
      for (const way of ["rd", "wr"]) {
        for (const name of ["reqs", "bytes", "times"]) keys.push([`block.${i}.${way}.${name}`, ullong]);
      }
      keys.push([`block.${i}.fl.reqs`, ullong], [`block.${i}.fl.times`, ullong]);
    }
    for (const name of ["allocation", "capacity", "physical"]) keys.push([`block.${i}.${name}`, ullong]);
  }
  return keys;
}

function iothreadKeys(iothreads: number): Keys {
  const keys: Keys = [["iothread.count", uint]];
  for (let id = 1; id <= iothreads; id++) {
    keys.push([`iothread.${id}.poll-max-ns`, ullong], [`iothread.${id}.poll-grow`, uint]);
    keys.push([`iothread.${id}.poll-shrink`, uint]);
  }
  return keys;
}

function memoryKeys(monitors: number): Keys {
  const keys: Keys = [["memory.bandwidth.monitor.count", uint]];
  for (let i = 0; i < monitors; i++) {
    const monitor = `memory.bandwidth.monitor.${i}`;
    keys.push([`${monitor}.name`, string], [`${monitor}.vcpus`, string], [`${monitor}.node.count`, uint]);
    for (let node = 0; node < MEMORY_NODES; node++) {
      keys.push([`${monitor}.node.${node}.id`, uint]);
      for (const name of ["local", "total"]) keys.push([`${monitor}.node.${node}.bytes.${name}`, ullong]);
    }
  }
  return keys;
}

function dirtyrateKeys(measured: boolean): Keys {
  const keys: Keys = [
    ["dirtyrate.calc_status", int],
    ["dirtyrate.calc_start_time", llong],
    ["dirtyrate.calc_period", int],
    ["dirtyrate.calc_mode", string],
  ];
  if (measured) keys.push(["dirtyrate.megabytes_per_second", llong]);
  return keys;
}
