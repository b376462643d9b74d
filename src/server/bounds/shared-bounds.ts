import type { ChannelMemory } from "../channel.ts";
import type { ServerLimits } from "../limits.ts";
import { Quota } from "./quota.ts";
import { SharedMemory } from "./shared-memory.ts";
import { SweepPace } from "./sweep-pace.ts";

/** The resources that all clients of a server share, each with a limit. */
export interface SharedBounds {
  /** Counts the domains that the clients' sweeps and watches name. */
  readonly selectors: Quota;
  readonly sweeps: Quota;
  readonly channels: Quota;
  readonly pace: SweepPace;
  readonly memory: ChannelMemory;
}

/** @param limits the limits may change, so each limit is read whenever it is needed */
export function sharedBounds(limits: ServerLimits): SharedBounds {
  const all = "all clients together may";
  return {
    selectors: new Quota(
      () => limits.selectors,
      (most) => `${all} name at most ${most} domains at a time: query all domains`,
    ),
    sweeps: new Quota(
      () => limits.sweeps,
      (most) => `${all} have at most ${most} sweeps at a time: try again later`,
    ),
    channels: new Quota(
      () => limits.channels,
      (most) =>
        `${all} watch in at most ${most} ways at a time: use the query, the interval and the mode that others use`,
    ),
    pace: new SweepPace(() => limits.sweepsPerSecond),
    memory: {
      rings: new SharedMemory(() => limits.ringBytes),
      snapshots: new SharedMemory(() => limits.snapshotRecords),
    },
  };
}
