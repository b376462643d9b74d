import type { HostVersions } from "../../driver/driver.ts";
import type { StoragePool } from "../../driver/storage-pools.ts";
import type { KnownGroup } from "../../model/group.ts";
import type { PartName } from "./record-layout.ts";
import type { Row } from "./row.ts";

/**
 * The two common Prometheus exporters for libvirt, of tinkoff and of inovex, have different names for some families.
 * The dialect selects the names of one exporter, or of both.
 */
export const DIALECTS = ["tinkoff", "inovex", "both"] as const;
/** The name of a dialect. */
export type Dialect = (typeof DIALECTS)[number];

/**
 * Units of libvirt's values. Prometheus uses seconds instead of ns, and bytes instead of KiB. With an empty unit, the
 * value is not converted.
 */
export type LibvirtUnit = "ns" | "KiB" | "";

/**
 * A function that adds a sample to the page. `labels` is the text between the braces, such as `labelText` makes it.
 * `suffix` is added to the family's name. An undefined value adds no sample.
 */
export type AddSample = (labels: string, value: number | undefined, suffix?: string) => void;

/** The inputs of the families that do not describe single domains. */
export interface Host {
  readonly rows: readonly Row[];
  /** Each host; `up` is true if the host can be reached. */
  readonly hosts: readonly { readonly name: string; readonly up: boolean }[];
  /** True if the series have the label `host`. */
  readonly several: boolean;
  /** The known versions of each host's software. */
  readonly versions?: readonly HostVersions[];
  /** The storage pools of the hosts that can be reached, if the options ask for them. */
  readonly pools?: readonly StoragePool[];
  /** Figures of the exporter itself; undefined if it makes only one page, as in `virstream get`. */
  readonly self: SelfFigures | undefined;
}

/** Figures of the exporter itself. */
export interface SelfFigures {
  /** How long sweeps took, in seconds, as a histogram. */
  readonly durations: { readonly buckets: ReadonlyMap<number, number>; readonly count: number; readonly sum: number };
  /** True if the scraper's time ended before the last sweep did. */
  readonly cutShort: boolean;
  /** The number of calls that the hypervisor has not answered; undefined: the driver does not know it. */
  readonly inFlightCalls: number | undefined;
  readonly reconnects: number;
  readonly droppedSamples: number;
}

/** The source of a family's samples. */
export type Source =
  /** One parameter of each domain. */
  | { readonly of: "domain"; readonly field: string; readonly unit: LibvirtUnit }
  /** One parameter of each part of each domain. */
  | { readonly of: PartName; readonly field: string; readonly unit: LibvirtUnit }
  /** Computed from each row. */
  | { readonly of: "row"; readonly write: (row: Row, add: AddSample) => void }
  /** Computed once for each page. */
  | { readonly of: "host"; readonly write: (host: Host, add: AddSample) => void };

/** A metric family: its name in Prometheus's text format, the source of its samples, and its meaning. */
export interface Family {
  /** The name of a counter ends in `_total`. */
  readonly name: string;
  readonly type: "counter" | "gauge" | "histogram";
  readonly source: Source;
  /** The dialect that has this family; undefined: both dialects have it. */
  readonly dialect?: Exclude<Dialect, "both">;
  readonly help: string;
}

/** Makes a family of type gauge whose samples are computed from each row. */
export function ofRow(
  name: string,
  help: string,
  write: (row: Row, add: AddSample) => void,
  dialect?: Family["dialect"],
): Family {
  return { name, type: "gauge", help, source: { of: "row", write }, ...(dialect && { dialect }) };
}

/** Makes a family whose samples are computed once for each page; by default of type gauge. */
export function ofHost(
  name: string,
  help: string,
  write: (host: Host, add: AddSample) => void,
  rest: Partial<Pick<Family, "type" | "dialect">> = {},
): Family {
  return { name, type: "gauge", help, source: { of: "host", write }, ...rest };
}

/** The groups of statistics from which the families are made. */
export const FAMILY_GROUPS: readonly KnownGroup[] = ["state", "cpu-total", "balloon", "vcpu", "interface", "block"];
