import type { FaultLab } from "../../test/lab/fault-lab.ts";
import type { Peer } from "../../test/lab/peer.ts";

/** One line of the table: a fault, what it came to, and what it must come to. */
export interface FaultRow {
  readonly fault: string;
  readonly ours: string;
  /** What is promised; absent where a figure is only for information. */
  readonly must?: string;
  readonly met?: boolean;
  /** What the peers did in the same situation; those that were not asked are absent. */
  readonly peers?: Partial<Record<Peer, string>>;
}

/** How the faults are measured. */
export interface FaultOptions {
  /** Fewer rounds, shorter waits: to see that everything works. */
  readonly quick: boolean;
  /** How long a peer may take. */
  readonly peerLimitMs: number;
}

/** Measures one kind of fault on a lab of its own, whose guests all run at the beginning, and tells its progress on stderr. */
export type FaultBench = (lab: FaultLab, options: FaultOptions) => Promise<readonly FaultRow[]>;

/** A time as one reads it. */
export function formatMs(ms: number): string {
  if (Number.isNaN(ms)) return "never";
  return ms < 1_000 ? `${ms < 10 ? ms.toFixed(1) : ms.toFixed(0)} ms` : `${(ms / 1_000).toFixed(2)} s`;
}
