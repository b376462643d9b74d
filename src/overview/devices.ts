import {
  type Column,
  counter,
  counterWords,
  EXTRA,
  IDENTITY,
  numberColumn,
  textColumn,
  type Value,
} from "./columns.ts";
import type { GuestLine } from "./line.ts";
import { narrowBytes, narrowCount, narrowMs, percent } from "./quantity.ts";

/** The kinds of devices that can have lines of their own in a table of guests. */
export const DEVICES = ["disk", "nic", "vcpu"] as const;
/** A kind of device that can have lines of its own in a table of guests. */
export type Device = (typeof DEVICES)[number];

type Rate = (line: GuestLine) => number | undefined;

function rate(
  name: string,
  title: string,
  [rank, unit]: readonly [rank: number, unit: string],
  value: Rate,
  words: (value: number) => string,
): Column {
  return numberColumn(name, title, { width: 8, rank, unit }, value, words);
}

const BYTES = "bytes_per_second";
const EVENTS = "per_second";

/** The columns for the rates of one disk, interface or vCPU, without the columns of the guest. */
// biome-ignore format: one column per line
export const DEVICE_RATES: Readonly<Record<Device, readonly Column[]>> = {
  disk: [
    textColumn("disk", "DISK", { width: 8, rank: 0, group: "block" }, ({ disk }) => disk?.name),
    rate("read", "READ/s", [3, BYTES], ({ disk }) => disk?.readBytesPerSecond, narrowBytes),
    rate("write", "WRITE/s", [3, BYTES], ({ disk }) => disk?.writeBytesPerSecond, narrowBytes),
    rate("read-ops", "RD-OP/s", [4, EVENTS], ({ disk }) => disk?.readsPerSecond, narrowCount),
    rate("write-ops", "WR-OP/s", [4, EVENTS], ({ disk }) => disk?.writesPerSecond, narrowCount),
    rate("read-lat", "RD-LAT", [1, "ms"], ({ disk }) => disk?.readLatencyMs, narrowMs),
    rate("write-lat", "WR-LAT", [1, "ms"], ({ disk }) => disk?.writeLatencyMs, narrowMs),
    rate("flush-lat", "FL-LAT", [2, "ms"], ({ disk }) => disk?.flushLatencyMs, narrowMs),
    textColumn("path", "PATH", { width: 60, rank: 6 }, ({ disk }) => disk?.path),
  ],
  nic: [
    textColumn("nic", "NIC", { width: 16, rank: 0, group: "interface" }, ({ nic }) => nic?.name),
    rate("rx", "RX/s", [1, BYTES], ({ nic }) => nic?.receivedBytesPerSecond, narrowBytes),
    rate("tx", "TX/s", [1, BYTES], ({ nic }) => nic?.transmittedBytesPerSecond, narrowBytes),
    rate("rx-packets", "RX-PKT/s", [3, EVENTS], ({ nic }) => nic?.receivedPacketsPerSecond, narrowCount),
    rate("tx-packets", "TX-PKT/s", [3, EVENTS], ({ nic }) => nic?.transmittedPacketsPerSecond, narrowCount),
    rate("errors", "ERR/s", [2, EVENTS], ({ nic }) => both(nic?.receiveErrorsPerSecond, nic?.transmitErrorsPerSecond), narrowCount),
    rate("drops", "DROP/s", [2, EVENTS], ({ nic }) => both(nic?.receiveDropsPerSecond, nic?.transmitDropsPerSecond), narrowCount),
  ],
  vcpu: [
    numberColumn("vcpu", "VCPU", { width: 8, rank: 0, group: "vcpu" }, ({ vcpu }) => vcpu?.number, String),
    rate("cpu", "CPU%", [1, "percent"], ({ vcpu }) => vcpu?.percent, percent),
    rate("steal", "STEAL%", [1, "percent"], ({ vcpu }) => vcpu?.stealPercent, percent),
    rate("wait", "WAIT%", [2, "percent"], ({ vcpu }) => vcpu?.waitPercent, percent),
  ],
};

/** The columns for the counters of one disk, interface or vCPU, without the columns of the guest. */
function deviceCounters(device: Device, raw: boolean): readonly Column[] {
  const words = counterWords(raw);
  const [identity] = DEVICE_RATES[device];
  const column = (name: string, title: string, field: string, unit: string, write: (value: Value) => string): Column =>
    numberColumn(
      name,
      title,
      { width: words.width(8), rank: 3, unit },
      (line) => {
        const prefix = prefixOf(line);
        return prefix === undefined ? undefined : counter(line.row.record.params, `${prefix}.${field}`);
      },
      write,
    );
  const { bytes, count, seconds } = words;
  switch (device) {
    case "disk":
      return [
        identity!,
        column("read", "READ", "rd.bytes", "bytes", bytes),
        column("write", "WRITTEN", "wr.bytes", "bytes", bytes),
        column("read-ops", "RD-OPS", "rd.reqs", "count", count),
        column("write-ops", "WR-OPS", "wr.reqs", "count", count),
        column("read-time", "RD-TIME", "rd.times", "ns", seconds),
        column("write-time", "WR-TIME", "wr.times", "ns", seconds),
        DEVICE_RATES.disk.at(-1)!,
      ];
    case "nic":
      return [
        identity!,
        column("rx", "RX", "rx.bytes", "bytes", bytes),
        column("tx", "TX", "tx.bytes", "bytes", bytes),
        column("rx-packets", "RX-PKTS", "rx.pkts", "count", count),
        column("tx-packets", "TX-PKTS", "tx.pkts", "count", count),
        column("rx-errors", "RX-ERRS", "rx.errs", "count", count),
        column("tx-errors", "TX-ERRS", "tx.errs", "count", count),
        column("rx-drops", "RX-DROPS", "rx.drop", "count", count),
        column("tx-drops", "TX-DROPS", "tx.drop", "count", count),
      ];
    case "vcpu":
      return [
        identity!,
        column("cpu-time", "CPU-TIME", "time", "ns", seconds),
        column("steal-time", "STEAL-TIME", "delay", "ns", seconds),
        column("wait-time", "WAIT-TIME", "wait", "ns", seconds),
      ];
  }
}

/** The columns of a table with a line per device. */
export function deviceColumns(device: Device, counters: boolean, raw: boolean): readonly Column[] {
  return [...IDENTITY, ...(counters ? deviceCounters(device, raw) : DEVICE_RATES[device]), ...EXTRA];
}

/** The lines of a guest's devices of one kind, one line for each device. */
export function deviceLines(line: GuestLine, device: Device): GuestLine[] {
  const { disks, interfaces, vcpus } = line.row.rates;
  switch (device) {
    case "disk":
      return disks.map((disk) => ({ ...line, disk }));
    case "nic":
      return interfaces.map((nic) => ({ ...line, nic }));
    case "vcpu":
      return vcpus.map((vcpu) => ({ ...line, vcpu }));
  }
}

/** How the keys of a device's parameters begin, e.g. `block.0`; undefined if the line is of the guest as a whole. */
function prefixOf({ disk, nic, vcpu }: GuestLine): string | undefined {
  if (disk !== undefined) return `block.${disk.index}`;
  if (nic !== undefined) return `net.${nic.index}`;
  return vcpu === undefined ? undefined : `vcpu.${vcpu.number}`;
}

function both(one: number | undefined, other: number | undefined): number | undefined {
  return one === undefined && other === undefined ? undefined : (one ?? 0) + (other ?? 0);
}
