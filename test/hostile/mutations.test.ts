/** @module-tag any-node */

import { describe, expect, it } from "vitest";
import { Dice } from "../lab/dice.ts";
import { DECODERS } from "./decoders.ts";
import { runMutations } from "./mutation-run.ts";

/** `npm run bench:hostile` does the same with a million frames for each decoder. */
const FRAMES = 20_000;
/** Schemas and key lists that a peer invents are kept up to a bound. */
const GROWTH_MIB = 16;

describe.each(DECODERS)("the decoder of $name", (decoder) => {
  it("takes every frame of its valid sessions", async () => {
    for (const [number, frames] of decoder.sessions.entries()) {
      const receiver = decoder.open(number, new Dice(1));
      for (const [place, frame] of frames.entries()) receiver.receive(frame, place);
      await receiver.close?.();
    }
  });

  it(`takes damaged frames or refuses them with its error code, and keeps no memory of ${FRAMES} of them`, async () => {
    const { seed } = new Dice();
    const { frames, accepted, refused, followed, growthMiB } = await runMutations(decoder, FRAMES, seed);
    expect(frames).toBeGreaterThanOrEqual(FRAMES);
    expect(accepted + refused).toBe(frames);
    // Each of these is a way that must have been gone.
    expect(Math.min(accepted, refused, followed)).toBeGreaterThan(frames / 50);
    expect(growthMiB).toBeLessThan(GROWTH_MIB);
  });
});
