import { getEventListeners } from "node:events";
import { describe, expect, it } from "vitest";
import { merge as mergeOf } from "../../src/aggregate/answers.ts";
import { turn } from "../drivers/simulated/manual-clock.ts";

/** A source that is fed by hand, and counts its pulls. */
class Source implements AsyncIterableIterator<string> {
  pulls = 0;
  returned = 0;
  #waiting: { resolve(result: IteratorResult<string>): void; reject(error: unknown): void } | undefined;

  next(): Promise<IteratorResult<string>> {
    this.pulls++;
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject };
    });
  }

  give(value: string): void {
    this.#waiting!.resolve({ done: false, value });
  }

  end(): void {
    this.#waiting!.resolve({ done: true, value: undefined });
  }

  fail(error: unknown): void {
    this.#waiting!.reject(error);
  }

  async return(): Promise<IteratorResult<string>> {
    this.returned++;
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}

function merged(count: number) {
  const sources = Array.from({ length: count }, () => new Source());
  const [signal, closed] = [new AbortController(), new AbortController()];
  const signals: AbortSignal[] = [];
  const begin = sources.map((source) => (ended: AbortSignal) => {
    signals.push(ended);
    return source;
  });
  const merge = mergeOf<string>(begin, signal.signal, (fail) => {
    const onClosed = () => fail(closed.signal.reason);
    if (closed.signal.aborted) onClosed();
    closed.signal.addEventListener("abort", onClosed);
    return () => closed.signal.removeEventListener("abort", onClosed);
  });
  const listeners = () => [signal, closed].flatMap(({ signal }) => getEventListeners(signal, "abort"));
  return { sources, merge, signal, closed, ended: () => signals.map(({ aborted }) => aborted), listeners };
}

describe("A merge", () => {
  it("pulls nothing before it is pulled itself, and then all sources", async () => {
    const { sources, merge } = merged(3);
    await turn();
    expect(sources.map(({ pulls }) => pulls)).toEqual([0, 0, 0]);
    const next = merge.next();
    expect(sources.map(({ pulls }) => pulls)).toEqual([1, 1, 1]);
    sources[2]!.give("c");
    expect((await next).value).toBe("c");
    await merge.return();
  });

  it("hands out what is ready while other sources are silent", async () => {
    const { sources, merge } = merged(2);
    for (const item of ["1", "2", "3"]) {
      const next = merge.next();
      await turn();
      sources[1]!.give(item);
      expect((await next).value).toBe(item);
    }
    expect(sources[0]!.pulls).toBe(1);
    await merge.return();
  });

  it("lets each source be one item ahead of its consumer, and no more", async () => {
    const { sources, merge } = merged(2);
    const first = merge.next();
    sources[0]!.give("a");
    sources[1]!.give("x");
    await first;
    await turn();
    // The consumer has the item of one, and that of the other still waits.
    expect(sources.map(({ pulls }) => pulls)).toEqual([1, 1]);
    expect((await merge.next()).value).toBe("x");
    expect(sources.map(({ pulls }) => pulls)).toEqual([2, 1]);
    await merge.return();
  });

  it("ends when its last source has ended", async () => {
    const { sources, merge, ended, listeners } = merged(2);
    const next = merge.next();
    sources[0]!.end();
    await turn();
    sources[1]!.end();
    expect(await next).toEqual({ done: true, value: undefined });
    expect(await merge.next()).toEqual({ done: true, value: undefined });
    expect([ended(), listeners()]).toEqual([[true, true], []]);
  });

  it("hands out what is ready before the error of a source, and lets the other sources go", async () => {
    const { sources, merge, ended } = merged(3);
    const first = merge.next();
    sources[0]!.give("a");
    sources[1]!.give("b");
    sources[2]!.fail(new Error("broken"));
    expect((await first).value).toBe("a");
    expect((await merge.next()).value).toBe("b");
    await expect(merge.next()).rejects.toThrow("broken");
    expect(await merge.next()).toEqual({ done: true, value: undefined });
    expect([ended(), sources.map(({ returned }) => returned)]).toEqual([
      [true, true, true],
      [1, 1, 0],
    ]);
  });

  it("lets its sources go once when its consumer leaves, also while it waits for them", async () => {
    const { sources, merge, signal } = merged(2);
    const next = merge.next();
    signal.abort();
    await merge.return();
    await merge.return();
    expect(await next).toEqual({ done: true, value: undefined });
    expect(sources.map(({ returned }) => returned)).toEqual([1, 1]);
  });

  it("lets its sources go when its signal is aborted, and begins nothing when that was before", async () => {
    const { sources, merge, signal, ended, listeners } = merged(2);
    const next = merge.next();
    sources[0]!.give("a");
    await next;
    signal.abort();
    expect(await merge.next()).toEqual({ done: true, value: undefined });
    expect([ended(), listeners(), ...sources.map(({ returned }) => returned)]).toEqual([[true, true], [], 1, 1]);
    const late = merged(1);
    late.signal.abort();
    expect(await late.merge.next()).toEqual({ done: true, value: undefined });
    expect([late.ended(), late.sources[0]!.pulls]).toEqual([[], 0]);
  });

  it("is failed from outside while it waits, and before", async () => {
    const { sources, merge, closed, listeners } = merged(1);
    const next = merge.next();
    closed.abort(new Error("closed"));
    await expect(next).rejects.toThrow("closed");
    expect([listeners(), sources[0]!.returned]).toEqual([[], 1]);
    const late = merged(1);
    late.closed.abort(new Error("closed"));
    await expect(late.merge.next()).rejects.toThrow("closed");
  });
});
