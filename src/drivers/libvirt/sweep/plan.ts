import { ALL_GROUPS, type Group, groupNames, MONITOR_FREE_GROUPS } from "../../../model/group.ts";
import { FILTER_MASK, type Query } from "../../../model/query.ts";
import type { CallKind } from "./line.ts";

/** The groups and flags of a statistics call. */
export interface Ask {
  readonly groups: number;
  readonly flags: number;
}

/** What a query means for the calls that answer it. */
export interface Plan {
  /** Whether a domain's first call can hang in its monitor. */
  readonly kind: CallKind;
  /** The filter bits, for the listing. */
  readonly filter: number;
  /** What a domain is asked first. */
  readonly first: Ask;
  /** What a late domain is asked instead; undefined where nothing that was asked for can be had without the monitor. */
  readonly rescue: Ask | undefined;
  /** The groups that were asked for; with none named, all that are known. */
  readonly groups: readonly Group[];
}

/** Plans the calls of a sweep. */
export function planOf({ groups, flags, domains }: Query): Plan {
  // No group named is every group, monitor and all. Care is due: a mask that comes out as 0 would mean the same.
  const wanted = groups === 0 ? ALL_GROUPS : groups;
  const free = wanted & MONITOR_FREE_GROUPS;
  const needing = (wanted & ~MONITOR_FREE_GROUPS) >>> 0;
  const filter = flags & FILTER_MASK;
  // A listed domain was chosen already; when it changes its state meanwhile, its record still has to come.
  const asked = domains === undefined ? (flags & ~FILTER_MASK) >>> 0 : flags;
  return {
    kind: needing === 0 ? "free" : "monitor",
    filter,
    first: { groups, flags: asked },
    rescue: needing === 0 || free === 0 ? undefined : { groups: free, flags: asked & FILTER_MASK },
    groups: groupNames(wanted),
  };
}
