import { parseArgs } from "node:util";
import "../../src/drivers/builtin.ts";
import { Dice } from "../../test/lab/dice.ts";
import { standardLab } from "../../test/lab/hypervisor.ts";
import { killAgainAndAgain } from "../../test/lab/killed-server.ts";
import { labRequirements, mustHave } from "../../test/lab/requirement.ts";
import { formatMs } from "../faults/fault.ts";

/**
 * `npm run bench:kills -- [--kills N] [--servers N] [--seed N] [--libvirt]`: kills servers with SIGKILL at random
 * moments while clients of every kind read from them, and starts them again at once. It prints the figures to stdout as
 * Markdown. With `--libvirt` the servers read five guests of a real libvirtd; that needs the lab of test/lab/.
 */

const SIMULATED = 50;
/** Clients of each of the four kinds, for each server. */
const CLIENTS = 2;

function spread(times: readonly number[]): string {
  const sorted = [...times].sort((a, b) => a - b);
  const at = (part: number): string => formatMs(sorted[Math.floor(part * (sorted.length - 1))] ?? Number.NaN);
  return `${at(0.5)}, ${at(0.95)}, ${at(1)}`;
}

async function main(): Promise<void> {
  const number = { type: "string" } as const;
  const { values } = parseArgs({
    options: { kills: number, servers: number, seed: number, libvirt: { type: "boolean" } },
  });
  if (values.libvirt) mustHave(labRequirements);
  const { seed } = new Dice(values.seed === undefined ? undefined : Number(values.seed));
  const servers = Number(values.servers ?? 4);
  const kills = Math.ceil(Number(values.kills ?? 200) / servers);
  console.error(`kills: seed ${seed}`);
  await using lab = values.libvirt ? await standardLab() : undefined;
  const domains = lab === undefined ? SIMULATED : lab.guests.length;
  const uri = lab === undefined ? `test:///default?domains=${SIMULATED}` : lab.libvirtd.uri;
  const began = performance.now();
  const outcomes = await Promise.all(
    Array.from({ length: servers }, (_, i) =>
      killAgainAndAgain({
        ...{ uri, domains, kills, dice: new Dice(seed + i), clients: CLIENTS },
        onProgress: (done) =>
          console.error(`kills: server ${i + 1}: ${done} of ${kills}, ${formatMs(performance.now() - began)}`),
      }),
    ),
  );
  const witnesses = outcomes.flatMap((each) => each.witnesses);
  const broken = outcomes.flatMap((each) => each.broken);
  const sum = (of: (witness: (typeof witnesses)[number]) => number) =>
    witnesses.reduce((total, each) => total + of(each), 0).toLocaleString("en");
  const rows: readonly (readonly string[])[] = [
    ["", lab === undefined ? `${domains} simulated domains` : `${domains} guests of a libvirtd`],
    ["---", "---"],
    [
      "kills, servers, clients, time",
      `${kills * servers}, ${servers}, ${witnesses.length}, ${formatMs(performance.now() - began)}`,
    ],
    [
      "from the kill until the server listens again: median, 95th percentile, longest",
      spread(outcomes.flatMap(({ restarts }) => restarts)),
    ],
    ["from then until a client has a whole sweep", spread(outcomes.flatMap(({ firstSweeps }) => firstSweeps))],
    [
      "outages of the clients, and how many the clients noticed",
      `${sum(({ outages }) => outages)}, ${sum(({ told }) => told)}`,
    ],
    ["whole sweeps, records", `${sum(({ sweeps }) => sweeps)}, ${sum(({ records }) => records)}`],
    [
      "domains missing or twice, records of a former server, outages that a client did not notice, clients that hang",
      `${broken.length}`,
    ],
  ];
  for (const row of rows) console.log(`| ${row.join(" | ")} |`);
  for (const what of broken) console.error(`kills: ${what}`);
  if (broken.length > 0) process.exitCode = 1;
}

await main();
