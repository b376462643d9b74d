import { parseArgs } from "node:util";
import { benchAttack } from "./attack.ts";
import { benchMutations } from "./mutations.ts";
import { benchStorm } from "./storm.ts";

/**
 * `npm run bench:hostile -- [--quick] [--only mutations|attack|storm] [--interval MS] [--seed NUMBER]`: gives damaged frames to each decoder,
 * attacks a server while another one is left in peace, and opens and drops thousands of connections. It prints tables to stdout as
 * Markdown, and progress to stderr. It fails at the first frame or input that a decoder or the server did not take or refuse as it
 * should.
 */

const PARTS: Record<string, (quick: boolean, seed: number, intervalMs: number) => Promise<void>> = {
  mutations: (quick, seed) => benchMutations(quick ? 20_000 : 1_000_000, seed),
  attack: (quick, seed, intervalMs) => benchAttack(quick ? 10_000 : 60_000, seed, intervalMs),
  storm: (quick, _, intervalMs) => benchStorm(quick ? 10_000 : 60_000, intervalMs),
};

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      quick: { type: "boolean" },
      only: { type: "string" },
      interval: { type: "string" },
      seed: { type: "string" },
    },
  });
  if (values.only !== undefined && !Object.hasOwn(PARTS, values.only)) {
    throw new Error(`there is no part ${values.only}, only ${Object.keys(PARTS).join(", ")}`);
  }
  const seed = values.seed === undefined ? Date.now() >>> 0 : Number(values.seed);
  for (const name of values.only === undefined ? Object.keys(PARTS) : [values.only]) {
    await PARTS[name]!(values.quick ?? false, seed, Number(values.interval ?? 1_000));
  }
}

try {
  await main();
  // Timers of servers and of pools in the decoders' sessions would keep the process alive.
  process.exit();
} catch (error) {
  console.error(error);
  process.exit(1);
}
