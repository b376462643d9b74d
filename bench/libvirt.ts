import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";
import { LibvirtDriver } from "../src/drivers/libvirt/driver.ts";
import { checkQuery } from "../src/model/query.ts";
import { createGuests } from "../test/lab/guest.ts";
import { type Libvirtd, startLibvirtd } from "../test/lab/libvirtd.ts";
import { labRequirements, requirement } from "../test/lab/requirement.ts";

/** One line of the result: our figure, the peer's, what the one is of the other, and what it should be at most. */
export interface BenchRow {
  readonly what: string;
  readonly ours: string;
  readonly peer: string;
  readonly ratio: number;
  readonly target: number;
}

const GUESTS = 40;
const ROUNDS = 15;
/** Rounds before that, for both: libvirt asks QEMU once for the names of its statistics, Node compiles. */
const WARM_UP = 15;

/**
 * Measures a sweep of 40 QEMU guests on an open connection against libvirt's own bulk call (by its Python binding, on an
 * open connection to the same daemon): the whole, and the time to the first record. Rounds alternate; medians. Needs the
 * lab; gives no rows where the machine lacks something.
 */
export async function benchLibvirt(): Promise<BenchRow[]> {
  const missing = [...labRequirements, "python3-libvirt" as const].map(requirement).filter(({ met }) => !met);
  if (missing.length > 0) {
    console.error(`libvirt: not measured, it needs ${missing.map(({ remedy }) => remedy).join(", ")}`);
    return [];
  }
  await using libvirtd = await startLibvirtd();
  await createGuests(libvirtd, GUESTS);
  await using driver = await LibvirtDriver.open(libvirtd.uri);
  await using bulk = await BulkCaller.start(libvirtd);
  const first: number[] = [];
  const total: number[] = [];
  const peer: number[] = [];
  for (let round = -WARM_UP; round < ROUNDS; round++) {
    const theirs = async () => {
      const took = await bulk.call();
      if (round >= 0) peer.push(took);
    };
    const ours = async () => {
      const took = await sweep(driver);
      if (round >= 0) first.push(took.first);
      if (round >= 0) total.push(took.total);
    };
    // Who goes first changes: a box that gets slower must not favour one side.
    for (const run of round % 2 === 0 ? [theirs, ours] : [ours, theirs]) await run();
  }
  const of = median(peer);
  const row = (what: string, times: number[], target: number): BenchRow => ({
    what,
    ours: `${median(times).toFixed(1)} ms`,
    peer: `${of.toFixed(1)} ms`,
    ratio: median(times.map((time, round) => time / peer[round]!)),
    target,
  });
  return [
    row(`sweep of ${GUESTS} QEMU guests against one bulk call`, total, 0.6),
    row("first record of that sweep", first, 1 / 20),
  ];
}

async function sweep(driver: LibvirtDriver): Promise<{ first: number; total: number }> {
  const start = performance.now();
  let first = 0;
  let records = 0;
  const context = { signal: new AbortController().signal, expect: () => {} };
  for await (const chunk of driver.sweep(checkQuery(), context)) {
    if (records === 0) first = performance.now() - start;
    for (const record of chunk) if (record.status === "ok") records++;
  }
  if (records !== GUESTS) throw new Error(`${records} of ${GUESTS} records are complete`);
  return { first, total: performance.now() - start };
}

const SCRIPT = `
import libvirt, os, sys, time
connection = libvirt.openReadOnly(os.environ["LIBVIRT_URI"])
for line in sys.stdin:
    start = time.perf_counter()
    records = connection.getAllDomainStats()
    print((time.perf_counter() - start) * 1000, len(records), flush=True)
`;

/** A Python process with an open connection, which makes one bulk call per line and says how long it took. */
class BulkCaller implements AsyncDisposable {
  readonly #child;
  readonly #lines;

  private constructor(libvirtd: Libvirtd) {
    this.#child = spawn("/usr/bin/python3", ["-c", SCRIPT], {
      env: { ...process.env, LIBVIRT_URI: libvirtd.uri },
      stdio: ["pipe", "pipe", "inherit"],
    });
    this.#lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
  }

  static async start(libvirtd: Libvirtd): Promise<BulkCaller> {
    const caller = new BulkCaller(libvirtd);
    await caller.call();
    return caller;
  }

  /** How long one bulk call took, in ms. */
  async call(): Promise<number> {
    this.#child.stdin.write("\n");
    const { value } = await this.#lines.next();
    const [took, records] = String(value).split(" ").map(Number);
    if (records !== GUESTS) throw new Error(`the bulk call gave ${records} of ${GUESTS} records`);
    return took!;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const exit = once(this.#child, "exit");
    this.#child.stdin.end();
    await exit;
  }
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  for (const { what, ours, peer, ratio, target } of await benchLibvirt()) {
    console.log(`${what}: ${ours} / ${peer} = ${ratio.toFixed(3)} (target ${target})`);
  }
}
