import { ParamType, type Schema } from "../../model/schema.ts";

/** The parts of a domain that have counters. */
export type Part = "cpu" | "vcpus" | "disks" | "interfaces";

/** The counters of each part. The arrays of their positions, values and increases have the order of these lists. */
const CPU_COUNTERS = ["cpu.time", "cpu.user", "cpu.system"];
const GUEST_COUNTERS = ["balloon.swap_in", "balloon.swap_out", "balloon.major_fault", "balloon.minor_fault"];
const DEVICE_COUNTERS: Readonly<Record<string, readonly string[]>> = {
  vcpu: ["time", "wait", "delay"],
  net: ["rx.bytes", "tx.bytes", "rx.pkts", "tx.pkts", "rx.errs", "tx.errs", "rx.drop", "tx.drop"],
  block: ["rd.bytes", "wr.bytes", "rd.reqs", "wr.reqs", "fl.reqs", "rd.times", "wr.times", "fl.times"],
};

const DEVICE_KEY = /^(vcpu|net|block)\.(\d{1,9})\./;

/** The positions of one device's parameters in a record; −1 if the record has no such parameter. */
export interface DeviceKeys {
  /** libvirt's number of the device. */
  readonly number: number;
  /** Positions in `TypedParams.doubles`. */
  readonly counters: Int32Array;
  /** Places in `TypedParams.texts`. */
  readonly name: number;
  readonly path: number;
  /** A position in `TypedParams.doubles`. */
  readonly backingIndex: number;
  /**
   * True if the device has a counter. In a disk's backing chain, only the disk itself has counters, and the other
   * members have none.
   */
  readonly counts: boolean;
}

/**
 * The positions that the parameters for rates have in the records of one schema. They are computed once per schema. The
 * thousands of records with this schema are then read by position. A parameter of an unexpected type counts as missing.
 */
export class RateLayout {
  static readonly #known = new WeakMap<Schema, RateLayout>();

  /** The processor time of the whole domain, as a list of one device. */
  readonly cpu: readonly DeviceKeys[];
  readonly vcpus: readonly DeviceKeys[];
  readonly disks: readonly DeviceKeys[];
  readonly interfaces: readonly DeviceKeys[];
  /** The parts for which a record of this schema has counters. */
  readonly parts: readonly Part[];
  /** True if some disks have no counters, and so may belong to the backing chain of another disk. */
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
    const counters = Int32Array.from(CPU_COUNTERS, at);
    this.cpu = [{ number: 0, counters, name: -1, path: -1, backingIndex: -1, counts: counters[0]! >= 0 }];
    this.vcpus = devicesOf("vcpu", schema, at);
    this.interfaces = devicesOf("net", schema, at);
    this.disks = devicesOf("block", schema, at);
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

/** The devices of a kind that have a counter or a name. */
function devicesOf(kind: "vcpu" | "net" | "block", schema: Schema, at: (key: string) => number): DeviceKeys[] {
  const row = schema.row();
  const textAt = (key: string): number => {
    const position = schema.position(key);
    return schema.types[position] === ParamType.string ? row[position]! : -1;
  };
  const found = schema.keys.map((key) => DEVICE_KEY.exec(key)).filter((match) => match?.[1] === kind);
  const devices = Array.from(new Set(found.map((match) => match![2]!)), (number): DeviceKeys => {
    const prefix = `${kind}.${number}.`;
    const counters = Int32Array.from(DEVICE_COUNTERS[kind]!, (name) => at(prefix + name));
    return {
      number: Number(number),
      counters,
      name: textAt(`${prefix}name`),
      path: textAt(`${prefix}path`),
      backingIndex: at(`${prefix}backingIndex`),
      counts: counters.some((position) => position >= 0),
    };
  });
  return devices.filter(({ counts, name }) => counts || name >= 0);
}

function isNumeric(type: number): boolean {
  return type <= ParamType.double;
}
