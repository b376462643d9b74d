/** @module-tag any-node */

import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { mustRun } from "../lab/command.ts";
import { describeWith } from "../lab/requirement.ts";
import { folder } from "../outlets/recording/recorded.ts";
import { recorded } from "./recorded.ts";
import { outcomeOf, PROGRAM, virstream } from "./run.ts";
import { served } from "./served.ts";

const HOST = "test:///default?domains=5&freeze=2";

const linesOf = (ndjson: string) =>
  ndjson
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));

describe("virstream record", () => {
  it("records until it is interrupted; get, watch and info read the file, also when it was killed before", async () => {
    const file = join(folder(), "host.rec");
    const killed = await recorded([HOST], file, 5_000, "SIGKILL");
    expect([killed.stdout, killed.stderr]).toEqual(["", expect.stringMatching(/recording test:.* into .*host\.rec/)]);
    const { stdout, stderr, code } = await recorded([HOST], file, 20_000, "SIGINT");
    expect([stdout, code]).toEqual(["", 0]);
    expect(stderr).toMatch(
      /recorded \d+ records of \d+ sweeps, .*\n.*virstream watch 'file:\/\/\/.*host\.rec\?speed=1'/,
    );

    const info = await virstream(["info", file]);
    expect([info.stderr, info.code]).toEqual(["", 0]);
    expect(info.stdout).toMatch(/^ {2}hosts {7}simulated$/m);
    expect(info.stdout).toMatch(/^ {2}domains {5}5$/m);
    expect(info.stdout).toMatch(/^ {2}records {5}\d+ of \d+ sweeps?, \d+ bytes each, \d+ partial$/m);
    expect(info.stdout).toMatch(/an unknown number of sweeps skipped: the recorder did not run/);
    const json = JSON.parse((await virstream(["info", file, "--format", "json"])).stdout);
    expect(json).toMatchObject({ domains: 5, ended: true, gapCount: 1, damagedBytes: 0, cutBytes: 0 });

    const get = await virstream(["get", file, "--format", "ndjson", "--state", "--name", "guest-0000[12]"]);
    expect([get.stderr, get.code]).toEqual(["", 0]);
    expect(linesOf(get.stdout).map(({ domain, status, params }) => [domain.name, status, Object.keys(params)])).toEqual(
      ["guest-00001", "guest-00002"].map((name) => [name, "ok", ["state.state", "state.reason"]]),
    );
    // As it was at a moment: with the rates up to it, and each trouble as old as it was then.
    const then = await virstream(["get", file, "--at=-200ms", "--over", "250ms", "--columns", "status,guest,cpu,age"]);
    expect([then.stdout.split("\n")[1], then.code]).toEqual([expect.stringMatching(/^STUCK-\ds +guest-00002/), 3]);
    expect(then.stdout).toMatch(/^running +guest-00001 +\d+\.\d +\ds$/m);
    const never = await virstream(["get", file, "--at", "2001-01-01"]);
    expect([never.stderr, never.code]).toEqual([expect.stringMatching(/before the beginning.*it is from 20/), 1]);
    const end = await virstream(["get", file, "--columns", "guest,cpu"]);
    expect(end.stdout).toMatch(/^guest-00001 +\d+\.\d$/m);
    const batch = await virstream(["top", "-b", `file://${file}?speed=max`]);
    const tables = batch.stdout.trimEnd().split("\n\n");
    expect(tables).toHaveLength(json.ticks);
    const last = new Date(json.to).toLocaleString("sv-SE").slice(0, -1);
    expect(tables.at(-1)).toMatch(new RegExp(`^virstream .* ${last}\\d  .*\\nSTATUS .*\\nSTUCK-\\ds +guest-00002`));
    const replay = await virstream(["watch", `file://${file}?speed=max`, "--count", "1"]);
    expect(replay.stdout).toMatch(/^# sweep 1 at 20\d\d-\d\d-\d\d \d\d:\d\d:\d\d: 5 domains/m);
    const watch = await virstream(["watch", `file://${file}?speed=max`, "--format", "ndjson", "--rates"]);
    expect([watch.stderr, watch.code]).toEqual(["", 3]);
    const lines = linesOf(watch.stdout);
    expect(lines.filter(({ event }) => event === "sync")).toHaveLength(json.ticks);
    expect(lines.filter(({ params }) => params)).toHaveLength(json.records);
    const [one, other] = lines.filter(({ domain, params }) => params && domain.name === "guest-00000").slice(-2);
    expect(other.rates.cpu.intervalMs).toBeCloseTo(other.steadyAt - one.steadyAt, 3);
  });

  it("is replayed by a server, whose shortest interval top -b takes", async () => {
    const file = join(folder(), "served.rec");
    // A whole sweep has 9 kB.
    await recorded([HOST], file, 12_000, "SIGINT");
    await using server = await served([`file://${file}`, "--min-interval", "2s"]);
    const { stdout, stderr } = await virstream(["top", "-b", "-n", "1", server.url]);
    expect([stdout, stderr]).toEqual([expect.stringMatching(/^virstream .*\nSTATUS /), ""]);
  });

  it("without a whole sweep makes top -b say that it has no table of it, and what shows its records", async () => {
    const file = join(folder(), "cut.rec");
    // The frozen guest keeps the first sweep open, while the records of the others are written.
    await recorded([HOST, "--deadline", "1m", "--interval", "2m"], file, 5_000, "SIGINT");
    const { stdout, stderr, code } = await virstream(["top", "-b", `file://${file}`]);
    expect([stdout, stderr, code]).toEqual([
      "",
      expect.stringMatching(/cut\.rec ended before its first sweep.*get/),
      3,
    ]);
    expect(linesOf((await virstream(["get", file, "--format", "ndjson"])).stdout)).toHaveLength(4);
  });

  it("is swept once by get without rates, from a server that replays it", async () => {
    const file = join(folder(), "swept.rec");
    await recorded([HOST], file, 5_000, "SIGINT");
    await using server = await served([`file://${file}`, "--log-level", "trace"]);
    const { stdout } = await virstream(["get", server.url, "--format", "ndjson", "--state"]);
    expect(linesOf(stdout).length).toBeGreaterThan(0);
    expect(server.of("request").map(({ type }) => type)).toEqual(["get"]);
  });

  it("records several hosts in one file", async () => {
    const file = join(folder(), "hosts.rec");
    const hosts = ["test:///default?domains=2&host=hv1", "test:///default?domains=3&host=hv2"];
    expect((await recorded(hosts, file, 6_000, "SIGINT")).code).toBe(0);
    const { stdout } = await virstream(["get", file, "--format", "ndjson"]);
    expect(
      linesOf(stdout)
        .map(({ domain }) => domain.host)
        .sort(),
    ).toEqual(["hv1", "hv1", "hv2", "hv2", "hv2"]);
    const one = await virstream(["get", file, "--host", "hv2", "--format", "ndjson"]);
    expect(linesOf(one.stdout)).toHaveLength(3);
  });

  it("explains what is wrong with a file that is no recording", async () => {
    const info = await virstream(["info", PROGRAM]);
    expect([info.code, info.stderr]).toEqual([1, expect.stringMatching(/is not a recording of virstream/)]);
    const into = await virstream(["record", "test:///default", PROGRAM]);
    expect([into.code, into.stderr]).toEqual([1, expect.stringMatching(/is not a recording: choose another file/)]);
  });
});

describeWith(["root with mount namespaces"], "virstream record on a full disk", () => {
  it("ends with an error that says so, and what it wrote before is whole", async () => {
    const disk = folder();
    const copy = join(folder(), "copy.rec");
    const script = `mount -t tmpfs -o size=256k tmpfs ${disk} &&
      ${process.execPath} ${PROGRAM} record 'test:///default?domains=40' ${disk}/host.rec --interval 250ms; code=$?;
      cp ${disk}/host.rec ${copy}; exit $code`;
    const child = spawn("unshare", ["--mount", "sh", "-c", script], { stdio: ["ignore", "pipe", "pipe"] });
    const outcome = await outcomeOf(child as never);
    expect(outcome.code).toBe(1);
    expect(outcome.stderr).toMatch(/host\.rec cannot be written \(ENOSPC\): make room on its disk/);
    const survey = JSON.parse((await mustRun(process.execPath, [PROGRAM, "info", copy, "--format", "json"])).stdout);
    expect(survey).toMatchObject({ damagedBytes: 0, cutBytes: 0 });
    expect(survey.records).toBeGreaterThanOrEqual(40);
    expect(readFileSync(copy).length).toBe(survey.bytes);
  });
});
