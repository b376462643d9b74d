import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import "../src/drivers/builtin.ts";
import { connect } from "../src/client/connect.ts";
import type { Connection } from "../src/client/connection.ts";
import { createGuests, kvmUsable } from "../test/lab/guest.ts";
import { type Libvirtd, startLibvirtd } from "../test/lab/libvirtd.ts";
import { labRequirements, requirement } from "../test/lab/requirement.ts";
import { startTestDriver } from "../test/lab/test-driver.ts";
import { median } from "./rounds.ts";
import type { Benchmark, BenchRow } from "./row.ts";

const GUESTS = 40;
const MANY = 10_000;
const ROUNDS = 15;
/** Warm-up rounds of all contenders: libvirt asks QEMU once for the names of its statistics, and Node compiles the code. */
const WARM_UP = 15;

/** The times from the start of a sweep to its first record and to its end, in ms. */
interface SweepTimes {
  readonly first: number;
  readonly total: number;
}

/**
 * Measures a sweep of 40 QEMU guests on an open connection, in this process and over WebSocket from a process with
 * `virstream serve`. The peer is libvirt's own bulk call, by its Python binding, on an open connection to the same
 * daemon. The figures are medians of the total time and of the time to the first record, from alternating rounds. It
 * needs the lab of test/lab/ (libvirtd, QEMU and more), and returns no rows if the machine lacks a part of it.
 */
export const benchLibvirt: Benchmark = async ({ rounds = ROUNDS } = {}) => {
  const missing = [...labRequirements, "python3-libvirt" as const].map(requirement).filter(({ met }) => !met);
  if (missing.length > 0) {
    console.error(`libvirt: not measured, it needs ${missing.map(({ remedy }) => remedy).join(", ")}`);
    return [];
  }
  const rows: BenchRow[] = [];
  for (const paused of [false, true]) rows.push(...(await measureGuests(paused, rounds)));
  rows.push(...(await measureMany(rounds)));
  return rows;
};

/**
 * libvirt's own test driver answers for a domain in microseconds, without QEMU. So most of the measured time is the cost
 * of the calls and of making the records.
 */
async function measureMany(rounds: number): Promise<BenchRow[]> {
  console.error(`libvirt: starting ${MANY} domains of the test driver`);
  await using host = await startTestDriver({ domains: MANY });
  await using local = await connect(host.uri, { connectTimeoutMs: 60_000 });
  await using bulk = await BulkCaller.start(host.uri, MANY);
  const times = { bulk: [] as number[], local: [] as SweepTimes[] };
  for (let round = -5; round < rounds; round++) {
    const measures = [
      async () => times.bulk.push(await bulk.call()),
      async () => times.local.push(await sweep(local, MANY)),
    ];
    for (let i = 0; i < measures.length; i++) await measures[(i + round + 5) % measures.length]!();
    if (round < 0) for (const list of Object.values(times)) list.length = 0;
  }
  const what = `sweep of ${MANY.toLocaleString("en")} domains of libvirt's test driver, against one bulk call`;
  return [
    compare(what, times.local, times.bulk, "total", 1),
    compare("… its first record", times.local, times.bulk, "first"),
  ];
}

/**
 * Running guests use the cores that the sweep needs. Paused guests do not, and their values do not change between two
 * sweeps. So both kinds are measured.
 */
async function measureGuests(paused: boolean, rounds: number): Promise<BenchRow[]> {
  const guests = `${GUESTS} ${paused ? "paused" : "running"} guests`;
  await using libvirtd = await startLibvirtd();
  console.error(`libvirt: starting ${guests}`);
  await createGuests(libvirtd, GUESTS, { paused, kvm: await kvmUsable() });
  await using local = await connect(libvirtd.uri);
  await using server = await Serve.start(libvirtd);
  await using remote = await connect(server.url);
  await using bulk = await BulkCaller.start(libvirtd.uri, GUESTS);
  const times = { bulk: [] as number[], local: [] as SweepTimes[], remote: [] as SweepTimes[] };
  for (let round = -WARM_UP; round < rounds; round++) {
    const measures = [
      async () => times.bulk.push(await bulk.call()),
      async () => times.local.push(await sweep(local)),
      async () => times.remote.push(await sweep(remote)),
    ];
    // The order alternates, so that a machine that gets slower favours no contender.
    for (let i = 0; i < measures.length; i++) await measures[(i + round + WARM_UP) % measures.length]!();
    if (round < 0) for (const list of Object.values(times)) list.length = 0;
  }
  return [
    compare(`sweep of ${guests}, against one bulk call`, times.local, times.bulk, "total", 0.6),
    compare("… its first record", times.local, times.bulk, "first", 1 / 20),
    compare("… over WebSocket", times.remote, times.bulk, "total", 0.6),
    compare("… over WebSocket, its first record", times.remote, times.bulk, "first", 1 / 20),
  ];
}

function compare(
  what: string,
  ours: readonly SweepTimes[],
  bulk: readonly number[],
  figure: keyof SweepTimes,
  target?: number,
): BenchRow {
  return {
    what,
    ours: `${median(ours.map((took) => took[figure])).toFixed(1)} ms`,
    peer: `${median([...bulk]).toFixed(1)} ms`,
    ratio: median(ours.map((took, i) => took[figure] / bulk[i]!)),
    ...(target !== undefined && { target }),
  };
}

async function sweep(connection: Connection, domains = GUESTS): Promise<SweepTimes> {
  const start = performance.now();
  let first = 0;
  let records = 0;
  await connection.stats().forEach((record) => {
    if (first === 0) first = performance.now() - start;
    if (record.status === "ok") records++;
  });
  if (records !== domains) throw new Error(`${records} of ${domains} records are complete`);
  return { first, total: performance.now() - start };
}

/** The built `virstream serve`, in a process of its own. */
class Serve implements AsyncDisposable {
  readonly url: string;
  readonly #child: ChildProcess;

  private constructor(url: string, child: ChildProcess) {
    this.url = url;
    this.#child = child;
  }

  static async start(libvirtd: Libvirtd): Promise<Serve> {
    const program = fileURLToPath(new URL("../dist/cli/main.js", import.meta.url));
    const args = [program, "serve", libvirtd.uri, "--listen", "127.0.0.1:0"];
    const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "ignore"] });
    const [url] = (await once(child.stdout.setEncoding("utf8"), "data")) as [string];
    return new Serve(url.trim(), child);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const exit = once(this.#child, "exit");
    this.#child.kill("SIGTERM");
    await exit;
  }
}

const SCRIPT = `
import libvirt, os, sys, time
connection = libvirt.openReadOnly(os.environ["LIBVIRT_URI"])
for line in sys.stdin:
    start = time.perf_counter()
    records = connection.getAllDomainStats()
    print((time.perf_counter() - start) * 1000, len(records), flush=True)
`;

/**
 * A Python process with an open connection. For each line of its input, it makes one bulk call, and prints the call's
 * duration and the number of records.
 */
class BulkCaller implements AsyncDisposable {
  readonly #child;
  readonly #lines;
  readonly #domains: number;

  private constructor(uri: string, domains: number) {
    this.#domains = domains;
    this.#child = spawn("/usr/bin/python3", ["-c", SCRIPT], {
      env: { ...process.env, LIBVIRT_URI: uri },
      stdio: ["pipe", "pipe", "inherit"],
    });
    this.#lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
  }

  static async start(uri: string, domains: number): Promise<BulkCaller> {
    const caller = new BulkCaller(uri, domains);
    await caller.call();
    return caller;
  }

  /** Makes one bulk call. Resolves with its duration, in ms. */
  async call(): Promise<number> {
    this.#child.stdin.write("\n");
    const { value } = await this.#lines.next();
    const [took, records] = String(value).split(" ").map(Number);
    if (records !== this.#domains) throw new Error(`the bulk call gave ${records} of ${this.#domains} records`);
    return took!;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const exit = once(this.#child, "exit");
    this.#child.stdin.end();
    await exit;
  }
}
