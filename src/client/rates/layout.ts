import type { Schema } from "../../model/params.ts";

/** The counters of each kind of part, in the order in which they are compared. */
const CPU_KEYS = ["cpu.time", "cpu.user", "cpu.system"];
const GUEST_KEYS = ["balloon.swap_in", "balloon.swap_out", "balloon.major_fault", "balloon.minor_fault"];
const DEVICE_KEYS: Readonly<
  Record<string, { readonly counters: readonly string[]; readonly labels: readonly string[] }>
> = {
  vcpu: { counters: ["time", "wait", "delay"], labels: [] },
  net: {
    counters: ["rx.bytes", "tx.bytes", "rx.pkts", "tx.pkts", "rx.errs", "tx.errs", "rx.drop", "tx.drop"],
    labels: ["name"],
  },
  block: {
    counters: ["rd.bytes", "wr.bytes", "rd.reqs", "wr.reqs", "fl.reqs", "rd.times", "wr.times", "fl.times"],
    labels: ["name", "path", "backingIndex"],
  },
};

const DEVICE_KEY = /^(vcpu|net|block)\.(\d{1,9})\.(.+)$/;

/** Where one device's parameters are among a record's; −1 is nowhere. */
export interface DeviceKeys {
  /** libvirt's number of it. */
  readonly number: number;
  readonly counters: Int32Array;
  /** Of a disk: name, path, backing index. Of an interface: its name. */
  readonly labels: Int32Array;
  /** Whether it has any counter at all: the members of a backing chain have none. */
  counts: boolean;
}

/**
 * Where the parameters that make rates are among the keys of a schema. Records of the same shape share their schema, so
 * this is found out once for thousands of them, and a record is then read by position.
 */
export class RateLayout {
  static readonly #known = new WeakMap<Schema, RateLayout>();

  /** The whole domain's processor, as the one row of its kind. */
  readonly cpu: readonly [DeviceKeys];
  readonly vcpuCurrent: number;
  readonly vcpus: readonly DeviceKeys[];
  readonly interfaces: readonly DeviceKeys[];
  readonly disks: readonly DeviceKeys[];
  readonly guest: Int32Array;
  readonly lastUpdate: number;
  readonly current: number;
  readonly rss: number;
  readonly available: number;
  readonly usable: number;
  readonly state: number;
  /** Whether a record of this shape has counters of the processor, of vCPUs, interfaces and disks. */
  readonly hasCpu: boolean;
  readonly hasVcpus: boolean;
  readonly hasInterfaces: boolean;
  readonly hasDisks: boolean;
  /** Whether some disk rows have no counters, and so may belong to another's backing chain. */
  readonly hasChains: boolean;

  /** The layout of a schema, the same for the same schema. */
  static of(schema: Schema): RateLayout {
    let layout = RateLayout.#known.get(schema);
    if (layout === undefined) {
      layout = new RateLayout(schema);
      RateLayout.#known.set(schema, layout);
    }
    return layout;
  }

  constructor(schema: Schema) {
    const devices = { vcpu: new Map(), net: new Map(), block: new Map() };
    for (const [position, key] of schema.keys.entries()) {
      const match = DEVICE_KEY.exec(key);
      if (match !== null)
        enter(devices[match[1] as keyof typeof devices], match[1]!, Number(match[2]), match[3]!, position);
    }
    const at = (key: string) => schema.position(key);
    const cpu = Int32Array.from(CPU_KEYS, at);
    this.cpu = [{ number: 0, counters: cpu, labels: new Int32Array(0), counts: cpu[0]! >= 0 }];
    this.guest = Int32Array.from(GUEST_KEYS, at);
    this.vcpuCurrent = at("vcpu.current");
    this.lastUpdate = at("balloon.last-update");
    this.current = at("balloon.current");
    this.rss = at("balloon.rss");
    this.available = at("balloon.available");
    this.usable = at("balloon.usable");
    this.state = at("state.state");
    this.vcpus = [...devices.vcpu.values()];
    this.interfaces = [...devices.net.values()];
    this.disks = [...devices.block.values()];
    this.hasCpu = this.cpu[0].counts;
    this.hasVcpus = this.vcpus.some((row) => row.counts);
    this.hasInterfaces = this.interfaces.some((row) => row.counts);
    this.hasDisks = this.disks.some((row) => row.counts);
    this.hasChains = this.disks.some((row) => !row.counts);
  }
}

/**
 * Notes where a device's parameter is, the first where a key occurs twice; other parameters of devices are passed over.
 */
function enter(rows: Map<number, DeviceKeys>, kind: string, number: number, suffix: string, position: number): void {
  const { counters, labels } = DEVICE_KEYS[kind]!;
  const counter = counters.indexOf(suffix);
  const label = counter < 0 ? labels.indexOf(suffix) : -1;
  if (counter < 0 && label < 0) return;
  let row = rows.get(number);
  if (row === undefined) {
    row = {
      number,
      counters: new Int32Array(counters.length).fill(-1),
      labels: new Int32Array(labels.length).fill(-1),
      counts: false,
    };
    rows.set(number, row);
  }
  const positions = counter < 0 ? row.labels : row.counters;
  const column = counter < 0 ? label : counter;
  if (positions[column]! < 0) positions[column] = position;
  if (counter >= 0) row.counts = true;
}
