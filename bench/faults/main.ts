import { parseArgs } from "node:util";
import "../../src/drivers/builtin.ts";
import { FaultLab, faultRequirements } from "../../test/lab/fault-lab.ts";
import { kvmUsable } from "../../test/lab/guest.ts";
import { mustHave } from "../../test/lab/requirement.ts";
import type { FaultBench } from "./fault.ts";
import { faultLine, faultsHead } from "./table.ts";

/**
 * `npm run bench:faults -- [--quick] [--only NAME]`: makes guests and daemons fail, and measures sweeps of virstream
 * and of the tools that people use today. It prints the table to stdout as Markdown, and progress to stderr. It needs
 * the lab of test/lab/ and python3-libvirt.
 */

const FAULTS: Record<string, () => Promise<FaultBench>> = {
  frozen: async () => (await import("./frozen.ts")).benchFrozen,
  "all-frozen": async () => (await import("./all-frozen.ts")).benchAllFrozen,
  changing: async () => (await import("./changing.ts")).benchChanging,
  daemon: async () => (await import("./daemon.ts")).benchDaemon,
  random: async () => (await import("./random.ts")).benchRandom,
};

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { quick: { type: "boolean" }, only: { type: "string" } } });
  if (values.only !== undefined && !Object.hasOwn(FAULTS, values.only)) {
    throw new Error(`there is no fault ${values.only}, only ${Object.keys(FAULTS).join(", ")}`);
  }
  mustHave([...faultRequirements, "python3-libvirt"]);
  const quick = values.quick ?? false;
  console.log(faultsHead());
  for (const name of values.only === undefined ? Object.keys(FAULTS) : [values.only]) {
    const bench = await FAULTS[name]!();
    const began = performance.now();
    console.error(`faults: ${name}: starting the guests`);
    await using lab = await FaultLab.start(12, { kvm: await kvmUsable() });
    // Prints row by row, so that the figures are not lost if a later fault cannot be set up.
    for (const row of await bench(lab, { quick, peerLimitMs: quick ? 5_000 : 35_000 })) console.log(faultLine(row));
    console.error(`faults: ${name}: took ${((performance.now() - began) / 1000).toFixed(0)} s`);
  }
}

try {
  await main();
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
}
