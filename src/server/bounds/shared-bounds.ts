import type { ChannelMemory } from "../channel.ts";
import type { ServerLimits } from "../limits.ts";
import { Quota } from "./quota.ts";
import { SharedMemory } from "./shared-memory.ts";
import { SweepPace } from "./sweep-pace.ts";

/** The resources that all clients of a server share, each with a limit. */
export interface SharedBounds {
  /** The domains that the clients' sweeps and watches name. */
  readonly selectors: Quota;
  readonly sweeps: Quota;
  readonly channels: Quota;
  readonly pace: SweepPace;
  readonly memory: ChannelMemory;
}

export function sharedBounds(limits: ServerLimits): SharedBounds {
  const { selectors, sweeps, channels, sweepsPerSecond, ringBytes, snapshotRecords } = limits;
  const all = "all clients together may";
  return {
    selectors: new Quota(selectors, `${all} name at most ${selectors} domains at a time: query all domains`),
    sweeps: new Quota(sweeps, `${all} have at most ${sweeps} sweeps at a time: try again later`),
    channels: new Quota(
      channels,
      `${all} watch in at most ${channels} ways at a time: use the query, the interval and the mode that others use`,
    ),
    pace: new SweepPace(sweepsPerSecond),
    memory: { rings: new SharedMemory(ringBytes), snapshots: new SharedMemory(snapshotRecords) },
  };
}
