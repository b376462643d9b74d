import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { VirstreamError } from "../../src/model/error.ts";
import { Dice } from "../lab/dice.ts";
import type { Decoder } from "./decoder.ts";
import { Mutator } from "./mutator.ts";

/** What became of the damaged frames of a decoder. */
export interface MutationFigures {
  readonly frames: number;
  readonly accepted: number;
  readonly refused: number;
  /** Undamaged frames after a damaged one in the same session, which were accepted. */
  readonly followed: number;
  readonly seconds: number;
  /** The longest time of one frame, in ms. */
  readonly slowestMs: number;
  /** The largest heap that was seen, with what waits for the garbage collection, in MiB. */
  readonly heapMiB: number;
  /** How much the live heap has grown since the first twentieth of the frames, in MiB. */
  readonly growthMiB: number;
}

/** How often the heap is measured, in sessions. */
const HEAP_SESSIONS = 512;

/**
 * Gives a decoder damaged frames, in the middle of sessions that are valid otherwise. Each session follows from a seed of its own:
 * the first has `seed`, the next one more. Throws at the first frame after which the decoder did anything else than take it or
 * refuse it by one of its codes. The error has the session's seed, with which it is the first, and the frame in hexadecimal.
 */
export async function runMutations(
  decoder: Decoder,
  count: number,
  seed: number,
  progress: (frames: number, seed: number) => void = () => {},
): Promise<MutationFigures> {
  const began = performance.now();
  let [frames, accepted, refused, followed, slowestMs, heap] = [0, 0, 0, 0, 0, 0];
  let warm: number | undefined;
  let session = seed;
  let last: Uint8Array = new Uint8Array(0);
  const where = (): string =>
    `${decoder.name}, session seed ${session}: ${Buffer.from(last.subarray(0, 4_096)).toString("hex")}`;
  // What is thrown later, by a timer or a promise, ends the process: its log then has the session.
  const report = (): void => console.error(`after a damaged frame: ${where()}`);
  process.once("uncaughtExceptionMonitor", report);
  for (; frames < count; session = (session + 1) >>> 0) {
    const dice = new Dice(session);
    const mutator = new Mutator(dice);
    const number = dice.below(decoder.sessions.length);
    const valid = decoder.sessions[number]!;
    const from = dice.below(valid.length);
    const receiver = decoder.open(number, dice);
    for (const [place, frame] of valid.entries()) {
      const isDamaged = place === from || (place > from && dice.below(4) === 0);
      const others = decoder.sessions[dice.below(decoder.sessions.length)]!;
      last = isDamaged ? decoder.damage(mutator, frame, others[dice.below(others.length)]!) : frame;
      const at = performance.now();
      let code: string | undefined;
      try {
        receiver.receive(last, place);
      } catch (thrown) {
        code = thrown instanceof VirstreamError ? thrown.code : "none";
        if (!decoder.codes.includes(code)) throw new Error(`${where()}: ${thrown}`, { cause: thrown });
        if (place < from) throw new Error(`a valid frame was refused: ${where()}: ${thrown}`, { cause: thrown });
      }
      slowestMs = Math.max(slowestMs, performance.now() - at);
      if (isDamaged) {
        frames++;
        if (code === undefined) accepted++;
        else refused++;
      } else if (place > from && code === undefined) followed++;
      if (code !== undefined) break;
    }
    await receiver.close?.();
    if (session % HEAP_SESSIONS === 0) {
      heap = Math.max(heap, process.memoryUsage().heapUsed);
      progress(frames, session);
      // Lets timers and sockets of the process have their turn.
      await new Promise((resolve) => setImmediate(resolve));
    }
    if (warm === undefined && frames >= count / 20) warm = liveHeap();
  }
  process.off("uncaughtExceptionMonitor", report);
  const growthMiB = (liveHeap() - warm!) / 2 ** 20;
  const seconds = (performance.now() - began) / 1_000;
  return { frames, accepted, refused, followed, seconds, slowestMs, heapMiB: heap / 2 ** 20, growthMiB };
}

/** The heap after a full garbage collection, in bytes. */
export function liveHeap(): number {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  collect();
  collect();
  return process.memoryUsage().heapUsed;
}
