import type { SweepContext } from "../driver/driver.ts";
import { Queue } from "../driver/queue.ts";
import { VirstreamError } from "../model/error.ts";
import type { Query } from "../model/query.ts";
import type { DomainStatsRecord } from "../model/record.ts";
import { isFaultOfQuery, type Member } from "./member.ts";
import type { Ownership } from "./ownership.ts";

/**
 * A function that calls `fail` with the reason when the aggregate is closed, or at once when it is closed already. It
 * returns a function that removes this callback. This is not an AbortSignal, because Node warns of a leak when a signal
 * has more than ten listeners.
 */
export type WhenClosed = (fail: (reason: unknown) => void) => () => void;

/** The inputs of a sweep of several hosts. */
export interface AggregateSweepOptions {
  readonly members: readonly Member[];
  readonly query: Query;
  readonly context: SweepContext;
  readonly ownership: Ownership;
  readonly whenClosed: WhenClosed;
}

/** One part of a host's answer to a sweep: a chunk of the host's records, or the end. */
export interface Answer {
  readonly member: Member;
  readonly records: readonly DomainStatsRecord[];
  /** True if this is the last part. */
  readonly ended: boolean;
  /** In the last part: the error if the host could not be reached. */
  readonly unreachable: VirstreamError | undefined;
}

/**
 * Sweeps all hosts at the same time. A host that cannot be reached also yields an answer, with its error. An error that
 * the query causes fails the sweep.
 *
 * @param expect called with the number of domains of each host that reports this number
 */
export function answersOf(
  { members, query, context, whenClosed }: AggregateSweepOptions,
  expect: (member: Member, domains: number) => void,
): AsyncGenerator<Answer, void, void> {
  async function* ask(member: Member, signal: AbortSignal): AsyncGenerator<Answer, void, void> {
    let unreachable: VirstreamError | undefined;
    try {
      const records = member.sweep(member.queryFor(query), {
        ...context,
        signal,
        expect: (domains) => expect(member, domains),
      });
      for await (const chunk of records) yield { member, records: chunk, ended: false, unreachable };
    } catch (thrown) {
      unreachable = VirstreamError.from(thrown);
      if (isFaultOfQuery(unreachable) && !signal.aborted) throw unreachable;
    }
    if (!signal.aborted) yield { member, records: [], ended: true, unreachable };
  }
  const sources = members.map((member) => (ended: AbortSignal) => ask(member, ended));
  return merge(sources, context.signal, whenClosed);
}

/**
 * Joins several streams to one, in the order in which their items are ready: a silent source does not delay the others.
 * A source is pulled again when the consumer is done with the source's last item, so back pressure reaches every
 * source. The merge begins with the first pull. It ends when all sources have ended, or with the error of one source.
 *
 * @param sources each gets a signal of its own that is aborted when the merge ends, for whatever reason
 * @param signal when it is aborted, the merge ends as if the consumer had left
 * @param whenClosed makes the merge fail when the aggregate is closed
 */
export async function* merge<T>(
  sources: readonly ((ended: AbortSignal) => AsyncIterable<T>)[],
  signal: AbortSignal,
  whenClosed: WhenClosed,
): AsyncGenerator<T, void, void> {
  if (signal.aborted) return;
  const queue = new Queue<T>();
  const aborts = sources.map(() => new AbortController());
  const abort = (): void => {
    for (const each of aborts) each.abort();
  };
  const fail = (error: unknown): void => {
    queue.end(error);
    abort();
  };
  const leave = (): void => {
    void queue.return();
    abort();
  };
  signal.addEventListener("abort", leave);
  const unlisten = whenClosed(fail);
  const begin = queue.ended ? [] : sources;
  const open = new Set(begin.map((source, i) => source(aborts[i]!.signal)[Symbol.asyncIterator]()));
  const pull = (source: AsyncIterator<T>): void => {
    source.next().then(
      (result) => {
        if (!result.done) queue.pushChunk([result.value], () => pull(source));
        else if (open.delete(source) && open.size === 0) queue.end();
      },
      (error: unknown) => {
        open.delete(source);
        fail(error);
      },
    );
  };
  try {
    for (const source of open) pull(source);
    if (open.size === 0) queue.end();
    for await (const items of queue) yield* items;
  } finally {
    signal.removeEventListener("abort", leave);
    unlisten();
    abort();
    // Not awaited, because the signal already makes a source give up.
    for (const source of open) source.return?.().then(undefined, () => {});
  }
}
