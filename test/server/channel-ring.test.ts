import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { SharedMemory } from "../../src/server/bounds/shared-memory.ts";
import { ChannelRing } from "../../src/server/channel-ring.ts";
import type { ChannelMessage } from "../../src/wire/channel-encoder.ts";

const MAX_TICKS = 8;
const MAX_BYTES = 8 * 1024 * 1024;
const LARGE_TICKS = 3;
const MAX_LARGE_BYTES = 64 * 1024 * 1024;

/** A message that says it has so many bytes, and has none. */
function message(sequence: number, size: number, tick: number | undefined): ChannelMessage {
  return { sequence, messages: [], bytes: size, size, schemas: [], tick };
}

const sizes = fc.oneof(fc.integer({ min: 1, max: 70_000 }), fc.integer({ min: 1, max: 2 * MAX_BYTES }));
const histories = fc.array(fc.record({ size: sizes, ends: fc.boolean() }), { maxLength: 60 });

describe("a channel's ring", () => {
  it("keeps exactly the newest messages that fit 8 ticks of each host and 8 MiB, or 3 ticks of each like the last ones, and knows how much came since each", () => {
    fc.assert(
      fc.property(histories, fc.integer({ min: 1, max: 4 }), (history, hosts) => {
        const ring = new ChannelRing(new SharedMemory(() => 2 ** 40));
        const made: ChannelMessage[] = [];
        let tick = 0;
        let tickBytes = 0;
        const ticks: number[] = [];
        let limit = MAX_BYTES;
        let oldest = 1;
        for (const { size, ends } of history) {
          made.push(message(made.length + 1, size, ends ? ++tick : undefined));
          ring.push(made.at(-1)!, hosts);
          tickBytes += size;
          if (ends) {
            ticks.push(tickBytes);
            tickBytes = 0;
            const round = ticks.slice(-hosts).reduce((sum, bytes) => sum + bytes, 0);
            limit = Math.max(MAX_BYTES, Math.min(MAX_LARGE_BYTES, LARGE_TICKS * round));
          }
          const since = (sequence: number) => {
            const rest = made.slice(sequence - 1);
            return {
              bytes: rest.reduce((sum, each) => sum + each.size, 0),
              ticks: rest.filter((each) => each.tick !== undefined).length,
            };
          };
          while (since(oldest).bytes > limit || since(oldest).ticks > MAX_TICKS * hosts) oldest++;
          for (const { sequence } of made) {
            if (sequence >= oldest) {
              expect(ring.get(sequence)).toBe(made[sequence - 1]);
              expect(ring.since(sequence)).toEqual(since(sequence));
            } else {
              expect(ring.get(sequence)).toBeUndefined();
            }
          }
          expect(ring.size).toBeLessThanOrEqual(MAX_LARGE_BYTES);
          expect(ring.get(0)).toBeUndefined();
          expect(ring.get(made.length + 1)).toBeUndefined();
          expect(ring.since(made.length + 1)).toEqual({ bytes: 0, ticks: 0 });
        }
      }),
    );
  });

  it("keeps nothing when one message alone is larger than all that it may hold, and goes on with the next", () => {
    const ring = new ChannelRing(new SharedMemory(() => 2 ** 40));
    ring.push(message(1, 10, undefined));
    ring.push(message(2, MAX_BYTES + 1, undefined));
    expect([ring.size, ring.get(1), ring.get(2)]).toEqual([0, undefined, undefined]);
    const next = message(3, 20, undefined);
    ring.push(next);
    expect([ring.size, ring.get(3), ring.since(3)]).toEqual([20, next, { bytes: 20, ticks: 0 }]);
  });
});
