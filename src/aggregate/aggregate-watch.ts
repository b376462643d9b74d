import type { Clock } from "../driver/clock.ts";
import type { VirstreamError } from "../model/error.ts";
import type { Query } from "../model/query.ts";
import type { Cadence, WatchSink } from "../model/watch.ts";
import { HostWatch } from "./host-watch.ts";
import type { Member } from "./member.ts";
import { NamedWatch } from "./named-watch.ts";
import type { Ownership } from "./ownership.ts";

/** What a watch of all hosts depends on. */
export interface AggregateWatchOptions {
  readonly members: readonly Member[];
  readonly query: Query;
  readonly cadence: Cadence;
  readonly ownership: Ownership;
  readonly clock: Clock;
  readonly sink: WatchSink;
  /** Called once at its end. */
  readonly over: () => void;
}

/**
 * The watches of all hosts as one: events as they come, in each host's own order, with a sync for each host. It fails only
 * when every host that is there refuses the query.
 */
export class AggregateWatch {
  readonly #abort = new AbortController();
  readonly #options: AggregateWatchOptions;
  readonly #watches: readonly HostWatch[];
  readonly #refused = new Set<Member>();

  constructor(options: AggregateWatchOptions) {
    const { members, query, cadence, ownership, clock, sink } = options;
    this.#options = options;
    const named = query.domains === undefined ? undefined : new NamedWatch(members, query, ownership, sink);
    this.#watches = members.map(
      (member) =>
        new HostWatch({
          ...{ member, query, cadence, ownership, clock },
          signal: this.#abort.signal,
          sink: named?.sinkOf(member) ?? sink,
          refused: (error) => this.#refuse(member, error),
        }),
    );
  }

  start(): void {
    for (const watch of this.#watches) void watch.run();
  }

  /** Ends it without a word. Safe to call twice. */
  stop(): void {
    if (this.#abort.signal.aborted) return;
    this.#abort.abort();
    for (const watch of this.#watches) watch.stop();
    this.#options.over();
  }

  /** Ends it with an error. */
  end(error: VirstreamError): void {
    if (this.#abort.signal.aborted) return;
    this.stop();
    this.#options.sink.end(error);
  }

  #refuse(member: Member, error: VirstreamError): void {
    this.#refused.add(member);
    const { members } = this.#options;
    if (members.every((each) => each.driver === undefined || this.#refused.has(each))) this.end(error);
  }
}
