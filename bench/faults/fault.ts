import type { FaultLab } from "../../test/lab/fault-lab.ts";
import type { Peer } from "../../test/lab/peer.ts";

/** One line of the table of results: a fault, what was measured, and what virstream promises for this fault. */
export interface FaultRow {
  readonly fault: string;
  readonly ours: string;
  /** What virstream promises; absent if the figure is only for information. */
  readonly must?: string;
  readonly met?: boolean;
  /** The figures of the peers in the same situation; peers that did not run are absent. */
  readonly peers?: Partial<Record<Peer, string>>;
}

/** The options of a measurement. */
export interface FaultOptions {
  /** Fewer rounds and shorter waits, to check that the benchmark works. */
  readonly quick: boolean;
  /** The timeout of a peer's call, in ms. */
  readonly peerLimitMs: number;
}

/** Measures one kind of fault in its own lab, in which all guests run at the start, and prints its progress to stderr. */
export type FaultBench = (lab: FaultLab, options: FaultOptions) => Promise<readonly FaultRow[]>;

/** Writes a duration in readable form. */
export function formatMs(ms: number): string {
  if (Number.isNaN(ms)) return "never";
  return ms < 1_000 ? `${ms < 10 ? ms.toFixed(1) : ms.toFixed(0)} ms` : `${(ms / 1_000).toFixed(2)} s`;
}
