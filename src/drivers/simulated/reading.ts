import { decimal, mix } from "./identity.ts";
import type { SimulatedOptions } from "./parameters.ts";
import { Bit, type Layout, MEMORY_NODES, PERF_EVENTS, type Shape, VCPU_COUNTS, VM_COUNTS } from "./shape.ts";

/** The guests' memory statistics are refreshed this often, in ms, as with `<stats period='10'/>`. */
const BALLOON_PERIOD_MS = 10_000;
const KIB_PER_GIB = 1_048_576;
const GIB = 1_073_741_824;

/** Rates and sizes that guests draw from: 256 steps from one end to the other, in equal ratios. */
function spread(low: number, high: number): Float64Array {
  return Float64Array.from({ length: 256 }, (_, i) => low * (high / low) ** (i / 255));
}

const LOAD = spread(0.004, 0.6); // of a vCPU
const NET_BYTES = spread(200, 2_000_000); // per second
const READS = spread(0.1, 60); // per second
const WRITES = spread(0.4, 120); // per second
const REQUEST_NS = spread(60_000, 4_000_000);
const PACKET_BYTES = [90, 140, 260, 420, 640, 900, 1180, 1420];
const REQUEST_BYTES = [4096, 8192, 12_288, 16_384, 24_576, 32_768, 65_536, 131_072];
const CAPACITY = [10, 20, 20, 40, 40, 80, 100, 500].map((gib) => gib * GIB);
const MEMORY_KIB = [1, 2, 2, 4, 4, 8, 16, 32].map((gib) => gib * KIB_PER_GIB);
/** Devices that are not always busy do their work in bursts, so many seconds apart; 0 is a device that always is. */
const FIRST_BURST = [0, 0, 0, 0, 0, 0, 10, 30];
const READ_BURST = [0, 0, 0, 0, 2, 5, 10, 30];
const OTHER_BURST = [0, 0, 0, 0, 0, 5, 20, 60];

/** Guest targets: vda … vdz, vdaa … */
const TARGETS = Array.from({ length: 256 }, (_, i) => {
  const letter = (n: number) => String.fromCharCode(97 + n);
  return i < 26 ? `vd${letter(i)}` : `vd${letter(Math.floor(i / 26) - 1)}${letter(i % 26)}`;
});
const IMAGE_ENDS = TARGETS.map((target) => `-${target}.qcow2`);
const IMAGES = "/var/lib/libvirt/images/";
const BASE_IMAGES = ["debian-12", "fedora-42", "ubuntu-24.04", "alpine-3.22"].map((os) => `${IMAGES}base/${os}.qcow2`);

/**
 * Reads the meters of one guest at a time. There is one of these per host, set to guest after guest, so that a sweep of
 * millions leaves nothing behind but its records.
 *
 * Every counter is a rate times `work`: the seconds that the guest has been up, bent by a slow wave so that rates rise
 * and fall but nothing ever counts down. What a device draws for its rates comes from the guest's own 32 random bits,
 * which follow from (seed, index); so a value follows from (seed, index, time) and nothing is kept per guest.
 */
export class Reading {
  readonly #options: SimulatedOptions;
  #index = 0;
  #name = "";
  #draw = 0;
  #state = 0;
  #reason = 0;
  #wallMs = 0;
  #work = 0;
  #texts: string[] = [];

  constructor(options: SimulatedOptions) {
    this.#options = options;
  }

  /**
   * Turns to a guest.
   *
   * @param draw its 32 random bits
   * @param wallMs the time that its gauges show, in ms since 1970
   * @param upSeconds how long it has been counting
   */
  turnTo(
    index: number,
    name: string,
    draw: number,
    state: number,
    reason: number,
    wallMs: number,
    upSeconds: number,
  ): void {
    this.#index = index;
    this.#name = name;
    this.#draw = draw;
    this.#state = state;
    this.#reason = reason;
    this.#wallMs = wallMs;
    // One swell of 64 to 575 s; its slope stays above −0.8, so `work` never falls while time passes.
    const cycle = 64 + (draw & 511);
    const phase = upSeconds / cycle - Math.floor(upSeconds / cycle);
    const swell = phase * (1 - phase);
    this.#work = upSeconds + 4 * cycle * swell * swell;
  }

  /** Writes the values of a layout's groups in the order of its schema: numbers into a row of it, texts into a list. */
  write(doubles: number[], texts: string[], layout: Layout, shape: Shape): void {
    this.#texts = texts;
    const { groups } = layout;
    const options = this.#options;
    let at = 0;
    if (groups & Bit.state) {
      doubles[at++] = this.#state;
      doubles[at++] = this.#reason;
    }
    if (groups & Bit.cpuTotal) at = this.#cpuTotal(doubles, at, shape);
    if (groups & Bit.balloon) at = this.#balloon(doubles, at, shape);
    if (groups & Bit.vcpu) at = this.#vcpus(doubles, at, shape);
    if (groups & Bit.interface && shape.active) at = this.#interfaces(doubles, at, shape);
    if (groups & Bit.block) at = this.#blocks(doubles, at, shape, layout.backing);
    if (!shape.active || groups < Bit.perf) return;
    if (groups & Bit.perf && options.perf) at = this.#perf(doubles, at);
    if (groups & Bit.iothread && options.iothreads > 0) at = this.#iothreads(doubles, at);
    if (groups & Bit.memory && options.bandwidth > 0) at = this.#memory(doubles, at, shape);
    if (groups & Bit.dirtyrate) at = this.#dirtyrate(doubles, at);
    if (groups & Bit.vm && options.kvm) this.#vm(doubles, at);
  }

  #cpuTotal(doubles: number[], at: number, shape: Shape): number {
    if (!shape.active) {
      doubles[at] = doubles[at + 1] = doubles[at + 2] = 0;
      return at + 3;
    }
    const draw = this.#draw;
    // A little above the sum of the vCPUs: QEMU's own threads.
    const time = this.#work * shape.vcpus * LOAD[draw >>> 24]! * 1.05e9;
    doubles[at] = Math.floor(time);
    doubles[at + 1] = Math.floor(time * (0.5 + (draw & 255) / 1024));
    doubles[at + 2] = Math.floor(time * 0.2);
    doubles[at + 3] = Math.floor(time * 0.011);
    doubles[at + 4] = Math.floor(time * 0.004);
    return at + 5;
  }

  #balloon(doubles: number[], at: number, shape: Shape): number {
    const draw = mix(this.#draw, 1);
    const maximum = MEMORY_KIB[draw & 7]!;
    const current = (draw & 0x38) === 0 ? maximum * 0.75 : maximum;
    doubles[at] = current;
    doubles[at + 1] = maximum;
    if (!shape.active) return at + 2;
    const refresh = Math.floor(this.#wallMs / BALLOON_PERIOD_MS);
    const noise = mix(draw, refresh & 0xffff) & 1023;
    const available = current - Math.floor(current / 32);
    const used = 0.3 + ((draw >>> 8) & 255) / 512 + noise / 32_768;
    const usable = Math.floor(available * (1 - used));
    const unused = Math.floor(usable * (0.2 + ((draw >>> 16) & 255) / 512));
    const work = inBursts(this.#work, 10);
    const swapped = (draw & 0x1c0) === 0 ? work : 0;
    doubles[at + 2] = Math.floor(swapped * 1.5);
    doubles[at + 3] = Math.floor(swapped * 2.25);
    doubles[at + 4] = Math.floor(work * 0.02);
    doubles[at + 5] = Math.floor(work * (50 + (draw >>> 24)));
    doubles[at + 6] = unused;
    doubles[at + 7] = available;
    doubles[at + 8] = usable;
    doubles[at + 9] = refresh * (BALLOON_PERIOD_MS / 1000);
    doubles[at + 10] = Math.floor((usable - unused) * 0.9);
    doubles[at + 11] = 0;
    doubles[at + 12] = 0;
    doubles[at + 13] = Math.floor(current * (0.6 + ((draw >>> 12) & 255) / 640)) + 61_440 + noise * 4;
    return at + 14;
  }

  #vcpus(doubles: number[], at: number, shape: Shape): number {
    doubles[at++] = shape.vcpus;
    doubles[at++] = shape.vcpus;
    if (!shape.active) return at;
    const busy = this.#work * LOAD[this.#draw >>> 24]! * 1e9;
    const { kvm } = this.#options;
    for (let i = 0; i < shape.vcpus; i++) {
      const time = busy * (1 - (((this.#draw >>> (i & 15)) + i) & 15) / 80);
      doubles[at] = 1;
      doubles[at + 1] = Math.floor(time);
      doubles[at + 2] = Math.floor(time * 0.031);
      doubles[at + 3] = Math.floor(time * 0.0305);
      at += 4;
      if (kvm) at = vcpuCounts(doubles, at, time);
    }
    return at;
  }

  #interfaces(doubles: number[], at: number, shape: Shape): number {
    doubles[at++] = shape.nics;
    const first = this.#index * this.#options.nics.high;
    for (let i = 0; i < shape.nics; i++) {
      const draw = mix(this.#draw, 0x1000 + i);
      const work = inBursts(this.#work, (i === 0 ? FIRST_BURST : OTHER_BURST)[draw & 7]!);
      const received = Math.floor((work * NET_BYTES[draw >>> 24]!) / PACKET_BYTES[(draw >>> 3) & 7]!);
      const sent = Math.floor((work * NET_BYTES[(draw >>> 16) & 255]!) / PACKET_BYTES[(draw >>> 6) & 7]!);
      this.#texts.push(`vnet${decimal(first + i)}`);
      doubles[at + 1] = received * PACKET_BYTES[(draw >>> 3) & 7]!;
      doubles[at + 2] = received;
      doubles[at + 3] = 0;
      doubles[at + 4] = (draw & 0xe00) === 0 ? Math.floor(received / 20_000) : 0;
      doubles[at + 5] = sent * PACKET_BYTES[(draw >>> 6) & 7]!;
      doubles[at + 6] = sent;
      doubles[at + 7] = 0;
      doubles[at + 8] = 0;
      at += 9;
    }
    return at;
  }

  #blocks(doubles: number[], at: number, shape: Shape, backing: boolean): number {
    const chain = backing && shape.active ? 2 : 1;
    doubles[at++] = shape.disks * chain;
    const images = IMAGES + this.#name;
    for (let i = 0; i < shape.disks; i++) {
      const draw = mix(this.#draw, 0x2000 + i);
      const capacity = CAPACITY[draw & 7]!;
      // Whole clusters of 64 KiB, as qcow2 allocates them.
      const allocation = Math.floor((capacity / 65_536) * (0.05 + ((draw >>> 3) & 255) / 300)) * 65_536;
      this.#texts.push(TARGETS[i]!, images + IMAGE_ENDS[i]!);
      at += 2;
      if (shape.active) {
        doubles[at++] = i * chain + 1;
        at = this.#requests(doubles, at, i, draw);
      }
      doubles[at] = allocation;
      doubles[at + 1] = capacity;
      doubles[at + 2] = allocation + 327_680;
      at += 3;
      if (chain === 2) {
        this.#texts.push(TARGETS[i]!, BASE_IMAGES[draw & 3]!);
        doubles[at + 2] = i * chain + 2;
        doubles[at + 3] = 0;
        doubles[at + 4] = capacity;
        doubles[at + 5] = 2_361_393_152;
        at += 6;
      }
    }
    return at;
  }

  #requests(doubles: number[], at: number, disk: number, draw: number): number {
    const work = inBursts(this.#work, (disk === 0 ? FIRST_BURST : OTHER_BURST)[(draw >>> 11) & 7]!);
    const reads = Math.floor(inBursts(work, READ_BURST[(draw >>> 14) & 7]!) * READS[draw >>> 24]!);
    const writes = Math.floor(work * WRITES[(draw >>> 16) & 255]!);
    const flushes = Math.floor(writes * 0.07);
    doubles[at] = reads;
    doubles[at + 1] = reads * REQUEST_BYTES[(draw >>> 5) & 7]!;
    doubles[at + 2] = Math.floor(reads * REQUEST_NS[(draw >>> 8) & 255]!);
    doubles[at + 3] = writes;
    doubles[at + 4] = writes * REQUEST_BYTES[(draw >>> 20) & 7]!;
    doubles[at + 5] = Math.floor(writes * REQUEST_NS[(draw >>> 12) & 255]!);
    doubles[at + 6] = flushes;
    doubles[at + 7] = flushes * 1_800_000;
    return at + 8;
  }

  #perf(doubles: number[], at: number): number {
    const cycles = this.#work * LOAD[this.#draw >>> 24]! * 2.4e9;
    doubles[at] = Math.floor(cycles * 0.0008);
    doubles[at + 1] = Math.floor(cycles * 0.011);
    doubles[at + 2] = Math.floor(cycles * 1.3);
    doubles[at + 3] = Math.floor(cycles);
    return at + PERF_EVENTS.length;
  }

  #iothreads(doubles: number[], at: number): number {
    doubles[at++] = this.#options.iothreads;
    for (let i = 0; i < this.#options.iothreads; i++) {
      doubles[at] = 32_768;
      doubles[at + 1] = 0;
      doubles[at + 2] = 0;
      at += 3;
    }
    return at;
  }

  #memory(doubles: number[], at: number, shape: Shape): number {
    const { bandwidth } = this.#options;
    doubles[at++] = bandwidth;
    for (let i = 0; i < bandwidth; i++) {
      const total = this.#work * LOAD[this.#draw >>> 24]! * (1.5e8 / (i + 1));
      this.#texts.push(`bandwidth${i}`, shape.vcpus === 1 ? "0" : `0-${shape.vcpus - 1}`);
      doubles[at + 2] = MEMORY_NODES;
      at += 3;
      for (let node = 0; node < MEMORY_NODES; node++) {
        doubles[at] = node;
        doubles[at + 1] = Math.floor((total / (node + 1)) * 0.8);
        doubles[at + 2] = Math.floor(total / (node + 1));
        at += 3;
      }
    }
    return at;
  }

  /** Either never measured, or measured for one second at the beginning of each minute. */
  #dirtyrate(doubles: number[], at: number): number {
    const measured = this.#options.dirtyrate;
    const minute = Math.floor(this.#wallMs / 60_000);
    doubles[at] = measured ? 2 : 0;
    doubles[at + 1] = measured ? minute * 60 : 0;
    doubles[at + 2] = measured ? 1 : 0;
    this.#texts.push("page-sampling");
    if (!measured) return at + 4;
    doubles[at + 4] = mix(this.#draw, minute) & 255;
    return at + 5;
  }

  #vm(doubles: number[], at: number): number {
    const draw = mix(this.#draw, 2);
    doubles[at] = Math.floor(this.#work * (2 + (draw & 63)));
    doubles[at + 1] = Math.floor(this.#work * 0.1);
    doubles[at + 2] = 20_000 + (draw & 0xffff);
    doubles[at + 3] = 200 + ((draw >>> 16) & 1023);
    doubles[at + 4] = 0;
    doubles[at + 5] = draw & 7;
    return at + VM_COUNTS.length;
  }
}

/** The KVM counters of a vCPU that has run for so many ns. */
function vcpuCounts(doubles: number[], at: number, time: number): number {
  const exits = Math.floor(time / 90_000);
  doubles[at] = exits;
  doubles[at + 1] = Math.floor(exits * 0.4);
  doubles[at + 2] = Math.floor(exits * 0.08);
  doubles[at + 3] = Math.floor(exits * 0.01);
  doubles[at + 4] = Math.floor(exits * 0.2);
  doubles[at + 5] = exits % 2;
  return at + VCPU_COUNTS.length;
}

/** Work that is done in one go every so many seconds. */
function inBursts(work: number, seconds: number): number {
  return seconds === 0 ? work : Math.floor(work / seconds) * seconds;
}
