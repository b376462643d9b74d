import { getEventListeners } from "node:events";
import { setImmediate as turn } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import "../../src/drivers/builtin.ts";
import { connect } from "../../src/client/connect.ts";
import { Stream } from "../../src/client/stream.ts";
import { until } from "../until.ts";

/** Numbers in chunks, and what the source saw of its consumer. */
function numbers(chunks: readonly (readonly number[])[], end: "complete" | "fail" | "wait" = "complete") {
  const seen = { opened: 0, pulled: 0, signals: 0, returned: 0 };
  const stream = (signal?: AbortSignal) =>
    new Stream<number>((ended) => {
      seen.opened++;
      ended.addEventListener("abort", () => seen.signals++);
      return {
        [Symbol.asyncIterator]() {
          let at = 0;
          return {
            async next() {
              seen.pulled++;
              const chunk = chunks[at++];
              if (chunk !== undefined) return { done: false, value: chunk };
              if (end === "fail") throw new Error("the source failed");
              if (end === "wait") await new Promise(() => {});
              return { done: true, value: undefined };
            },
            async return() {
              seen.returned++;
              return { done: true, value: undefined };
            },
          };
        },
      };
    }, signal);
  return { stream, seen };
}

describe("a stream", () => {
  it("does nothing until it is consumed, and opens its source again with each consumption", async () => {
    const { stream, seen } = numbers([[1, 2], [3]]);
    const one = stream();
    expect(seen.opened).toBe(0);
    expect(await one.toArray()).toEqual([1, 2, 3]);
    expect(await one.toArray()).toEqual([1, 2, 3]);
    expect(seen.opened).toBe(2);
  });

  it("pulls the next chunk only when the one before is used up", async () => {
    const { stream, seen } = numbers([[1, 2], [3]], "wait");
    const iterator = stream()[Symbol.asyncIterator]();
    await iterator.next();
    await iterator.next();
    for (let i = 0; i < 10; i++) await turn();
    expect(seen.pulled).toBe(1);
    await iterator.next();
    expect(seen.pulled).toBe(2);
    await iterator.return?.();
  });

  it("answers calls of next that overlap in order", async () => {
    const { stream } = numbers([[1], [2, 3]]);
    const iterator = stream()[Symbol.asyncIterator]();
    const results = await Promise.all(Array.from({ length: 5 }, () => iterator.next()));
    expect(results.map((result) => (result.done ? "end" : result.value))).toEqual([1, 2, 3, "end", "end"]);
  });

  it("tells its source once when its consumer leaves, and the consumer need not wait for it", async () => {
    for (const leave of [
      async (stream: Stream<number>) => {
        for await (const _ of stream) break;
      },
      async (stream: Stream<number>) => {
        const subscription = stream.subscribe();
        await turn();
        subscription.unsubscribe();
      },
      async (stream: Stream<number>) => {
        const refuse = (): Promise<void> => Promise.reject(new Error("no more"));
        await expect(stream.forEach(refuse)).rejects.toThrow("no more");
      },
      async (stream: Stream<number>) => {
        const iterator = stream[Symbol.asyncIterator]();
        for (let i = 0; i < 3; i++) await iterator.next();
        void iterator.next();
        await turn();
        await iterator.return?.();
      },
    ]) {
      const { stream, seen } = numbers([[1, 2], [3]], "wait");
      await leave(stream());
      await until(() => seen.signals > 0);
      expect(seen).toMatchObject({ opened: 1, signals: 1, returned: 1 });
    }
  });

  it("fails with the reason of the signal, before the source was opened or in the middle of a pull", async () => {
    const { stream, seen } = numbers([[1]], "wait");
    const reason = new Error("that is enough");
    await expect(stream(AbortSignal.abort(reason)).toArray()).rejects.toBe(reason);
    expect(seen.opened).toBe(0);
    const abort = new AbortController();
    const pulling = stream(abort.signal).toArray();
    await until(() => seen.pulled === 2);
    abort.abort(reason);
    await expect(pulling).rejects.toBe(reason);
    const failed: unknown[] = [];
    stream(abort.signal).subscribe({ error: (error) => failed.push(error) });
    await until(() => failed.length > 0);
    expect(failed).toEqual([reason]);
    expect(seen).toMatchObject({ opened: 1, signals: 1, returned: 1 });
  });

  it("leaves nothing on a signal that outlives it, however it ends, also where its source cannot be opened", async () => {
    const { signal } = new AbortController();
    await numbers([[1]])
      .stream(signal)
      .toArray();
    await numbers([[1]], "fail")
      .stream(signal)
      .toArray()
      .catch(() => {});
    for await (const _ of numbers([[1], [2]]).stream(signal)) break;
    const closed = new Stream<number>(() => {
      throw new Error("closed");
    }, signal);
    await expect(closed.toArray()).rejects.toThrow("closed");
    await expect(closed.forEach(() => {})).rejects.toThrow("closed");
    closed.subscribe({ error: () => {} });
    expect(getEventListeners(signal, "abort")).toHaveLength(0);
  });

  it("shares one listener with all streams of its AbortSignal, so Node warns of no leak, and all of them end at an abort", async () => {
    const warnings: Error[] = [];
    const collect = (warning: Error): void => void warnings.push(warning);
    process.on("warning", collect);
    const abort = new AbortController();
    const connections = await Promise.all(
      Array.from({ length: 12 }, () => connect("test:///default?domains=2", { signal: abort.signal })),
    );
    const watches = connections.map((connection) => connection.watch({}, { signal: abort.signal }).forEach(() => {}));
    const sweeps = Array.from({ length: 12 }, () =>
      numbers([[1]], "wait")
        .stream(abort.signal)
        .toArray(),
    );
    await turn();
    expect(getEventListeners(abort.signal, "abort")).toHaveLength(1);
    const ended = Promise.allSettled(sweeps);
    abort.abort();
    await Promise.all(watches);
    expect((await ended).map(({ status }) => status)).toEqual(sweeps.map(() => "rejected"));
    for (const connection of connections) await connection.close();
    process.off("warning", collect);
    expect(warnings).toEqual([]);
    expect(getEventListeners(abort.signal, "abort")).toHaveLength(0);
  });

  it("refuses a pull of chunks before the one before has settled, which is answered all the same", async () => {
    const { stream } = numbers([[1, 2]]);
    const chunks = stream().chunks()[Symbol.asyncIterator]();
    const first = chunks.next();
    await expect(chunks.next()).rejects.toMatchObject({ code: "invalid-argument" });
    expect(await first).toEqual({ done: false, value: [1, 2] });
    expect(await chunks.next()).toEqual({ done: true, value: undefined });
  });

  it("hands an error of its source to every kind of consumer, after the items before it", async () => {
    const { stream } = numbers([[1, 2]], "fail");
    const items: number[] = [];
    await expect(stream().forEach((item) => void items.push(item))).rejects.toThrow("the source failed");
    await expect(stream().toArray()).rejects.toThrow("the source failed");
    const observed: unknown[] = [];
    stream().subscribe({ next: (item) => observed.push(item), error: (error: Error) => observed.push(error.message) });
    await until(() => observed.length === 3);
    expect([items, observed]).toEqual([
      [1, 2],
      [1, 2, "the source failed"],
    ]);
  });

  it("waits for a callback that returns a promise before it goes on", async () => {
    const { stream } = numbers([[1, 2], [3]]);
    const steps: string[] = [];
    await stream().forEach(async (item) => {
      steps.push(`begin ${item}`);
      await turn();
      steps.push(`end ${item}`);
    });
    expect(steps).toEqual(["begin 1", "end 1", "begin 2", "end 2", "begin 3", "end 3"]);
  });
});
