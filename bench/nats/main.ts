import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { NatsServer } from "../../test/lab/nats-server.ts";
import { TcpProxy } from "../../test/lab/tcp-proxy.ts";
import { type Entry, Member, type Report } from "./member.ts";

/**
 * `npm run bench:nats -- [--quick]`: 200 simulated hosts of 50 domains, once a second, on a real nats-server, and two
 * readers of all hosts. The server is killed for 10 s, a process with a quarter of the publishers is killed, and one
 * reader is cut off for 30 s. It measures when the newest state of all hosts is there again, and compares what the
 * readers had and reported as lost with what was published. Then it does the same with a stream that retains the ticks,
 * and on a cluster of three servers that loses one server. It prints a table in Markdown.
 */

const { values } = parseArgs({ options: { quick: { type: "boolean", default: false } } });
const HOSTS = values.quick ? 20 : 200;
const DOMAINS = 50;
const PROCESSES = 4;
const CUT_MS = values.quick ? 5_000 : 30_000;
const DOWN_MS = values.quick ? 3_000 : 10_000;
const INTERVAL_MS = 1_000;
const PATIENCE_MS = 60_000;

const HOST_NAMES = Array.from({ length: HOSTS }, (_, i) => `hv${i}`);

async function startPublishers(url: string, part: number, retainMs: number, replicas: number): Promise<Member> {
  const count = HOSTS / PROCESSES;
  const args = [url, part * count, count, DOMAINS, retainMs, replicas].map(String);
  const member = new Member("publishers", args);
  await member.ready();
  return member;
}

/**
 * Waits until the readers have, of each of these hosts, a state that is at most two intervals old. Resolves with the
 * time since `since`, in s.
 */
async function current(readers: readonly Member[], hosts: readonly string[], since: number): Promise<string> {
  const isCurrent = (host: string): boolean =>
    readers.every(({ newest }) => (newest[host] ?? 0) >= Date.now() - 2 * INTERVAL_MS);
  while (!hosts.every(isCurrent)) {
    if (Date.now() > since + PATIENCE_MS) return "not within a minute";
    await sleep(20);
  }
  return `${((Date.now() - since) / 1_000).toFixed(1)} s`;
}

/** Compares what a reader had of the hosts with the sweeps that were published. */
function account(report: Report, truth: Readonly<Record<string, readonly Entry[]>>) {
  const figures = { delivered: 0, lost: 0, unknown: 0, unaccounted: 0 };
  for (const [host, sweeps] of Object.entries(truth)) {
    let last = -1;
    let covered: number | undefined = 0;
    for (const entry of report.hosts[host] ?? []) {
      if (typeof entry === "number") {
        const at = sweeps.indexOf(entry);
        if (last >= 0 && covered !== undefined && at - last - 1 !== covered) figures.unaccounted++;
        last = at;
        covered = 0;
        figures.delivered++;
      } else if (entry.gap === null) {
        covered = undefined;
        figures.unknown++;
      } else {
        covered = covered === undefined ? undefined : covered + entry.gap;
        figures.lost += entry.gap;
      }
    }
  }
  return figures;
}

function row(cells: readonly (string | number)[]): void {
  console.log(`| ${cells.join(" | ")} |`);
}

async function measure(title: string, servers: NatsServer[], retainMs: number): Promise<void> {
  const url = `nats://${servers.map(({ port }) => `127.0.0.1:${port}`).join(",")}`;
  await using proxy = await TcpProxy.start(servers[0]!.port);
  const replicas = servers.length;
  const publishers = await Promise.all(
    Array.from({ length: PROCESSES }, (_, part) => startPublishers(url, part, retainMs, replicas)),
  );
  await sleep(3_000);
  const single = servers.length === 1;
  const readers = [
    new Member("reader", [url]),
    new Member("reader", [single ? `nats://127.0.0.1:${proxy.port}` : url]),
  ];
  await Promise.all(readers.map((reader) => reader.ready()));
  const began = Date.now();
  row([title, "all hosts", await current(readers, HOST_NAMES, began)]);
  await sleep(5_000);

  await servers[0]!.kill();
  if (single) {
    await sleep(DOWN_MS);
    await servers[0]!.restart();
  }
  const what = single
    ? `the server was killed, and is back after ${DOWN_MS / 1_000} s`
    : "one server of three was killed";
  row(["", what, await current(readers, HOST_NAMES, Date.now())]);
  await sleep(5_000);

  if (single) {
    proxy.cut();
    await sleep(CUT_MS);
    proxy.restore();
    const time = await current([readers[1]!], HOST_NAMES, Date.now());
    row(["", `a reader was cut off for ${CUT_MS / 1_000} s`, time]);
    await sleep(5_000);
  }
  // Only these publishers know the sweeps of their hosts, so the account of these hosts ends here.
  const ended = HOST_NAMES.slice(0, HOSTS / PROCESSES);
  await publishers[0]!.kill();
  await sleep(5_000);
  publishers[0] = await startPublishers(url, 0, retainMs, replicas);
  row([
    "",
    `the publishers of ${ended.length} hosts were killed, and started again`,
    await current(readers, ended, Date.now()),
  ]);
  await sleep(3_000);

  const seconds = (Date.now() - began) / 1_000;
  const reports = await Promise.all(readers.map((reader) => reader.end()));
  const sent = await Promise.all(publishers.map((member) => member.end()));
  const truth = Object.assign({}, ...sent.slice(1).map(({ hosts }) => hosts)) as Report["hosts"];
  for (const [i, report] of reports.entries()) {
    const { delivered, lost, unknown, unaccounted } = account(report, truth);
    const text = `${delivered} sweeps delivered, ${lost} reported as lost, ${unknown} gaps of unknown length, ${unaccounted} unaccounted`;
    row(["", `reader ${i + 1}, of the hosts that went on`, text]);
    const cpu = `${((100 * report.cpuSeconds) / seconds).toFixed(0)} % of a CPU, ${report.memoryMiB.toFixed(0)} MiB`;
    row(["", `reader ${i + 1}`, cpu]);
  }
  const cpu = sent.slice(1).reduce((sum, { cpuSeconds }) => sum + cpuSeconds, 0) / seconds;
  row([
    "",
    `${(HOSTS * (PROCESSES - 1)) / PROCESSES} publishers, with their simulated hosts`,
    `${(100 * cpu).toFixed(0)} % of a CPU`,
  ]);
  for (const server of servers) await server[Symbol.asyncDispose]();
}

row(["", "", "no newest state is older than two intervals after"]);
row(["---", "---", "---"]);
await measure("one server", [await NatsServer.start()], 0);
await measure("… and a stream that retains the ticks", [await NatsServer.start()], 3_600_000);
await measure("a cluster of three, and a stream", await NatsServer.cluster(), 3_600_000);
