import { DECODERS } from "../../test/hostile/decoders.ts";
import { runMutations } from "../../test/hostile/mutation-run.ts";

/** How often the progress is printed, in ms. */
const PROGRESS_MS = 30_000;

/**
 * Gives each decoder this many damaged frames, and prints what became of them.
 *
 * @param seed the seed of the first session
 */
export async function benchMutations(frames: number, seed: number): Promise<void> {
  // The stack of each refusal would take most of the time. With the seed of a failure, the test repeats the failure and
  // shows its stack.
  Error.stackTraceLimit = 0;
  console.log(
    "| decoder | damaged frames | taken | refused by its code | anything else | time | slowest frame | heap | growth |",
  );
  console.log("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
  const number = (value: number): string => value.toLocaleString("en");
  for (const decoder of DECODERS) {
    let printed = performance.now();
    const figures = await runMutations(decoder, frames, seed, (done, session) => {
      if (performance.now() - printed < PROGRESS_MS) return;
      printed = performance.now();
      console.error(`hostile: ${decoder.name}: ${number(done)} frames, session seed ${session}`);
    });
    const { accepted, refused, seconds, slowestMs, heapMiB, growthMiB } = figures;
    const cells = [
      ...[
        decoder.name,
        number(figures.frames),
        number(accepted),
        number(refused),
        number(figures.frames - accepted - refused),
      ],
      ...[
        `${seconds.toFixed(0)} s`,
        `${slowestMs.toFixed(0)} ms`,
        `${heapMiB.toFixed(0)} MiB`,
        `${growthMiB.toFixed(1)} MiB`,
      ],
    ];
    console.log(`| ${cells.join(" | ")} |`);
  }
}
