import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import "../src/drivers/builtin.ts";
import { connect, connectAll } from "../src/client/connect.ts";
import { serve } from "../src/server/server.ts";
import { medianOf, medianRatio, pairedRounds } from "./rounds.ts";
import type { Benchmark, BenchRow } from "./row.ts";

const PROGRAM = fileURLToPath(new URL("../bin/virstream.js", import.meta.url));
/** The wait before the measurement, in ms: the first tables cost more, because Node still compiles code. */
const WARM_MS = 8_000;
const MEASURED_MS = 15_000;

/**
 * The processor time of `virstream top` with 1,000 guests of one server, and with 40 guests of each of 50 servers, once
 * a second, on a terminal of 120 by 40 cells; beside `virstream watch --format ndjson`, which prints each record of the
 * same guests.
 */
export const benchTop: Benchmark = async ({ rounds = 3 } = {}) => [
  await measure("top", 1, 1_000, rounds),
  await measure("top of 50 hosts", 50, 40, rounds),
];

async function measure(name: string, hosts: number, domains: number, rounds: number): Promise<BenchRow> {
  const opened: AsyncDisposable[] = [];
  const open = async <T extends AsyncDisposable>(opening: Promise<T>): Promise<T> => {
    const resource = await opening;
    opened.push(resource);
    return resource;
  };
  try {
    const urls: string[] = [];
    for (let i = 1; i <= hosts; i++) {
      const connection = await open(connect(`test:///default?domains=${domains}&seed=${i}&host=hv${i}`));
      urls.push((await open(serve(connection, { port: 0 }))).url);
    }
    const one = hosts === 1 ? urls[0]! : (await open(serve(await open(connectAll(urls)), { port: 0 }))).url;
    return await compare(name, urls, one, hosts * domains, rounds);
  } finally {
    for (const each of opened.reverse()) await each[Symbol.asyncDispose]();
  }
}

/** @param one the URL of a server that has the guests of all servers */
async function compare(
  name: string,
  urls: readonly string[],
  one: string,
  guests: number,
  rounds: number,
): Promise<BenchRow> {
  const commands = {
    top: `top ${urls.join(" ")}`,
    lines: `watch --format ndjson ${one} > /dev/null`,
  } as const;
  const measured = await pairedRounds(name, ["top", "lines"], rounds, async (contender) => {
    const command = `stty rows 40 cols 120; "${process.execPath}" "${PROGRAM}" ${commands[contender]}`;
    const script = spawn("script", ["-qec", command, "/dev/null"], { stdio: ["pipe", "ignore", "inherit"] });
    try {
      await sleep(WARM_MS);
      const pid = programOf(script);
      const before = cpuMs(pid);
      await sleep(MEASURED_MS);
      return ((cpuMs(pid) - before) / MEASURED_MS) * 100;
    } finally {
      const ended = once(script, "exit");
      script.stdin!.end("\u0003");
      await ended;
    }
  });
  const percent = (value: number): string => `${value.toFixed(1)} %`;
  return {
    what: `a screen of ${guests.toLocaleString("en")} guests of ${urls.length === 1 ? "a host" : `${urls.length} hosts`}, of a processor`,
    ours: percent(medianOf(measured.top, Number)),
    peer: `${percent(medianOf(measured.lines, Number))} (the same as lines of JSON)`,
    ratio: medianRatio(measured.top, measured.lines, Number, Number),
  };
}

/** The process of virstream: a descendant of the process of `script`, below its shell. */
function programOf({ pid }: ChildProcess): number {
  let newest = pid!;
  for (;;) {
    const children = readFileSync(`/proc/${newest}/task/${newest}/children`, "utf8").trim();
    if (children === "") return newest;
    newest = Number(children.split(" ").at(-1));
  }
}

/** The processor time of a process so far, in ms. */
function cpuMs(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8")
    .replace(/^.*\) /, "")
    .split(" ");
  const ticks = Number(fields[11]) + Number(fields[12]);
  return (ticks * 1_000) / Number(execFileSync("getconf", ["CLK_TCK"], { encoding: "utf8" }));
}
