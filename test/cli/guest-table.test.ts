/** @module-tag any-node */

import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parseGet } from "../../src/cli/arguments.ts";
import { CsvTable } from "../../src/cli/format/csv.ts";
import { TextTable } from "../../src/cli/format/guest-table.ts";
import { printable, width } from "../../src/cli/format/text.ts";
import { connect } from "../../src/client/connect.ts";
import { Connection } from "../../src/client/connection.ts";
import { RateMeter } from "../../src/client/rates.ts";
import { narrowBytes, narrowMs, narrowSeconds, percent } from "../../src/overview/quantity.ts";
import "../../src/drivers/builtin.ts";
import { VirstreamError } from "../../src/model/error.ts";
import { TypedParams } from "../../src/model/params.ts";
import { Domain, DomainStatsRecord, type RecordInit } from "../../src/model/record.ts";
import { serve } from "../../src/server/server.ts";
import { runCommand } from "../lab/command.ts";
import { createGuest, type Guest } from "../lab/guest.ts";
import { type Libvirtd, startLibvirtd } from "../lab/libvirtd.ts";
import { describeWith, labRequirements } from "../lab/requirement.ts";
import { ScriptedDriver } from "../server/scripted-driver.ts";
import { PROGRAM, virstream } from "./run.ts";

type Params = Parameters<typeof TypedParams.from>[0] extends Iterable<infer Item> ? Item[] : never;

const state = (number: number, reason: number): Params => [
  ["state.state", "int", number],
  ["state.reason", "int", reason],
];

function record(index: number, rest: Partial<RecordInit> = {}, params: Params = state(1, 1)): DomainStatsRecord {
  const uuid = `00000000-0000-4000-8000-${String(index).padStart(12, "0")}`;
  return new DomainStatsRecord({
    ...{ domain: new Domain(uuid, `guest-${index}`, index + 1, "hv1"), params: TypedParams.from(params), status: "ok" },
    ...{ sampledAt: 1_700_000_000_000, steadyAt: 0, tookMs: 1, index, ...rest },
  });
}

const stuck = { status: "partial", reason: "timeout", missing: ["block"] } as const;

/** The table that `virstream get` with these options prints of two sweeps. */
function tableOf(options: string[], records: DomainStatsRecord[], earlier: DomainStatsRecord[] = [], cells?: number) {
  const { table, columnGroups: groups, format } = parseGet(options);
  const look = { ...table, groups, hosts: false };
  const made = format === "csv" ? new CsvTable(look) : new TextTable(look, { cells, colours: false });
  const meter = new RateMeter();
  for (const each of earlier) made.before(each, meter.take(each));
  for (const each of records) made.record(each, meter.take(each));
  return made;
}

const linesOf = (text: string): string[] => text.trimEnd().split("\n");

describe("The table of virstream get", () => {
  const all = [
    record(4),
    record(3, stuck),
    record(1, {}, state(3, 5)),
    record(5, { status: "failed", reason: "denied" }),
    record(2, stuck),
    record(0, {}, state(5, 1)),
  ];

  it("has the worst first, then names in order, whatever order the records came in", () => {
    const guests = (records: DomainStatsRecord[]): string[] =>
      linesOf(tableOf(["--state"], records).end())
        .slice(1)
        .map((line) => line.split(/ +/).slice(0, 2).join(" "));
    const expected = [
      "STUCK-0s guest-2",
      "STUCK-0s guest-3",
      "I/O-ERROR guest-1",
      "DENIED guest-5",
      "shut-off guest-0",
      "running guest-4",
    ];
    const since = (lines: string[]) => lines.map((line) => line.replace(/\d+[smhd]/, "0s"));
    expect(since(guests(all))).toEqual(expected);
    expect(since(guests(all.toReversed()))).toEqual(expected);
  });

  const uuid = "00000000-0000-4000-8000-000000000009";
  it("fits its terminal, and never cuts a status or a name: less important columns are left out", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 200 }), fc.string({ maxLength: 60, unit: "grapheme" }), (cells, name) => {
        const domain = new Domain(uuid, name, 1, "hv1");
        const lines = linesOf(tableOf([], [...all, record(9, { domain })], [], cells).end());
        const least = 9 + 2 + Math.max("guest-0".length, width(printable(name || uuid)));
        for (const line of lines) expect(width(line)).toBeLessThanOrEqual(Math.max(cells, least));
        expect(lines).toHaveLength(8);
      }),
      { numRuns: 50 },
    );
    const columns = (cells: number) => linesOf(tableOf([], all, [], cells).end())[0]!.split(/ +/);
    expect(columns(200)).toContain("WHY");
    expect(columns(60)).toEqual(["STATUS", "GUEST", "VCPU", "CPU%", "STEAL%", "MEM", "READ/s", "LAT"]);
    expect(columns(40)).toEqual(["STATUS", "GUEST", "CPU%", "STEAL%", "LAT"]);
    expect(columns(10)).toEqual(["STATUS", "GUEST"]);
  });

  it("has no space in a cell outside of a terminal, and the words of top on one", () => {
    const [head, ...lines] = linesOf(tableOf(["--columns", "status,guest,cpu,age"], all).end());
    for (const line of lines) expect(line.split(/ +/)).toHaveLength(head!.split(/ +/).length);
    expect(tableOf([], all, [], 200).end()).toMatch(/^I\/O ERROR +guest-1 /m);
  });

  it("has a line for a host that is absent, after the guests in trouble", () => {
    const table = tableOf(["--state"], all);
    const error = new VirstreamError("connection-refused", "nothing listens");
    table.event({ type: "status", state: "degraded", host: "hv9", error });
    const lines = linesOf(table.end());
    expect(lines[0]).toMatch(/^STATUS +GUEST +HOST +WHY$/);
    expect(lines[5]).toMatch(/^NO-HOST +- +hv9 +nothing listens \[connection-refused\]$/);
  });

  it("sorts by a column, busiest first, guests without a figure last, trouble still on top, or the other way round", () => {
    const at = (second: number): DomainStatsRecord[] =>
      [3, 1, 2].map((share, i) =>
        record(i, { steadyAt: second * 1_000 }, [
          ...state(1, 1),
          ["cpu.time", "ullong", BigInt(second * share * 100_000_000)],
        ]),
      );
    const guests = (...options: string[]): string[] =>
      linesOf(tableOf(options, [...at(1), record(8), record(9, stuck)], at(0)).end())
        .slice(1)
        .map((line) => /guest-\d/.exec(line)![0]);
    expect(guests("--sort", "cpu")).toEqual(["guest-9", "guest-0", "guest-2", "guest-1", "guest-8"]);
    expect(guests("--sort", "CPU%", "-r")).toEqual(["guest-9", "guest-1", "guest-2", "guest-0", "guest-8"]);
    expect(guests("--sort", "guest", "--reverse")).toEqual(["guest-9", "guest-8", "guest-2", "guest-1", "guest-0"]);
  });

  it("says since when a guest has been stuck, as far as the two sweeps say", () => {
    const now = performance.now();
    const [one, other] = [5_000, 2_000].map((ago) => record(1, { ...stuck, steadyAt: now - ago }));
    expect(tableOf([], [other!], [one!]).end()).toMatch(/^STUCK-5s +guest-1 /m);
    expect(tableOf([], [other!], [record(1, { steadyAt: now - 5_000 })]).end()).toMatch(/^STUCK-2s +guest-1 /m);
  });

  it("asks the hypervisor only for the groups of its columns", () => {
    const groups = (...options: string[]) => parseGet(options).query.groups;
    expect(groups()).toEqual(["state", "cpu-total", "balloon", "vcpu", "interface", "block"]);
    expect(groups("--columns", "guest,cpu", "--sort", "lat")).toEqual(["state", "cpu-total", "block"]);
    expect(groups("--per", "nic", "--columns", "guest,rx")).toEqual(["state", "interface"]);
    expect(groups("--perf")).toEqual(["state", "perf"]);
    expect(groups("--format", "ndjson")).toEqual([]);
  });

  it("has the guests of the first sweep when the second never comes", () => {
    expect(tableOf([], [], [record(1)]).end(false)).toMatch(/^running +guest-1 +- +- /m);
    expect(tableOf([], [], [record(1)]).end()).not.toContain("guest-1");
  });
});

describe("The CSV of virstream get", () => {
  const name = (text: string) => ({ domain: new Domain("00000000-0000-4000-8000-000000000009", text, 1, "hv1") });
  const csv = (options: string[], ...records: DomainStatsRecord[]) =>
    tableOf(["--format", "csv", ...options], records).end();

  it("is what RFC 4180 says: CR LF, quotes around commas and quotes, and as many fields in each line", () => {
    const text = csv(["--columns", "status,guest,cpu,mem"], record(1, name('a "b", c')));
    expect(text).toBe('status,guest,cpu_percent,mem_bytes\r\nrunning,"a ""b"", c",,\r\n');
  });

  it("has an apostrophe before a text that a spreadsheet would run as a formula", () => {
    for (const text of ["=1+1", "+1", "-1", "@SUM(A1)", "＝1"]) {
      expect(csv(["--columns", "guest"], record(1, name(text)))).toBe(`guest\r\n'${text}\r\n`);
    }
    expect(csv(["--columns", "guest"], record(1, name('=HYPERLINK("x")')))).toBe('guest\r\n"\'=HYPERLINK(""x"")"\r\n');
    expect(csv(["--columns", "guest"], record(1, name("a=b")))).toBe("guest\r\na=b\r\n");
  });

  it("has counters with all their digits", () => {
    const params: Params = [...state(1, 1), ["cpu.time", "ullong", 9_007_199_254_740_993n]];
    expect(csv(["--no-rates", "--columns", "guest,cpu-time"], record(1, {}, params))).toBe(
      "guest,cpu_time_ns\r\nguest-1,9007199254740993\r\n",
    );
  });
});

/**
 * Computes a row from two raw samples, independently of the code of rates and columns: each figure by the formula of docs/rates.md,
 * in the units of the table.
 */
function byHand(one: DomainStatsRecord, other: DomainStatsRecord): Record<string, string> {
  const seconds = (other.steadyAt - one.steadyAt) / 1_000;
  const [before, after] = [one, other].map(
    ({ params }) => Object.fromEntries(params) as Record<string, number | bigint>,
  );
  const delta = (key: string): number => Number(BigInt(after![key]!) - BigInt(before![key]!));
  const sum = (device: string, field: string): number =>
    Array.from({ length: Number(after![`${device}.count`]) }, (_, i) => delta(`${device}.${i}.${field}`)).reduce(
      (total, each) => total + each,
      0,
    );
  const delays = Object.keys(after!).filter((key) => /^vcpu\.\d+\.delay$/.test(key));
  const steal = delays.reduce((total, key) => total + delta(key), 0) / delays.length / (seconds * 1e9);
  const requests = sum("block", "rd.reqs") + sum("block", "wr.reqs");
  const times = sum("block", "rd.times") + sum("block", "wr.times");
  return {
    VCPU: String(after!["vcpu.current"]),
    "CPU%": percent((delta("cpu.time") / (seconds * 1e9)) * 100),
    "STEAL%": percent(steal * 100),
    MEM: `~${narrowBytes(Number(after!["balloon.rss"]) * 1_024)}`,
    "READ/s": narrowBytes(sum("block", "rd.bytes") / seconds),
    "WRITE/s": narrowBytes(sum("block", "wr.bytes") / seconds),
    LAT: requests === 0 ? "-" : narrowMs(times / requests / 1e6),
    "RX/s": narrowBytes(sum("net", "rx.bytes") / seconds),
    "TX/s": narrowBytes(sum("net", "tx.bytes") / seconds),
  };
}

describeWith(labRequirements, "The table of virstream get, of a real host,", () => {
  let libvirtd: Libvirtd;
  let idle: Guest;
  beforeAll(async () => {
    libvirtd = await startLibvirtd();
    await createGuest(libvirtd, { name: "busy", vcpus: 2, disks: 2, nics: 1 });
    idle = await createGuest(libvirtd, { name: "idle", paused: true, nics: 1 });
    await createGuest(libvirtd, { name: "off", shutOff: true });
  });
  afterAll(async () => {
    idle?.thaw();
    await libvirtd?.stop();
  });

  it("has the figures that a calculation by hand has from the raw counters of the two samples", async () => {
    await using host = await connect(libvirtd.uri);
    const samples: DomainStatsRecord[][] = [];
    // Each sweep of the command is one of the real host, which is kept.
    const driver = new ScriptedDriver(async function* () {
      const records = await host.getAllDomainStats();
      samples.push(records);
      yield records;
    });
    await using server = await serve(new Connection(driver), { port: 0 });
    const { stdout, code } = await virstream(["get", server.url]);
    expect([code, samples.length]).toEqual([0, 2]);
    const [head, ...rows] = linesOf(stdout).map((line) => line.split(/ +/));
    expect(rows.map((row) => row.slice(0, 2))).toEqual([
      ["running", "busy"],
      ["paused", "idle"],
      ["shut-off", "off"],
    ]);
    for (const row of rows.slice(0, 2)) {
      const [one, other] = samples.map((records) => records.find(({ domain }) => domain.name === row[1])!);
      expect(other!.steadyAt - one!.steadyAt).toBeGreaterThanOrEqual(1_000);
      const shown = Object.fromEntries(head!.map((title, i) => [title, row[i]]));
      expect(shown).toEqual({ STATUS: row[0], GUEST: row[1], ...byHand(one!, other!) });
    }
    expect(Number(rows[0]![head!.indexOf("CPU%")])).toBeGreaterThan(0);
  });

  it("is the same table when the command sweeps twice, with rates where the guest runs, and with counters by --no-rates", async () => {
    const { stdout, stderr, code } = await virstream(["get", libvirtd.uri, "--over", "500ms"]);
    expect([stderr, code]).toEqual(["", 0]);
    expect(stdout).toMatch(/^running +busy +2 +\d+\.\d +\d+\.\d +~\d/m);
    // QEMU itself uses some of a processor while its guest is paused.
    expect(stdout).toMatch(/^paused +idle +1 +\d+\.\d +\d+\.\d +~\S+ +0 +0 +- +0 +0$/m);
    expect(stdout).toMatch(/^shut-off +off +\d+( +-)+$/m);
    const virsh = async (...keys: string[]): Promise<number[]> => {
      const { stdout } = await libvirtd.virsh("domstats", "--cpu-total", "--block", "--interface", "idle");
      return keys.map((key) => Number(new RegExp(`${key}=(\\d+)`).exec(stdout)![1]));
    };
    const counters = async (...options: string[]): Promise<string[]> => {
      const columns = ["--columns", "guest,cpu-time,read,rx"];
      const { stdout } = await virstream(["get", libvirtd.uri, ...options, ...columns]);
      return /^idle +(\S+) +(\S+) +(\S+)$/m.exec(stdout)!.slice(1);
    };
    const [before] = await virsh("cpu\\.time");
    const [cpu, ...others] = (await counters("--raw")).map(Number);
    const [seconds] = await counters("--no-rates");
    const [after, ...same] = await virsh("cpu\\.time", "block\\.0\\.rd\\.bytes", "net\\.0\\.rx\\.bytes");
    expect(others).toEqual(same);
    expect(before! <= cpu! && cpu! <= after!).toBe(true);
    expect([before!, after!].map(narrowSeconds)).toContain(seconds);
  });

  it("has a line for each disk, interface or vCPU with --per", async () => {
    const of = async (device: string): Promise<string[][]> => {
      const { stdout, code } = await virstream(["get", libvirtd.uri, "--over", "250ms", "--per", device]);
      expect(code).toBe(0);
      return linesOf(stdout).map((line) => line.split(/ +/).slice(0, 3));
    };
    expect((await of("disk")).slice(0, 4)).toEqual([
      ["STATUS", "GUEST", "DISK"],
      ["running", "busy", "vda"],
      ["running", "busy", "vdb"],
      ["paused", "idle", "vda"],
    ]);
    const vcpus = await of("vcpu");
    expect(vcpus).toContainEqual(["running", "busy", "1"]);
    expect((await of("nic")).filter(([, guest]) => guest === "busy")).toHaveLength(1);
  });

  it("has a guest whose QEMU is stopped on top, the rates of the others, and the command that says why", async () => {
    idle.freeze();
    const { stdout, stderr, code } = await virstream(["get", libvirtd.uri]);
    expect(stdout).toMatch(/^STATUS .*\nSTUCK-\d+s +idle .* partial \(\w+\) without .*\nrunning +busy +2 +\d+\.\d /);
    expect(code).toBe(3);
    const [, command] = /^virstream: idle: does not answer\. {2}virstream (why idle '.*')\n$/.exec(stderr)!;
    const why = await runCommand("sh", ["-c", `'${process.execPath}' '${PROGRAM}' ${command}`]);
    expect(why.stdout).toMatch(/^idle .*its QEMU process is stopped/);
  });
});
