import { type ManualClock, turn } from "../drivers/simulated/manual-clock.ts";

/** Lets time pass in steps of 10 ms, and all that happens in each come to its end. */
export async function pass(clock: ManualClock, ms: number): Promise<void> {
  await turn();
  for (let passed = 0; passed < ms; passed += 10) {
    clock.advance(Math.min(10, ms - passed));
    await turn();
    await turn();
  }
}
