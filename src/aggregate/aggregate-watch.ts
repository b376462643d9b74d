import type { Clock } from "../driver/clock.ts";
import type { Query } from "../model/query.ts";
import type { Cadence, WatchEvent } from "../model/watch.ts";
import type { Adoption } from "./adoption.ts";
import { HostWatch } from "./host-watch.ts";
import type { Member } from "./member.ts";
import { Merge } from "./merge.ts";
import { NamedWatch } from "./named-watch.ts";

/** What a watch of all hosts depends on. */
export interface AggregateWatchOptions {
  readonly members: readonly Member[];
  readonly query: Query;
  readonly cadence: Cadence;
  /** Aborted at its end. */
  readonly signal: AbortSignal;
  readonly adoption: Adoption;
  readonly clock: Clock;
}

/**
 * The watches of all hosts as one: events as they come, in each host's own order, with a sync for each host. It fails only
 * when every host that is there refuses what is asked.
 */
export function aggregateWatch({
  members,
  query,
  adoption,
  ...rest
}: AggregateWatchOptions): Merge<readonly WatchEvent[]> {
  const refused = new Set<Member>();
  const named = query.domains === undefined ? undefined : new NamedWatch(members, query, adoption);
  const merge: Merge<readonly WatchEvent[]> = new Merge(
    members.map((member) => {
      const watch = new HostWatch({
        ...rest,
        member,
        query,
        adoption,
        refused: (error) => {
          refused.add(member);
          if (members.every((each) => each.driver === undefined || refused.has(each))) merge.fail(error);
        },
      });
      return named === undefined ? watch.events() : filtered(named, member, watch.events());
    }),
  );
  return merge;
}

async function* filtered(
  named: NamedWatch,
  member: Member,
  chunks: AsyncIterable<readonly WatchEvent[]>,
): AsyncGenerator<readonly WatchEvent[], void, void> {
  for await (const events of chunks) {
    const left = named.filter(member, events);
    if (left.length > 0) yield left;
  }
}
