import { describe, expect, it } from "vitest";
import { parseGet, parseServe, parseWatch } from "../../src/cli/arguments.ts";
import { UsageError } from "../../src/cli/usage.ts";

describe("a time on the command line", () => {
  it.each([
    ["3", 3_000],
    [".5", 500],
    [".5s", 500],
    ["2.", 2_000],
    ["250ms", 250],
    ["1.5m", 90_000],
    ["1m30s", 90_000],
    ["1m2s3ms", 62_003],
    ["10m", 600_000],
  ])("%s is %d ms: a bare number is seconds", (text, ms) => {
    expect(parseGet(["--deadline", text]).query.deadlineMs).toBe(ms);
  });

  it.each(["", ".", "s", "ms", "0", "1m30", "30s1m", "5e3", "11m", "1h", "soon"])("is not %j", (text) => {
    expect(() => parseGet([`--deadline=${text}`])).toThrow(UsageError);
  });

  it("is seconds in every option, as in watch -n", () => {
    const { options } = parseWatch(["--interval", "10", "--on-change", "--heartbeat", "60"]);
    expect(options).toMatchObject({ intervalMs: 10_000, heartbeatMs: 60_000 });
    expect(parseServe(["--min-interval", "2"]).minIntervalMs).toBe(2_000);
  });

  it("is an interval from 250 ms, below which a person has mistaken the unit", () => {
    expect(parseWatch(["--interval", "250ms"]).options.intervalMs).toBe(250);
    expect(() => parseWatch(["--interval", "249ms"])).toThrow(/from 250ms to 1h/);
  });
});
