import type { KnownGroup } from "../../model/group.ts";
import { ParamType } from "../../model/schema.ts";
import { decimal, mix } from "./population.ts";
import type { Row } from "./row.ts";

/** A guest at one moment: everything from which the values of its statistics are computed. */
export interface Guest {
  readonly name: string;
  /** The guest's own 32 random bits, from which its rates are drawn. */
  readonly draw: number;
  readonly state: number;
  readonly reason: number;
  /** True if the guest is running or paused, so that it has a QEMU process. */
  readonly active: boolean;
  readonly vcpus: number;
  readonly disks: number;
  readonly nics: number;
  /** The number of the guest's first network interface. No two interfaces of a host have the same number. */
  readonly firstNic: number;
  /** True if each image of a backing chain is listed. */
  readonly backing: boolean;
  /** True if the guest has the parameters that only some real guests have. */
  readonly extras: boolean;
  /** The time for which the guest's gauges are computed, in ms since 1970. */
  readonly wallMs: number;
  /** The guest's uptime in seconds, plus a slow wave so that rates rise and fall. Never falls while time passes. */
  readonly work: number;
}

const { int, uint, llong, boolean } = ParamType;

/** The guests' memory statistics are refreshed this often, in ms, as with `<stats period='10'/>`. */
const BALLOON_PERIOD_MS = 10_000;
const KIB_PER_GIB = 1_048_576;
const GIB = 1_073_741_824;

/**
 * The rates or sizes from which guests draw: 256 values from `low` to `high`. Each value has the same ratio to the
 * value before it.
 */
function spread(low: number, high: number): Float64Array {
  return Float64Array.from({ length: 256 }, (_, i) => low * (high / low) ** (i / 255));
}

const LOAD = spread(0.004, 0.6); // the share of its time that a vCPU is busy
const NET_BYTES = spread(200, 2_000_000); // per second
const READS = spread(0.1, 60); // per second
const WRITES = spread(0.4, 120); // per second
const REQUEST_NS = spread(60_000, 4_000_000);
const PACKET_BYTES = [90, 140, 260, 420, 640, 900, 1180, 1420];
const REQUEST_BYTES = [4096, 8192, 12_288, 16_384, 24_576, 32_768, 65_536, 131_072];
const CAPACITY = [10, 20, 20, 40, 40, 80, 100, 500].map((gib) => gib * GIB);
/** The sizes of memory from which guests draw. */
export const MEMORY_KIB = [1, 2, 2, 4, 4, 8, 16, 32].map((gib) => gib * KIB_PER_GIB);
/**
 * Some devices work in bursts. Each device draws the seconds between its bursts from FIRST_BURST if it is the guest's
 * first disk or interface, otherwise from OTHER_BURST; 0: the device is always busy. READ_BURST is for a disk's reads.
 */
const FIRST_BURST = [0, 0, 0, 0, 0, 0, 10, 30];
const READ_BURST = [0, 0, 0, 0, 2, 5, 10, 30];
const OTHER_BURST = [0, 0, 0, 0, 0, 5, 20, 60];

/** The names of disks in the guest (targets): vda … vdz, vdaa … */
const TARGETS = Array.from({ length: 256 }, (_, i) => {
  const letter = (n: number) => String.fromCharCode(97 + n);
  return i < 26 ? `vd${letter(i)}` : `vd${letter(Math.floor(i / 26) - 1)}${letter(i % 26)}`;
});
const IMAGE_ENDS = TARGETS.map((target) => `-${target}.qcow2`);
const IMAGES = "/var/lib/libvirt/images/";

/** The target of a guest's disk, by the number of the disk, which begins at 0. */
export function diskTarget(disk: number): string {
  return TARGETS[disk]!;
}

/** The path of a disk's image. */
export function diskImage(guest: string, disk: number): string {
  return IMAGES + guest + IMAGE_ENDS[disk]!;
}

/** The name of a network interface, by its number (see `Guest.firstNic`). */
export function interfaceName(nic: number): string {
  return `vnet${decimal(nic)}`;
}

const BASE_IMAGES = ["debian-12", "fedora-42", "ubuntu-24.04", "alpine-3.22"].map((os) => `${IMAGES}base/${os}.qcow2`);

/**
 * Writes the parameters of each group, in the order and types of libvirt's QEMU driver. Every counter is a rate times
 * the guest's `work`, and the rate is drawn from the guest's random bits. So each value can be computed from (seed,
 * host, index, time), and no guest needs memory for it.
 */
export const METERS: Readonly<Record<KnownGroup, (row: Row, guest: Guest) => void>> = {
  state(row, { state, reason }) {
    row.of("state");
    row.number("state", state, int);
    row.number("reason", reason, int);
  },

  "cpu-total"(row, { draw, active, vcpus, work }) {
    row.of("cpu");
    // A little more than the sum of the vCPUs' times, because QEMU's own threads use CPU time, too.
    const time = active ? work * vcpus * LOAD[draw >>> 24]! * 1.05e9 : 0;
    total(row, "time", time);
    total(row, "user", time * (0.5 + (draw & 255) / 1024));
    total(row, "system", time * 0.2);
    if (!active) return;
    total(row, "haltpoll.success.time", time * 0.011);
    total(row, "haltpoll.fail.time", time * 0.004);
  },

  balloon(row, guest) {
    row.of("balloon");
    const draw = mix(guest.draw, 1);
    const maximum = MEMORY_KIB[draw & 7]!;
    const current = (draw & 0x38) === 0 ? maximum * 0.75 : maximum;
    row.number("current", current);
    row.number("maximum", maximum);
    if (!guest.active) return;
    const refresh = Math.floor(guest.wallMs / BALLOON_PERIOD_MS);
    const noise = mix(draw, refresh & 0xffff) & 1023;
    const available = current - Math.floor(current / 32);
    const used = 0.3 + ((draw >>> 8) & 255) / 512 + noise / 32_768;
    const usable = Math.floor(available * (1 - used));
    const unused = Math.floor(usable * (0.2 + ((draw >>> 16) & 255) / 512));
    const work = inBursts(guest.work, 10);
    const swapped = (draw & 0x1c0) === 0 ? work : 0;
    row.number("swap_in", Math.floor(swapped * 1.5));
    row.number("swap_out", Math.floor(swapped * 2.25));
    row.number("major_fault", Math.floor(work * 0.02));
    row.number("minor_fault", Math.floor(work * (50 + (draw >>> 24))));
    row.number("unused", unused);
    row.number("available", available);
    row.number("usable", usable);
    row.number("last-update", refresh * (BALLOON_PERIOD_MS / 1000));
    row.number("disk_caches", Math.floor((usable - unused) * 0.9));
    row.number("hugetlb_pgalloc", 0);
    row.number("hugetlb_pgfail", 0);
    row.number("rss", Math.floor(current * (0.6 + ((draw >>> 12) & 255) / 640)) + 61_440 + noise * 4);
  },

  vcpu(row, { draw, active, vcpus, extras, work }) {
    row.of("vcpu");
    row.number("current", vcpus, uint);
    row.number("maximum", vcpus, uint);
    if (!active) return;
    const busy = work * LOAD[draw >>> 24]! * 1e9;
    for (let i = 0; i < vcpus; i++) {
      const time = busy * (1 - (((draw >>> (i & 15)) + i) & 15) / 80);
      row.of("vcpu", i);
      row.number("state", 1, int);
      row.number("time", Math.floor(time));
      row.number("wait", Math.floor(time * 0.031));
      row.number("delay", Math.floor(time * 0.0305));
      if (!extras) continue;
      const exits = Math.floor(time / 90_000);
      row.number("exits.sum", exits);
      row.number("halt_exits.sum", Math.floor(exits * 0.4));
      row.number("io_exits.sum", Math.floor(exits * 0.08));
      row.number("mmio_exits.sum", Math.floor(exits * 0.01));
      row.number("irq_injections.sum", Math.floor(exits * 0.2));
      row.number("guest_mode.cur", exits % 2, boolean);
    }
  },

  interface(row, guest) {
    if (!guest.active) return;
    row.of("net");
    row.number("count", guest.nics, uint);
    for (let i = 0; i < guest.nics; i++) {
      const draw = mix(guest.draw, 0x1000 + i);
      const work = inBursts(guest.work, (i === 0 ? FIRST_BURST : OTHER_BURST)[draw & 7]!);
      const receivedBytes = PACKET_BYTES[(draw >>> 3) & 7]!;
      const sentBytes = PACKET_BYTES[(draw >>> 6) & 7]!;
      const received = Math.floor((work * NET_BYTES[draw >>> 24]!) / receivedBytes);
      const sent = Math.floor((work * NET_BYTES[(draw >>> 16) & 255]!) / sentBytes);
      row.of("net", i);
      row.text("name", interfaceName(guest.firstNic + i));
      row.number("rx.bytes", received * receivedBytes);
      row.number("rx.pkts", received);
      row.number("rx.errs", 0);
      row.number("rx.drop", (draw & 0xe00) === 0 ? Math.floor(received / 20_000) : 0);
      row.number("tx.bytes", sent * sentBytes);
      row.number("tx.pkts", sent);
      row.number("tx.errs", 0);
      row.number("tx.drop", 0);
    }
  },

  block(row, guest) {
    const { active, disks } = guest;
    const chain = guest.backing && active ? 2 : 1;
    row.of("block");
    row.number("count", disks * chain, uint);
    for (let disk = 0; disk < disks; disk++) {
      const draw = mix(guest.draw, 0x2000 + disk);
      const capacity = CAPACITY[draw & 7]!;
      // The allocation is a multiple of 64 KiB, the size of a qcow2 cluster.
      const allocation = Math.floor((capacity / 65_536) * (0.05 + ((draw >>> 3) & 255) / 300)) * 65_536;
      row.of("block", disk * chain);
      row.text("name", TARGETS[disk]!);
      row.text("path", diskImage(guest.name, disk));
      if (active) {
        row.number("backingIndex", disk * chain + 1, uint);
        requests(row, guest.work, disk, draw);
      }
      row.number("allocation", allocation);
      row.number("capacity", capacity);
      row.number("physical", allocation + 327_680);
      if (chain === 1) continue;
      // A backing image has sizes, but no counters of requests.
      row.of("block", disk * chain + 1);
      row.text("name", TARGETS[disk]!);
      row.text("path", BASE_IMAGES[draw & 3]!);
      row.number("backingIndex", disk * chain + 2, uint);
      row.number("allocation", 0);
      row.number("capacity", capacity);
      row.number("physical", 2_361_393_152);
    }
  },

  perf(row, { draw, active, extras, work }) {
    if (!active || !extras) return;
    row.of("perf");
    const cycles = work * LOAD[draw >>> 24]! * 2.4e9;
    total(row, "cache_misses", cycles * 0.0008);
    total(row, "cache_references", cycles * 0.011);
    total(row, "instructions", cycles * 1.3);
    total(row, "cpu_cycles", cycles);
  },

  iothread(row, { active, extras }) {
    if (!active || !extras) return;
    row.of("iothread");
    row.number("count", 2, uint);
    for (const id of [1, 2]) {
      row.of("iothread", id);
      row.number("poll-max-ns", 32_768);
      row.number("poll-grow", 0, uint);
      row.number("poll-shrink", 0, uint);
    }
  },

  memory(row, { draw, active, extras, vcpus, work }) {
    if (!active || !extras) return;
    row.of("memory.bandwidth.monitor");
    row.number("count", 2, uint);
    for (const i of [0, 1]) {
      const bytes = work * LOAD[draw >>> 24]! * (1.5e8 / (i + 1));
      row.of("memory.bandwidth.monitor", i);
      row.text("name", `bandwidth${i}`);
      row.text("vcpus", vcpus === 1 ? "0" : `0-${vcpus - 1}`);
      row.number("node.count", 2, uint);
      for (const node of [0, 1]) {
        row.number(`node.${node}.id`, node, uint);
        total(row, `node.${node}.bytes.local`, (bytes / (node + 1)) * 0.8);
        total(row, `node.${node}.bytes.total`, bytes / (node + 1));
      }
    }
  },

  /**
   * Shows the dirty rate as never measured, or, with `extras`, as measured for one second at the beginning of each
   * minute.
   */
  dirtyrate(row, { draw, active, extras, wallMs }) {
    if (!active) return;
    const minute = Math.floor(wallMs / 60_000);
    row.of("dirtyrate");
    row.number("calc_status", extras ? 2 : 0, int);
    row.number("calc_start_time", extras ? minute * 60 : 0, llong);
    row.number("calc_period", extras ? 1 : 0, int);
    row.text("calc_mode", "page-sampling");
    if (extras) row.number("megabytes_per_second", mix(draw, minute) & 255, llong);
  },

  vm(row, guest) {
    if (!guest.active || !guest.extras) return;
    const draw = mix(guest.draw, 2);
    row.of("vm");
    row.number("remote_tlb_flush.sum", Math.floor(guest.work * (2 + (draw & 63))));
    row.number("mmu_cache_miss.sum", Math.floor(guest.work * 0.1));
    row.number("pages_4k.cur", 20_000 + (draw & 0xffff));
    row.number("pages_2m.cur", 200 + ((draw >>> 16) & 1023));
    row.number("pages_1g.cur", 0);
    row.number("max_mmu_page_hash_collisions.max", draw & 7);
  },
};

function requests(row: Row, guestWork: number, disk: number, draw: number): void {
  const work = inBursts(guestWork, (disk === 0 ? FIRST_BURST : OTHER_BURST)[(draw >>> 11) & 7]!);
  const reads = Math.floor(inBursts(work, READ_BURST[(draw >>> 14) & 7]!) * READS[draw >>> 24]!);
  const writes = Math.floor(work * WRITES[(draw >>> 16) & 255]!);
  const flushes = Math.floor(writes * 0.07);
  row.number("rd.reqs", reads);
  row.number("rd.bytes", reads * REQUEST_BYTES[(draw >>> 5) & 7]!);
  row.number("rd.times", Math.floor(reads * REQUEST_NS[(draw >>> 8) & 255]!));
  row.number("wr.reqs", writes);
  row.number("wr.bytes", writes * REQUEST_BYTES[(draw >>> 20) & 7]!);
  row.number("wr.times", Math.floor(writes * REQUEST_NS[(draw >>> 12) & 255]!));
  row.number("fl.reqs", flushes);
  row.number("fl.times", flushes * 1_800_000);
}

/** Changes steady work into work that is done in one burst every `seconds` seconds. With 0, changes nothing. */
function inBursts(work: number, seconds: number): number {
  return seconds === 0 ? work : Math.floor(work / seconds) * seconds;
}

/** Writes a counter that may exceed 2^53, as the sum of many vCPUs may. */
function total(row: Row, name: string, value: number): void {
  const floor = Math.floor(value);
  if (floor <= Number.MAX_SAFE_INTEGER) row.number(name, floor);
  else row.big(name, BigInt(floor), ParamType.ullong);
}
