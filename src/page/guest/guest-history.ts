import type { DomainRates } from "../../client/rates/domain-rates.ts";
import { entryOf } from "../../driver/memo.ts";

/** How many samples are kept: one per second for the five minutes that a chart shows. */
const MOST_SAMPLES = 301;
/** A chart has at most this many lines: one for each vCPU, two for each disk or interface. Tables show all devices. */
const MOST_LINES = 32;

/** The charts of a guest. */
export const CHARTS = ["cpu", "steal", "latency", "throughput", "network", "memory"] as const;
/** The name of a chart. */
export type ChartName = (typeof CHARTS)[number];

/** The lines of a chart by their label. A figure that was not known is null. */
export type ChartLines = ReadonlyMap<string, readonly (number | null)[]>;

type Figures = readonly (readonly [label: string, value: number | undefined])[];

/** The figures of one guest over the last minutes, in the form that charts need. */
export class GuestHistory {
  /** When each sample was taken, in s since 1970. */
  readonly times: number[] = [];
  readonly #charts = new Map<ChartName, Map<string, (number | null)[]>>(CHARTS.map((name) => [name, new Map()]));

  lines(chart: ChartName): ChartLines {
    return this.#charts.get(chart)!;
  }

  /** Takes a record's rates. A record that is not newer than the newest sample adds nothing. */
  take(rates: DomainRates): void {
    const at = rates.record.sampledAt / 1_000;
    if (at <= (this.times.at(-1) ?? 0)) return;
    const length = this.times.push(at);
    const figures = figuresOf(rates);
    for (const [name, lines] of this.#charts) {
      for (const [label, value] of figures[name]) {
        const line = entryOf(lines, label, () => new Array<number | null>(length - 1).fill(null));
        if (line.length < length) line.push(value ?? null);
      }
      for (const line of lines.values()) if (line.length < length) line.push(null);
    }
    if (length > MOST_SAMPLES) this.#dropFirst();
  }

  #dropFirst(): void {
    this.times.shift();
    for (const lines of this.#charts.values()) {
      for (const [label, line] of lines) {
        line.shift();
        // If all samples that are kept are null, the device was unplugged.
        if (line.every((value) => value === null) && line.length === MOST_SAMPLES) lines.delete(label);
      }
    }
  }
}

function figuresOf({ vcpus, disks, interfaces, memory, record }: DomainRates): Readonly<Record<ChartName, Figures>> {
  const active = record.domain.id >= 0;
  const some = { vcpus: vcpus.slice(0, MOST_LINES), disks: disks.slice(0, MOST_LINES / 2) };
  const nics = interfaces.slice(0, MOST_LINES / 2);
  return {
    cpu: some.vcpus.map(({ number, percent }) => [`vCPU ${number}`, percent]),
    steal: some.vcpus.map(({ number, stealPercent }) => [`vCPU ${number}`, stealPercent]),
    latency: some.disks.flatMap(
      ({ name, readLatencyMs, writeLatencyMs }): Figures => [
        [`${name} read`, readLatencyMs],
        [`${name} write`, writeLatencyMs],
      ],
    ),
    throughput: some.disks.flatMap(
      ({ name, readBytesPerSecond, writeBytesPerSecond }): Figures => [
        [`${name} read`, readBytesPerSecond],
        [`${name} write`, writeBytesPerSecond],
      ],
    ),
    network: nics.flatMap(
      ({ name, receivedBytesPerSecond, transmittedBytesPerSecond }): Figures => [
        [`${name} received`, receivedBytesPerSecond],
        [`${name} sent`, transmittedBytesPerSecond],
      ],
    ),
    memory: active
      ? [
          ["used", memory.usedBytes],
          ["process", memory.rssBytes],
          ["assigned", memory.assignedBytes],
        ]
      : [],
  };
}
