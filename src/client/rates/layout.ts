import { ParamType, type Schema } from "../../model/schema.ts";

/** The parts of a domain that have counters. */
export type Part = "cpu" | "vcpus" | "disks" | "interfaces";

/** The counters of each part, in the order in which they are compared. */
const CPU_COUNTERS = ["cpu.time", "cpu.user", "cpu.system"];
const GUEST_COUNTERS = ["balloon.swap_in", "balloon.swap_out", "balloon.major_fault", "balloon.minor_fault"];
const DEVICE_COUNTERS: Readonly<Record<string, readonly string[]>> = {
  vcpu: ["time", "wait", "delay"],
  net: ["rx.bytes", "tx.bytes", "rx.pkts", "tx.pkts", "rx.errs", "tx.errs", "rx.drop", "tx.drop"],
  block: ["rd.bytes", "wr.bytes", "rd.reqs", "wr.reqs", "fl.reqs", "rd.times", "wr.times", "fl.times"],
};

const DEVICE_KEY = /^(vcpu|net|block)\.(\d{1,9})\.(.+)$/;

/** Where one device's parameters are in a record; −1 where the record has no such parameter. */
export interface DeviceKeys {
  /** libvirt's number of the device. */
  readonly number: number;
  /** Positions in `TypedParams.doubles`. */
  readonly counters: Int32Array;
  /** Places in `TypedParams.texts`. */
  name: number;
  path: number;
  /** A position in `TypedParams.doubles`. */
  backingIndex: number;
  /** Whether it has any counter at all: the members of a backing chain have none. */
  counts: boolean;
}

/**
 * Where the parameters that make rates are in records of one schema. It is worked out once per schema, so that the
 * thousands of records that share the schema are read by position. A parameter of an unexpected type counts as missing.
 */
export class RateLayout {
  static readonly #known = new WeakMap<Schema, RateLayout>();

  /** The whole domain's processor, as the only device of its kind. */
  readonly cpu: readonly DeviceKeys[];
  readonly vcpus: readonly DeviceKeys[];
  readonly disks: readonly DeviceKeys[];
  readonly interfaces: readonly DeviceKeys[];
  /** The parts for which a record of this schema has counters. */
  readonly parts: readonly Part[];
  /** Whether some disks have no counters, and so may belong to the backing chain of another. */
  readonly hasChains: boolean;
  readonly guest: Int32Array;
  readonly vcpuCurrent: number;
  readonly lastUpdate: number;
  readonly current: number;
  readonly rss: number;
  readonly available: number;
  readonly usable: number;
  readonly state: number;

  /** The layout of a schema; the same object for the same schema. */
  static of(schema: Schema): RateLayout {
    let layout = RateLayout.#known.get(schema);
    if (layout === undefined) {
      layout = new RateLayout(schema);
      RateLayout.#known.set(schema, layout);
    }
    return layout;
  }

  constructor(schema: Schema) {
    const at = (key: string): number => {
      const position = schema.position(key);
      return position >= 0 && isNumeric(schema.types[position]!) ? position : -1;
    };
    const cpu = device(0, CPU_COUNTERS.length);
    cpu.counters.set(CPU_COUNTERS.map(at));
    cpu.counts = cpu.counters[0]! >= 0;
    this.cpu = [cpu];
    const devices = devicesOf(schema);
    this.vcpus = [...devices["vcpu"]!.values()];
    this.interfaces = [...devices["net"]!.values()];
    this.disks = [...devices["block"]!.values()];
    this.parts = (["cpu", "vcpus", "disks", "interfaces"] as const).filter((part) =>
      this[part].some(({ counts }) => counts),
    );
    this.hasChains = this.disks.some(({ counts }) => !counts);
    this.guest = Int32Array.from(GUEST_COUNTERS, at);
    this.vcpuCurrent = at("vcpu.current");
    this.lastUpdate = at("balloon.last-update");
    this.current = at("balloon.current");
    this.rss = at("balloon.rss");
    this.available = at("balloon.available");
    this.usable = at("balloon.usable");
    this.state = at("state.state");
  }
}

/** The devices of each kind, by number. Of a key that occurs twice, the first counts. */
function devicesOf(schema: Schema): Record<string, Map<number, DeviceKeys>> {
  const kinds: Record<string, Map<number, DeviceKeys>> = { vcpu: new Map(), net: new Map(), block: new Map() };
  const row = schema.row();
  for (const [position, key] of schema.keys.entries()) {
    const [, kind, digits, name] = DEVICE_KEY.exec(key) ?? [];
    if (kind === undefined || name === undefined) continue;
    const counters = DEVICE_COUNTERS[kind]!;
    const counter = counters.indexOf(name);
    const isLabel = (name === "name" && kind !== "vcpu") || (kind === "block" && /^(path|backingIndex)$/.test(name));
    if (counter < 0 && !isLabel) continue;
    const number = Number(digits);
    let keys = kinds[kind]!.get(number);
    if (keys === undefined) {
      keys = device(number, counters.length);
      kinds[kind]!.set(number, keys);
    }
    const type = schema.types[position]!;
    if (name === "name" || name === "path") {
      if (type === ParamType.string && keys[name] < 0) keys[name] = row[position]!;
    } else if (isNumeric(type)) {
      if (name === "backingIndex") {
        if (keys.backingIndex < 0) keys.backingIndex = position;
      } else {
        if (keys.counters[counter]! < 0) keys.counters[counter] = position;
        keys.counts = true;
      }
    }
  }
  return kinds;
}

function device(number: number, counters: number): DeviceKeys {
  return { number, counters: new Int32Array(counters).fill(-1), name: -1, path: -1, backingIndex: -1, counts: false };
}

function isNumeric(type: number): boolean {
  return type <= ParamType.double;
}
