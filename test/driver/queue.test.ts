import { describe, expect, it } from "vitest";
import { Queue } from "../../src/driver/queue.ts";
import { turn } from "../drivers/simulated/manual-clock.ts";

async function pull(queue: Queue<number>): Promise<readonly number[] | "end"> {
  const { done, value } = await queue.next();
  return done ? "end" : value;
}

describe("A queue between a source and a consumer", () => {
  it("hands out single items together, as many as wait", async () => {
    const queue = new Queue<number>();
    for (const item of [1, 2, 3]) queue.push(item);
    expect(queue.length).toBe(3);
    expect(await pull(queue)).toEqual([1, 2, 3]);
    expect(queue.length).toBe(0);
    const waiting = pull(queue);
    queue.push(4);
    queue.push(5);
    expect(await waiting).toEqual([4, 5]);
  });

  it("hands out chunks as they came, and keeps the order of chunks and single items", async () => {
    const queue = new Queue<number>();
    const release = () => {};
    queue.push(1);
    queue.pushChunk([2, 3], release);
    queue.pushChunk([4], release);
    queue.push(5);
    queue.push(6);
    expect(queue.length).toBe(6);
    const chunks = [];
    for (let i = 0; i < 4; i++) chunks.push(await pull(queue));
    expect(chunks).toEqual([[1], [2, 3], [4], [5, 6]]);
  });

  it("does not change a chunk that it has handed out", async () => {
    const queue = new Queue<number>();
    queue.push(1);
    const chunk = await pull(queue);
    queue.push(2);
    expect(chunk).toEqual([1]);
  });

  it("releases a chunk when the consumer pulls the next one, and not before", async () => {
    const queue = new Queue<number>();
    const released: string[] = [];
    queue.pushChunk([1], () => released.push("first"));
    queue.pushChunk([2], () => released.push("second"));
    await pull(queue);
    await turn();
    expect(released).toEqual([]);
    await pull(queue);
    expect(released).toEqual(["first"]);
    queue.end();
    expect(await pull(queue)).toBe("end");
    expect(released).toEqual(["first", "second"]);
  });

  it("tells its owner of each pull that took items, after that pull", async () => {
    const queue = new Queue<number>();
    const taken: number[] = [];
    queue.onTaken = () => taken.push(queue.length);
    queue.push(1);
    await pull(queue);
    const waiting = pull(queue);
    await turn();
    expect(taken).toEqual([0]);
    queue.push(2);
    await waiting;
    await turn();
    expect(taken).toEqual([0, 0]);
  });

  it("hands out what waits before its end, then the error once, and drops what comes after it", async () => {
    const queue = new Queue<number>();
    queue.push(1);
    queue.end(new Error("broken"));
    queue.end(new Error("later"));
    queue.push(2);
    queue.pushChunk([3], () => {});
    expect(await pull(queue)).toEqual([1]);
    await expect(queue.next()).rejects.toThrow("broken");
    expect(await pull(queue)).toBe("end");
  });

  it("wakes a consumer that waits with its end", async () => {
    const [ended, failed] = [new Queue<number>(), new Queue<number>()];
    const waiting = [pull(ended), pull(failed).catch((error: Error) => error.message)];
    ended.end();
    failed.end(new Error("broken"));
    expect(await Promise.all(waiting)).toEqual(["end", "broken"]);
  });

  it("forgets everything when its consumer leaves, and tells its owner once", async () => {
    const queue = new Queue<number>();
    let left = 0;
    let released = 0;
    queue.onReturn = () => left++;
    for (let i = 0; i < 2; i++) queue.pushChunk([i], () => released++);
    for await (const _chunk of queue) break;
    await queue.return();
    queue.push(7);
    queue.end(new Error("broken"));
    expect([left, released, queue.length, queue.ended, await pull(queue)]).toEqual([1, 0, 0, true, "end"]);
  });

  it("does not tell its owner that the consumer left when it had ended before", async () => {
    const queue = new Queue<number>();
    let left = 0;
    queue.onReturn = () => left++;
    queue.push(1);
    queue.end(new Error("broken"));
    await queue.return();
    expect([left, await pull(queue)]).toEqual([0, "end"]);
  });
});
