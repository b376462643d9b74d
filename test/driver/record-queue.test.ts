import { describe, expect, it } from "vitest";
import { RecordQueue } from "../../src/driver/record-queue.ts";
import { sample } from "../sampling/sample.ts";

const record = sample();

/** A queue, and how often it said that its consumer took records or left. */
function setUp() {
  const queue = new RecordQueue();
  const heard = { taken: 0, returned: 0 };
  queue.onTaken = () => heard.taken++;
  queue.onReturn = () => heard.returned++;
  return { queue, heard };
}

describe("A queue of records", () => {
  it("hands out what was put in before its end, then the end or the error, and nothing that comes later", async () => {
    const failure = new Error("broken");
    for (const error of [undefined, failure]) {
      const { queue, heard } = setUp();
      queue.push(record);
      if (error === undefined) queue.end();
      else queue.fail(error);
      queue.push(record);
      expect(await queue.next()).toEqual({ done: false, value: [record] });
      if (error !== undefined) await expect(queue.next()).rejects.toBe(failure);
      expect(await queue.next()).toEqual({ done: true, value: undefined });
      await queue.return();
      expect(heard).toEqual({ taken: 1, returned: 0 });
    }
  });

  it("says once that its consumer has left, and drops what waits and what comes", async () => {
    const { queue, heard } = setUp();
    queue.push(record);
    await queue.return();
    await queue.return();
    queue.push(record);
    queue.fail(new Error("broken"));
    expect([queue.length, heard.returned]).toEqual([0, 1]);
    expect(await queue.next()).toEqual({ done: true, value: undefined });
  });

  it("answers a pull that waits with what is put in, and with the end", async () => {
    const { queue } = setUp();
    const first = queue.next();
    queue.push(record);
    expect(await first).toEqual({ done: false, value: [record] });
    const second = queue.next();
    queue.end();
    expect(await second).toEqual({ done: true, value: undefined });
  });
});
