import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Coalescer, CreditAccount, CreditMeter } from "../../src/wire/flow-control.ts";
import { LIMITS } from "../../src/wire/protocol.ts";

describe("credit", () => {
  it("keeps what is under way within the window and one message, and never stalls", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 100_000 }),
        fc.array(fc.integer({ min: 1, max: 300_000 }), { minLength: 1, maxLength: 200 }),
        fc.infiniteStream(fc.boolean()),
        (window, messages, sendFirst) => {
          const account = new CreditAccount(window);
          const meter = new CreditMeter(window);
          const underWay: number[] = [];
          let sent = 0;
          let consumed = 0;
          while (consumed < messages.length) {
            const canSend = account.open && sent < messages.length;
            // With nothing under way and no credit, everything would stand still for ever.
            expect(canSend || underWay.length > 0).toBe(true);
            if (canSend && (underWay.length === 0 || sendFirst.next().value)) {
              const size = messages[sent++]!;
              account.spend(size);
              underWay.push(size);
              const largest = Math.max(...underWay);
              expect(underWay.reduce((sum, bytes) => sum + bytes, 0)).toBeLessThanOrEqual(window + largest);
            } else {
              consumed++;
              const grant = meter.consume(underWay.shift()!);
              if (grant > 0) account.grant(grant);
            }
          }
        },
      ),
    );
  });

  it("refuses what is no credit, and more than may ever be outstanding", () => {
    for (const bytes of [0, -1, 1.5, Number.NaN, LIMITS.credit + 1]) {
      expect(() => new CreditAccount(bytes)).toThrow(expect.objectContaining({ code: "protocol-error" }));
    }
    const account = new CreditAccount(LIMITS.credit);
    expect(() => account.grant(1)).toThrow(/is not allowed/);
  });
});

describe("coalescing", () => {
  /** Runs records of given sizes, at given times, through the coalescer; gives when each message left, and its size. */
  function simulate(
    arrivals: readonly (readonly [gap: number, bytes: number])[],
  ): { at: number; bytes: number; waited: number }[] {
    let now = 0;
    const coalescer = new Coalescer(() => now);
    const messages: { at: number; bytes: number; waited: number }[] = [];
    let pending = 0;
    let oldest = 0;
    const flush = (): void => {
      messages.push({ at: now, bytes: pending, waited: now - oldest });
      coalescer.flushed();
      pending = 0;
    };
    for (const [gap, bytes] of arrivals) {
      const arrival = now + gap;
      if (pending > 0 && now + coalescer.wait(pending) <= arrival) {
        now += Math.max(0, coalescer.wait(pending));
        flush();
      }
      now = arrival;
      if (pending === 0) oldest = now;
      pending += bytes;
      if (coalescer.wait(pending) <= 0) flush();
    }
    if (pending > 0) {
      now += Math.max(0, coalescer.wait(pending));
      flush();
    }
    return messages;
  }

  const arrivals = fc.array(fc.tuple(fc.integer({ min: 0, max: 20 }), fc.integer({ min: 1, max: 30_000 })), {
    minLength: 1,
    maxLength: 200,
  });

  it("lets the first record leave at once, and no record wait longer than the interval", () => {
    fc.assert(
      fc.property(arrivals, (given) => {
        const messages = simulate(given);
        expect(messages[0]).toEqual({ at: given[0]![0], bytes: given[0]![1], waited: 0 });
        for (const message of messages) expect(message.waited).toBeLessThanOrEqual(Coalescer.INTERVAL_MS);
        expect(messages.reduce((sum, message) => sum + message.bytes, 0)).toBe(
          given.reduce((sum, [, bytes]) => sum + bytes, 0),
        );
      }),
    );
  });

  it("sends a message that is not full at most once an interval", () => {
    fc.assert(
      fc.property(arrivals, (given) => {
        const messages = simulate(given);
        for (let i = 1; i < messages.length; i++) {
          const full = messages[i]!.bytes >= Coalescer.FULL;
          if (!full) expect(messages[i]!.at - messages[i - 1]!.at).toBeGreaterThanOrEqual(Coalescer.INTERVAL_MS);
        }
      }),
    );
  });
});
