import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import "../../src/drivers/builtin.ts";
import { connect } from "../../src/client/connect.ts";
import { AccountedWatch } from "../../test/lab/accounted-watch.ts";
import { mustHave } from "../../test/lab/requirement.ts";
import { TickLedger } from "../../test/lab/tick-ledger.ts";
import { formatMs } from "../faults/fault.ts";
import { OUTAGES } from "./outage.ts";

/**
 * `npm run bench:cuts -- [--quick]`: stops the server or cuts the network of watches for 1, 10 and 60 s, and measures
 * how they resume. All kinds of outages run at the same time. Each has its own server of 200 domains, which is watched
 * once a second, with all options at their defaults. It prints the table to stdout as Markdown, and progress to stderr.
 * It needs root and iproute2.
 */

/** The number of watches per outage. Back-off is random, so several watches are needed for a typical figure. */
const CLIENTS = 10;
const INTERVAL_MS = 1_000;
const HEAD = [
  "what",
  "for",
  "noticed after",
  "records again after its end: median, worst",
  "sweeps delivered, in gaps",
  "gaps of unknown length",
  "lost, or twice",
  "events",
];

/** The figures of one watch. */
interface Outcome {
  /**
   * How long after the beginning of the outage the watch reported it, in ms; undefined: the watch never reported it.
   */
  readonly noticedMs: number | undefined;
  readonly recoveredMs: number;
  readonly ledger: TickLedger;
  /** The promises that were broken, as the watch's TickLedger and the clock show. */
  readonly broken: readonly string[];
}

async function measure(what: string, lastingMs: number): Promise<void> {
  await using outage = await OUTAGES[what]!();
  const watches: AccountedWatch[] = [];
  try {
    for (let i = 0; i < CLIENTS; i++) {
      const connection = await connect(outage.url);
      watches.push(new AccountedWatch(connection, new TickLedger(), {}, { intervalMs: INTERVAL_MS }));
    }
    await Promise.all(watches.map((watch) => watch.sweeps(3)));
    const beganAt = performance.now();
    await outage.begin();
    await sleep(lastingMs);
    await outage.end();
    const endedAt = performance.now();
    const outcomes = await Promise.all(
      watches.map(async (watch): Promise<Outcome> => {
        const { ledger } = watch;
        const { records } = ledger;
        await watch.until(() => ledger.records > records);
        const recoveredMs = performance.now() - endedAt;
        await watch.sweeps(3);
        const noticedMs = watch.interruptedAt === undefined ? undefined : watch.interruptedAt - beganAt;
        return { noticedMs, recoveredMs, ledger, broken: [...ledger.broken, ...unaccounted(ledger, outage.serving)] };
      }),
    );
    console.log(line([what, formatMs(lastingMs), ...cells(outcomes)]));
    for (const { broken } of outcomes) for (const promise of broken) console.error(`cuts: ${what}: ${promise}`);
  } finally {
    await Promise.all(watches.map((watch) => watch[Symbol.asyncDispose]()));
  }
}

/**
 * Compares the number of sweeps that were due by the clock with the number of sweeps that were delivered, left out or
 * in gaps. Returns a sentence if they differ.
 */
function unaccounted(ledger: TickLedger, serving: boolean): string[] {
  const { firstSync, lastSync, syncs, skipped, overruns, unknownGaps } = ledger;
  if (!serving || unknownGaps > 0) return [];
  const due = Math.round((lastSync!.summary.startedAt - firstSync!.summary.startedAt) / INTERVAL_MS) + 1;
  const reported = syncs + skipped + overruns;
  return due === reported ? [] : [`${due} sweeps were due, and ${reported} are accounted for`];
}

function cells(outcomes: readonly Outcome[]): string[] {
  const noticed = outcomes.flatMap(({ noticedMs }) => (noticedMs === undefined ? [] : [noticedMs]));
  const recovered = outcomes.map(({ recoveredMs }) => recoveredMs).sort((a, b) => a - b);
  const ledgers = outcomes.map(({ ledger }) => ledger);
  const sum = (figure: (ledger: TickLedger) => number): number =>
    ledgers.reduce((total, ledger) => total + figure(ledger), 0);
  const reported = new Set(ledgers.map(({ statuses }) => statuses.join(", ") || "nothing"));
  return [
    noticed.length === 0 ? "not at all" : formatMs(Math.max(...noticed)),
    `${formatMs(recovered[Math.floor(recovered.length / 2)]!)}, ${formatMs(recovered.at(-1)!)}`,
    `${sum(({ syncs }) => syncs)}, ${sum(({ skipped }) => skipped)}`,
    `${sum(({ unknownGaps }) => unknownGaps)}`,
    `${outcomes.reduce((total, { broken }) => total + broken.length, 0)}`,
    [...reported].join("; "),
  ];
}

function line(texts: readonly string[]): string {
  return `| ${texts.join(" | ")} |`;
}

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { quick: { type: "boolean" } } });
  mustHave(["root with network namespaces"]);
  console.log(line(HEAD));
  console.log(line(HEAD.map(() => "---")));
  for (const lastingMs of values.quick ? [1_000] : [1_000, 10_000, 60_000]) {
    console.error(`cuts: ${CLIENTS} watches of each server, for ${formatMs(lastingMs)}`);
    await Promise.all(Object.keys(OUTAGES).map((what) => measure(what, lastingMs)));
  }
}

try {
  await main();
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
}
