import { parseArgs } from "node:util";
import "../../src/drivers/builtin.ts";
import { Dice } from "../../test/lab/dice.ts";
import { standardLab } from "../../test/lab/hypervisor.ts";
import { killAgainAndAgain } from "../../test/lab/killed-server.ts";
import { labRequirements, requirement } from "../../test/lab/requirement.ts";
import { formatMs } from "../faults/fault.ts";

/**
 * `npm run bench:kills -- [--kills N] [--clients N] [--seed N] [--libvirt]`: kills a server with SIGKILL at random moments while clients
 * of every kind read from it, and starts it again at once. It prints the figures to stdout as Markdown. With `--libvirt` the server
 * reads five guests of a real libvirtd; that needs the lab.
 */

const SIMULATED = 200;

function spread(times: readonly number[]): string {
  const sorted = [...times].sort((a, b) => a - b);
  const at = (part: number): string => formatMs(sorted[Math.floor(part * (sorted.length - 1))] ?? Number.NaN);
  return `${at(0.5)}, ${at(0.95)}, ${at(1)}`;
}

async function main(): Promise<void> {
  const number = { type: "string" } as const;
  const { values } = parseArgs({
    options: { kills: number, clients: number, seed: number, libvirt: { type: "boolean" } },
  });
  const missing = values.libvirt ? labRequirements.map(requirement).filter(({ met }) => !met) : [];
  if (missing.length > 0) throw new Error(`this needs: ${missing.map(({ remedy }) => remedy).join("; ")}`);
  const dice = new Dice(values.seed === undefined ? undefined : Number(values.seed));
  const kills = Number(values.kills ?? 200);
  const clients = Number(values.clients ?? 2);
  console.error(`kills: seed ${dice.seed}`);
  await using lab = values.libvirt ? await standardLab() : undefined;
  const domains = lab === undefined ? SIMULATED : lab.guests.length;
  const uri = lab === undefined ? `test:///default?domains=${SIMULATED}` : lab.libvirtd.uri;
  const began = performance.now();
  const { witnesses, restarts, firstSweeps, broken } = await killAgainAndAgain({
    ...{ uri, domains, kills, dice, clients },
    onProgress: (done) => console.error(`kills: ${done} of ${kills}, ${formatMs(performance.now() - began)}`),
  });
  const sum = (of: (witness: (typeof witnesses)[number]) => number) =>
    witnesses.reduce((total, each) => total + of(each), 0).toLocaleString("en");
  const rows: readonly (readonly string[])[] = [
    ["", lab === undefined ? `${domains} simulated domains` : `${domains} guests of a libvirtd`],
    ["---", "---"],
    ["kills, clients, time", `${kills}, ${witnesses.length}, ${formatMs(performance.now() - began)}`],
    ["from the kill until the server listens again: median, 95 of 100, longest", spread(restarts)],
    ["from then until a client has a whole sweep", spread(firstSweeps)],
    ["outages of clients, told to them", `${sum(({ outages }) => outages)}, ${sum(({ told }) => told)}`],
    ["whole sweeps, records", `${sum(({ sweeps }) => sweeps)}, ${sum(({ records }) => records)}`],
    ["domains missing or twice, records of a former server, outages not told, clients that hang", `${broken.length}`],
  ];
  for (const row of rows) console.log(`| ${row.join(" | ")} |`);
  for (const what of broken) console.error(`kills: ${what}`);
  if (broken.length > 0) process.exitCode = 1;
}

await main();
