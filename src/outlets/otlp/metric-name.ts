import { fieldOf } from "../../model/field/field.ts";

/**
 * The kinds of devices that have names in libvirt, such as `vda` and `vnet0`. The series of such a device have its name
 * as an attribute, and not libvirt's number of the device.
 */
export type DeviceKind = "block" | "net";

/** For each kind of device, the key of the attribute that has the device's name. */
export const DEVICE_ATTRIBUTES: Readonly<Record<DeviceKind, string>> = {
  block: "disk.device",
  net: "network.interface.name",
};

/** The metric of a parameter in OpenTelemetry, and the attributes of the parameter's series. */
export interface MetricName {
  readonly name: string;
  /** The unit in UCUM, as OpenTelemetry requires; empty when the value has no unit. */
  readonly unit: string;
  /** True if the parameter is a counter: a cumulative, monotonic sum. Any other parameter is a gauge. */
  readonly isSum: boolean;
  /** All attributes except the name of the device. */
  readonly attributes: readonly (readonly [key: string, value: string | number])[];
  /** The device of the parameter, if the device is of a kind that libvirt names. */
  readonly device: { readonly kind: DeviceKind; readonly number: number } | undefined;
  /**
   * For a parameter of no named device: the name of the part whose counters are reset together. The part is one vCPU,
   * or this parameter alone.
   */
  readonly part: string;
}

/**
 * For each libvirt key with a direction: the metric's name, and the attribute into which OpenTelemetry puts the
 * direction.
 */
const DIRECTED: Readonly<Record<string, readonly [name: string, attribute: string, direction: string]>> = {
  "block.rd.bytes": ["disk.io", "disk.io.direction", "read"],
  "block.wr.bytes": ["disk.io", "disk.io.direction", "write"],
  "block.rd.reqs": ["disk.operations", "disk.io.direction", "read"],
  "block.wr.reqs": ["disk.operations", "disk.io.direction", "write"],
  "block.rd.times": ["disk.operation_time", "disk.io.direction", "read"],
  "block.wr.times": ["disk.operation_time", "disk.io.direction", "write"],
  "net.rx.bytes": ["network.io", "network.io.direction", "receive"],
  "net.tx.bytes": ["network.io", "network.io.direction", "transmit"],
  "net.rx.pkts": ["network.packets", "network.io.direction", "receive"],
  "net.tx.pkts": ["network.packets", "network.io.direction", "transmit"],
  "net.rx.errs": ["network.errors", "network.io.direction", "receive"],
  "net.tx.errs": ["network.errors", "network.io.direction", "transmit"],
  "net.rx.drop": ["network.dropped", "network.io.direction", "receive"],
  "net.tx.drop": ["network.dropped", "network.io.direction", "transmit"],
};

/**
 * The metric names of those keys without a direction for which it is not enough to replace the first word (see
 * FIRST_SEGMENTS).
 */
const RENAMED: Readonly<Record<string, string>> = {
  "state.state": "state",
  "block.fl.reqs": "disk.flushes",
  "block.fl.times": "disk.flush_time",
};

const FIRST_SEGMENTS: Readonly<Record<string, string>> = { block: "disk", net: "network", balloon: "memory" };

const UNITS: Readonly<Record<string, string>> = {
  ns: "ns",
  s: "s",
  "unix-seconds": "s",
  bytes: "By",
  KiB: "KiBy",
  "bytes/s": "By/s",
  "MiB/s": "MiBy/s",
  count: "1",
  packets: "{packet}",
  requests: "{request}",
};

/**
 * Returns the metric and the attributes of a parameter. The metric's name is libvirt's key without its numbers, which
 * become attributes: `vcpu.3.time` is the metric `libvirt.domain.vcpu.time` with `vcpu.number` 3. Values keep libvirt's
 * units, because a value that is converted may no longer be exact.
 */
export function metricName(key: string): MetricName {
  const segments = key.split(".");
  const kind = segments[0] === "block" || segments[0] === "net" ? segments[0] : undefined;
  const words: string[] = [];
  const attributes: [string, string | number][] = [];
  let device: MetricName["device"];
  for (const [i, segment] of segments.entries()) {
    if (i === 0 || !/^\d{1,9}$/.test(segment)) words.push(segment);
    else if (i === 1 && kind !== undefined) device = { kind, number: Number(segment) };
    else attributes.push([`${words.at(-1)}.number`, Number(segment)]);
  }
  const plain = words.join(".");
  const directed = DIRECTED[plain];
  if (directed !== undefined) attributes.push([directed[1], directed[2]]);
  words[0] = FIRST_SEGMENTS[words[0]!] ?? words[0]!;
  const field = fieldOf(key);
  return {
    name: `libvirt.domain.${directed?.[0] ?? RENAMED[plain] ?? words.join(".")}`,
    unit: UNITS[field?.unit ?? ""] ?? "",
    isSum: field?.kind === "counter",
    attributes,
    device,
    part: segments[0] === "vcpu" && segments.length > 2 ? `vcpu.${segments[1]}` : key,
  };
}
