import type { HostVersions } from "../../driver/driver.ts";
import type { StoragePool } from "../../driver/storage-pools.ts";
import type { KnownGroup } from "../../model/group.ts";
import type { PartName } from "./record-layout.ts";
import type { Row } from "./row.ts";

/** The exporters whose names are used where the two differ. */
export const DIALECTS = ["tinkoff", "inovex", "both"] as const;
/** One of them. */
export type Dialect = (typeof DIALECTS)[number];

/** Units of libvirt's values: Prometheus has seconds in place of ns, and bytes in place of KiB. */
export type LibvirtUnit = "ns" | "KiB" | "";

/** Takes a sample. `labels` is the text between the braces, made by `labelText`. An undefined value has no sample. */
export type AddSample = (labels: string, value: number | undefined, suffix?: string) => void;

/** What the families that are about no single domain are made from. */
export interface Host {
  readonly rows: readonly Row[];
  /** Each host, and whether it can be reached. */
  readonly hosts: readonly { readonly name: string; readonly up: boolean }[];
  /** True if the series have the label `host`. */
  readonly several: boolean;
  /** The versions of each host's software, as far as they are known. */
  readonly versions?: readonly HostVersions[];
  /** The storage pools of the hosts that can be reached, if they were asked for. */
  readonly pools?: readonly StoragePool[];
  /** Figures of the exporter itself; undefined: it has no life of its own, as with `virstream get`. */
  readonly self: SelfFigures | undefined;
}

/** Figures of the exporter itself. */
export interface SelfFigures {
  /** Seconds that sweeps took. */
  readonly durations: { readonly buckets: ReadonlyMap<number, number>; readonly count: number; readonly sum: number };
  /** True if the scraper's time ended before the last sweep did. */
  readonly cutShort: boolean;
  /** Calls that the hypervisor has not answered; undefined: the driver does not know. */
  readonly inFlightCalls: number | undefined;
  readonly reconnects: number;
  readonly droppedSamples: number;
}

/** Where the samples of a family come from. */
export type Source =
  /** One parameter of each domain. */
  | { readonly of: "domain"; readonly field: string; readonly unit: LibvirtUnit }
  /** One parameter of each of a domain's parts. */
  | { readonly of: PartName; readonly field: string; readonly unit: LibvirtUnit }
  /** Computed from each row. */
  | { readonly of: "row"; readonly write: (row: Row, add: AddSample) => void }
  /** Computed once. */
  | { readonly of: "host"; readonly write: (host: Host, add: AddSample) => void };

/** A metric family: its name as in Prometheus's text format, where it comes from, and what it means. */
export interface Family {
  /** A counter's ends in `_total`. */
  readonly name: string;
  readonly type: "counter" | "gauge" | "histogram";
  readonly source: Source;
  /** The dialect that has it; undefined: each of them. */
  readonly dialect?: Exclude<Dialect, "both">;
  readonly help: string;
}

/** The groups of statistics that the families are made from. */
export const FAMILY_GROUPS: readonly KnownGroup[] = ["state", "cpu-total", "balloon", "vcpu", "interface", "block"];
