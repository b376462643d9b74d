/** @module-tag any-node */

import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parseCheck } from "../../src/cli/check/arguments.ts";
import { Range } from "../../src/cli/check/range.ts";
import { createFailedGuests } from "../lab/failed-guests.ts";
import { createGuest, type Guest } from "../lab/guest.ts";
import { type Libvirtd, startLibvirtd } from "../lab/libvirtd.ts";
import { describeWith, labRequirements } from "../lab/requirement.ts";
import { virstream } from "./run.ts";

/** The form of the guidelines: one line, its text without a bar, and performance data with 'label'=value[UOM];[warn];[crit];[min]. */
const LINE =
  /^VIRSTREAM (OK|WARNING|CRITICAL|UNKNOWN) - [^|\n]+(?: \|(?: \w+=(?:U|-?[\d.]+(?:s|%|ms)?);[^;| ]*;[^;| ]*;0)+)?\n$/;

/** Runs the check. Its line must have the form, and its exit code must be that of its status. */
async function checked(...args: string[]): Promise<string> {
  const { stdout, stderr, code } = await virstream(["check", ...args]);
  expect([stdout, stderr]).toEqual([expect.stringMatching(LINE), ""]);
  expect(code).toBe(["OK", "WARNING", "CRITICAL", "UNKNOWN"].indexOf(LINE.exec(stdout)![1]!));
  return stdout;
}

describe("A range of the guidelines", () => {
  it.each<[string, number[], number[]]>([
    ["10", [-1, 11], [0, 10]],
    ["10:", [9.9], [10, 1e9]],
    ["~:10", [10.1], [-1e9, 10]],
    ["10:20", [9, 21], [10, 20]],
    ["@10:20", [10, 20], [9, 21]],
    ["-5:-1", [0, -6], [-5, -1]],
  ])("%s alerts at %j and not at %j", (text, alerts, quiet) => {
    const range = new Range(text);
    expect([alerts, quiet].map((values) => values.map((value) => range.alerts(value)))).toEqual([
      alerts.map(() => true),
      quiet.map(() => false),
    ]);
  });

  it.each(["", "@", "x", "20:10", "1:2:3", ":"])("is refused when it is none: %j", (text) => {
    expect(() => new Range(text)).toThrow(/a threshold is a range such as 90/);
  });
});

describe("virstream check", () => {
  it("gives each threshold to the metric before it, and those before any metric to stuck guests", () => {
    const of = (...args: string[]) =>
      [...parseCheck(args).thresholds].map(([metric, { warning, critical }]) => [
        metric,
        warning?.text,
        critical?.text,
      ]);
    expect(of()).toEqual([["stuck", undefined, "0"]]);
    expect(of("-w", "5", "-c", "60", "--cpu", "-w", "80", "-c", "95", "--steal", "-c", "~:25")).toEqual([
      ["stuck", "5", "60"],
      ["cpu", "80", "95"],
      ["steal", undefined, "~:25"],
    ]);
    expect(() => parseCheck(["--cpu"])).toThrow(/--cpu goes before its thresholds/);
  });

  it("is OK where all is well, and reports the worst rates against their ranges", async () => {
    expect(await checked("test:///default", "--over", "250ms")).toMatch(/^VIRSTREAM OK - 12 guests \| guests=12;;;0 /);
    const warned = await checked("test:///default", "--over", "250ms", "--latency", "-w", "0.0001");
    expect(warned).toMatch(/^VIRSTREAM WARNING - guest-\d+ latency [\d.]+ ms, .* latency=[\d.]+ms;0\.0001;;0 /);
  });

  it("is CRITICAL where the only host, or one of several, cannot be reached", async () => {
    expect(await checked("ws://127.0.0.1:1")).toMatch(
      /^VIRSTREAM CRITICAL - nothing listens .* \[connection-refused\]/,
    );
    const two = await checked("ws://127.0.0.1:1", "test:///default?domains=1", "--over", "250ms");
    expect(two).toMatch(/^VIRSTREAM CRITICAL - host ws:\/\/127\.0\.0\.1:1 absent: .*; 1 guest \| .* absent=1;;;0/);
  });

  it("is UNKNOWN where it cannot judge: wrong usage, nothing to look at, or its own timeout", async () => {
    expect(await checked("test:///default", "-w", "x")).toMatch(/^VIRSTREAM UNKNOWN - a threshold is a range/);
    expect(await checked("test:///default", "--name", "no-*", "--over", "250ms")).toMatch(/UNKNOWN - no guest matches/);
    expect(await checked("test:///default?freeze=1", "-t", "1")).toMatch(
      /UNKNOWN - no verdict within 1 s \(--timeout\)/,
    );
  });
});

describeWith(labRequirements, "virstream check of real guests", () => {
  let libvirtd: Libvirtd;
  let frozen: Guest;
  beforeAll(async () => {
    libvirtd = await startLibvirtd();
    frozen = await createGuest(libvirtd, { name: "frozen", disks: 0, paused: true });
    await createFailedGuests(libvirtd);
  });
  afterAll(() => libvirtd?.stop());

  it("names a frozen guest and for how long, one that an I/O error stopped, and one whose QEMU was killed", async () => {
    expect(await checked(libvirtd.uri, "--name", "frozen")).toMatch(/^VIRSTREAM OK - 1 guest /);
    await frozen.freeze();
    const line = await checked(libvirtd.uri, "-t", "60");
    expect(line).toMatch(/^VIRSTREAM CRITICAL - .*; 3 guests \| guests=3;;;0 stuck=1;;;0 failed=2;;;0 absent=0;;;0/);
    expect(line).toMatch(/frozen stuck for \d+\.\d s \((timeout|quarantined|busy)\)/);
    expect(line).toContain("broken paused (I/O error)");
    expect(line).toContain("killed shut off (crashed)");
    // The call of that check still waits in libvirtd for the guest.
    const patient = await checked(libvirtd.uri, "--name", "frozen", "-w", "0", "-c", "600", "-t", "60");
    expect(patient).toMatch(/^VIRSTREAM WARNING - frozen stuck for/);
  });
});
