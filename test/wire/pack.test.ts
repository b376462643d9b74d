import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { packOnce, recycle } from "../../src/wire/pack.ts";
import { unpack } from "../../src/wire/unpack.ts";

describe("the buffer of a message that was sent", () => {
  it("is used again for messages of about its size, and never while a message needs it", () => {
    let again = 0;
    const size = fc.oneof(fc.integer({ min: 0, max: 300 }), fc.integer({ min: 0, max: 90_000 }));
    const step = fc.record({ size, fill: fc.integer({ min: 0, max: 255 }), send: fc.boolean() });
    const property = fc.property(fc.array(step, { minLength: 20, maxLength: 60 }), (steps) => {
      const queued: { message: Uint8Array; content: Buffer }[] = [];
      const sent = new Set<ArrayBufferLike>();
      for (const { size, fill, send } of steps) {
        const content = Buffer.alloc(size, fill);
        const message = packOnce(content);
        if (sent.delete(message.buffer)) again++;
        // A message that waits in a client's queue needs little more memory than its bytes, which the limits count.
        expect(message.buffer.byteLength - message.length).toBeLessThan(Math.max(128, message.length / 8));
        queued.push({ message, content });
        if (!send) continue;
        const done = queued.shift()!;
        expect(done.content.equals(unpack(done.message) as Uint8Array)).toBe(true);
        recycle(done.message);
        sent.add(done.message.buffer);
      }
      for (const { message, content } of queued) expect(content.equals(unpack(message) as Uint8Array)).toBe(true);
    });
    fc.assert(property);
    expect(again).toBeGreaterThan(100);
  });

  it("is kept beside at most 1 MiB of others", () => {
    const messages = Array.from({ length: 200 }, () => packOnce(Buffer.alloc(10_000)));
    const buffers = new Set(messages.map(({ buffer }) => buffer));
    messages.forEach(recycle);
    let kept = 0;
    for (const { length } of messages) {
      const { buffer } = packOnce(Buffer.alloc(length - 10));
      if (buffers.has(buffer)) kept += buffer.byteLength;
    }
    expect(kept).toBeGreaterThan(0);
    expect(kept).toBeLessThanOrEqual(1_048_576);
  });
});
