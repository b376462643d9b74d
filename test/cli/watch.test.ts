/** @module-tag any-node */

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { describe, expect, it } from "vitest";
import type { LineDisplay } from "../../src/cli/display.ts";
import { follow, SweepCount } from "../../src/cli/watch.ts";
import { surveyRecording } from "../../src/drivers/recording/survey.ts";
import { TypedParams } from "../../src/model/params.ts";
import { Domain, DomainStatsRecord } from "../../src/model/record.ts";
import type { WatchEvent } from "../../src/model/watch.ts";
import { PROGRAM, start, virstream } from "./run.ts";
import { served } from "./served.ts";

/** What the tests look at of a line of ndjson. */
interface Line {
  readonly event?: string;
  readonly domain: { readonly name: string };
  readonly params?: object;
  readonly tick: number;
  readonly host: string;
  readonly summary: object;
  readonly rates: { readonly intervalMs: number; readonly cpu: { readonly percent: number } };
}

function objects(ndjson: string): Line[] {
  return ndjson
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));
}

/** Collects what a stream gives, and waits for what is looked for in it. */
class Transcript {
  text = "";
  readonly #stream: Readable;

  constructor(stream: Readable) {
    this.#stream = stream;
    stream.setEncoding("utf8").on("data", (text: string) => {
      this.text += text;
    });
  }

  /** Resolves with the first match in what came after the position. */
  async find(pattern: RegExp, from = 0): Promise<RegExpExecArray> {
    for (;;) {
      const match = pattern.exec(this.text.slice(from));
      if (match !== null) return match;
      await once(this.#stream, "data");
    }
  }
}

async function codeOf(child: ChildProcess): Promise<number | null> {
  const [code] = (await once(child, "close")) as [number | null];
  return code;
}

describe("virstream watch", () => {
  it("prints sweep after sweep as ndjson: records as get prints them, and a sync at the end of each", async () => {
    const uri = "test:///default?domains=3";
    const { stdout, stderr, code } = await virstream([
      "watch",
      uri,
      "--count",
      "3",
      "--interval",
      "250ms",
      "--format",
      "ndjson",
    ]);
    expect([stderr, code]).toEqual(["", 0]);
    const lines = objects(stdout);
    expect(lines.map((line) => line.event ?? line.domain.name)).toEqual(
      [1, 2, 3].flatMap(() => ["guest-00000", "guest-00001", "guest-00002", "sync"]),
    );
    const syncs = lines.filter((line) => line.event === "sync");
    expect(syncs.map(({ tick, host }) => [tick, host])).toEqual([1, 2, 3].map((tick) => [tick, "simulated"]));
    expect(syncs[0]!.summary).toMatchObject({ domains: 3, ok: 3, partial: 0 });
    const [of] = objects((await virstream(["get", uri, "--format", "ndjson"])).stdout);
    for (const line of lines.filter((line) => line.params)) expect(Object.keys(line)).toEqual(Object.keys(of!));
  });

  it("prints a paragraph per sweep as a table in a pipe", async () => {
    const uri = "test:///default?domains=2";
    const { stdout, stderr, code } = await virstream(["watch", uri, "--count", "2", "--interval", "250ms", "--state"]);
    expect([stderr, code]).toEqual(["", 0]);
    const table = (await virstream(["get", uri, "--state"])).stdout;
    const cells = (line: string): string => line.replaceAll(/ +/g, " ").replace(/ WHY$/, "");
    const [head, ...rows] = table.trimEnd().split("\n").map(cells);
    const [first, second, rest] = stdout.split("\n\n");
    expect(first!.split("\n").map(cells)).toEqual([
      head,
      ...rows,
      expect.stringMatching(/^# sweep 1: 2 domains of simulated in \d+\.\d\d s$/),
    ]);
    expect(second!.split("\n").slice(0, -1).map(cells)).toEqual(rows);
    expect(rest).toBe("");
  });

  it("prints what virsh would, once per sweep", async () => {
    const uri = "test:///default?domains=2";
    const watched = await virstream([
      "watch",
      uri,
      "--count",
      "2",
      "--interval",
      "250ms",
      "--state",
      "--format",
      "virsh",
    ]);
    const once = (await virstream(["get", uri, "--state", "--format", "virsh"])).stdout;
    expect([watched.stdout, watched.stderr, watched.code]).toEqual([once + once, "", 0]);
  });

  it("computes rates, from the second sweep on", async () => {
    const { stdout } = await virstream([
      "watch",
      "test:///default?domains=1",
      "--count",
      "2",
      "--interval",
      "250ms",
      "--format",
      "ndjson",
      "--rates",
    ]);
    const [first, , second] = objects(stdout);
    expect(first!.rates).not.toHaveProperty("intervalMs");
    expect(second!.rates.intervalMs).toBeGreaterThan(0);
    expect(second!.rates.cpu.percent).toBeGreaterThan(0);
    expect(second!.rates).not.toHaveProperty("record");
    const table = await virstream(["watch", "test:///default?domains=1", "--count", "2", "--interval", "250ms"]);
    expect(table.stdout).toMatch(/^STATUS +GUEST .* CPU% .* RX\/s /);
    expect(table.stdout).toMatch(/^running +guest-00000 +1 +- [\s\S]*\n\nrunning +guest-00000 +1 +\d+\.\d /m);
  });

  it("leaves out what did not change, on change", async () => {
    // The values of guests that are paused stand still.
    const { stdout } = await virstream([
      "watch",
      "test:///default?domains=3&paused=3",
      "--count",
      "3",
      "--interval",
      "250ms",
      "--format",
      "ndjson",
      "--on-change",
    ]);
    const events = objects(stdout).map((line) => line.event ?? "record");
    expect(events).toEqual(["record", "record", "record", "sync", "sync", "sync"]);
  });

  it("says that a domain is gone: in ndjson among the lines, otherwise beside them", async () => {
    const args = ["watch", "test:///default?domains=2&vanish=1", "--count", "2", "--interval", "250ms", "--state"];
    const ndjson = objects((await virstream([...args, "--format", "ndjson"])).stdout);
    expect(ndjson.filter((line) => line.event === "gone")).toMatchObject([{ domain: { name: "guest-00001" } }]);
    const table = await virstream(args);
    expect(table.stderr).toBe("virstream: domain guest-00001 of simulated is gone\n");
    expect(table.code).toBe(0);
  });

  it("exits with 3 when the last sweep had a record that is not whole, and tells of it once beside virsh's output", async () => {
    const { stderr, code } = await virstream([
      "watch",
      "test:///default?domains=2&error=1",
      "--count",
      "3",
      "--interval",
      "250ms",
      "--format",
      "virsh",
    ]);
    expect(code).toBe(3);
    expect(stderr).toMatch(/^virstream: domain guest-00001: failed.*\n$/);
  });

  it("ends with 0 when it is interrupted, and with 130 when that was before its count was reached", async () => {
    for (const [args, expected] of [
      [[], 0],
      [["--count", "1000000"], 130],
    ] as const) {
      for (const format of ["table", "ndjson", "virsh"]) {
        const child = start(["watch", "test:///default", "--format", format, ...args]);
        const stderr = new Transcript(child.stderr);
        await new Transcript(child.stdout).find(/\n/);
        child.kill("SIGINT");
        expect([format, await codeOf(child), stderr.text]).toEqual([format, expected, ""]);
      }
    }
  });

  it("ends quietly when its reader has seen enough", async () => {
    const child = start(["watch", "test:///default?domains=1000", "--format", "ndjson", "--interval", "250ms"]);
    const stderr = new Transcript(child.stderr);
    await once(child.stdout, "data");
    child.stdout.destroy();
    expect([await codeOf(child), stderr.text]).toEqual([0, ""]);
  });

  it("says that its output cannot be written, without a stack trace", async () => {
    const command = `"${process.execPath}" "${PROGRAM}" watch test:///default --interval 250ms > /dev/full`;
    const child = spawn("bash", ["-c", command], { stdio: ["ignore", "ignore", "pipe"] });
    const stderr = new Transcript(child.stderr);
    expect(await codeOf(child)).toBe(1);
    expect(stderr.text).toBe(
      "virstream: the output cannot be written (ENOSPC): make room on its disk [output-failed]\n",
    );
  });

  it("skips to the newest records for a reader that is slow, and says how many sweeps it left out", async () => {
    const child = start(["watch", "test:///default?domains=500", "--format", "ndjson", "--interval", "250ms"]);
    const output = new Transcript(child.stdout);
    const slow = setInterval(() => {
      child.stdout.pause();
      setTimeout(() => child.stdout.resume(), 1_000);
    }, 1_200);
    const [line] = await output.find(/\{"event":"gap".*\n/);
    clearInterval(slow);
    expect(JSON.parse(line)).toMatchObject({ reason: "slow-consumer" });
    expect(JSON.parse(line).skipped).toBeGreaterThan(0);
    child.stdout.resume();
    child.kill("SIGINT");
    expect(await codeOf(child)).toBe(0);
    for (const text of output.text.trimEnd().split("\n")) JSON.parse(text);
  });

  it("explains how it is used, and exits with 2, when its arguments are wrong", async () => {
    for (const args of [
      ["test:///default", "test:///other"],
      ["--format", "json"],
      ["--format", "virsh", "--rates"],
      ["--on-change", "--rates"],
      ["--interval", "249ms"],
      ["--interval", "1m30"],
      ["--interval", "2h"],
      ["--heartbeat", "1m"],
      ["--on-change", "--heartbeat", "500ms"],
      ["--count", "0"],
      ["--count", "1.5"],
      ["--frobnicate"],
    ]) {
      const { stdout, stderr, code } = await virstream(["watch", ...args]);
      expect([args, code, stdout]).toEqual([args, 2, ""]);
      expect(stderr).toMatch(/^virstream: .*\nTry "virstream watch --help".\n$/);
    }
    expect((await virstream(["watch", "--format", "json"])).stderr).toMatch(/ndjson/);
    expect((await virstream(["watch", "--help"])).stdout).toMatch(/^Usage: virstream watch [\s\S]*--interval/);
  });

  it("complains in one line about what cannot be had", async () => {
    const { stdout, stderr, code } = await virstream(["watch", "ws://127.0.0.1:1"]);
    expect([stdout, code]).toEqual(["", 1]);
    expect(stderr).toMatch(/^virstream: .*\[connection-refused\]\n$/);
  });
});

describe("virstream watch, of a server,", () => {
  it("watches at the server's pace or slower, and tells that it reconnects when the server is away", async () => {
    const server = start(["serve", "test:///default?domains=2", "--listen", "127.0.0.1:0", "--min-interval", ".3s"]);
    try {
      const [, url] = await new Transcript(server.stdout).find(/^(ws:\S+)\n/);
      const hasty = await virstream(["watch", url!, "--interval", "299ms"]);
      expect([hasty.stdout, hasty.code]).toEqual(["", 1]);
      expect(hasty.stderr).toMatch(
        /^virstream: --interval 299ms: the server's shortest is 300ms \[invalid-argument\]\n$/,
      );

      const child = start(["watch", url!, "--interval", "300ms", "--state"]);
      const [output, notices] = [new Transcript(child.stdout), new Transcript(child.stderr)];
      await output.find(/^# sweep 2: 2 domains of simulated/m);
      server.kill("SIGTERM");
      await notices.find(/^virstream: ws:.*: reconnecting: .*\n/m);
      child.kill("SIGINT");
      expect(await codeOf(child)).toBe(0);
    } finally {
      server.kill("SIGKILL");
    }
  });
});

describe("A server whose shortest interval is longer than the default", () => {
  it("is watched at that interval by watch, top and record, unless --interval is given", async () => {
    await using server = await served(["test:///default?domains=2", "--min-interval", "2s"]);
    const file = join(tmpdir(), `virstream-pace-${process.pid}.rec`);
    const other = "test:///default?domains=1&host=other";
    const recorder = start(["record", server.url, file]);
    try {
      await new Transcript(recorder.stderr).find(/recording ws:.*/);
      const watching = virstream(["watch", server.url, "--state", "-n", "1"]);
      const [table, batch] = await Promise.all([watching, virstream(["top", "-b", "-n", "1", server.url, other])]);
      expect([table.stdout, table.code]).toEqual([expect.stringMatching(/^# sweep 1: 2 domains/m), 0]);
      expect([batch.stdout, batch.code]).toEqual([expect.stringMatching(/ 2s\nSTATUS/), 0]);
      recorder.kill("SIGINT");
      expect(await codeOf(recorder)).toBe(0);
      expect((await surveyRecording(file)).intervalMs).toBe(2_000);
    } finally {
      recorder.kill("SIGKILL");
      await rm(file, { force: true });
    }
  });

  it("refuses a shorter --interval, also through another server, and record leaves no file then", async () => {
    await using server = await served(["test:///default?domains=2", "--min-interval", "2s"]);
    await using relay = await served([server.url]);
    const file = join(tmpdir(), `virstream-hasty-${process.pid}.rec`);
    const [recorded, batch] = await Promise.all([
      virstream(["record", server.url, file, "--interval", "1s"]),
      virstream(["top", "-b", "-n", "1", relay.url, "--interval", "1500ms"]),
    ]);
    const refused = (interval: string) =>
      `virstream: --interval ${interval}: the server's shortest is 2s [invalid-argument]\n`;
    expect([recorded.stderr, recorded.code]).toEqual([refused("1s"), 1]);
    expect([batch.stderr, batch.code]).toEqual([refused("1500ms"), 1]);
    expect(existsSync(file)).toBe(false);
  });
});

describe("following a watch", () => {
  const event = (type: "record" | "sync"): WatchEvent =>
    type === "sync"
      ? {
          type,
          tick: 1,
          host: "hv1",
          overrun: 0,
          summary: { domains: 1, ok: 1, partial: 0, failed: 0, gone: 0, startedAt: 1, tookMs: 1 },
        }
      : {
          type,
          record: new DomainStatsRecord({
            domain: new Domain("00000000-0000-4000-8000-000000000001", "guest", 1, "hv1"),
            params: TypedParams.EMPTY,
            status: "ok",
            sampledAt: 1,
            tookMs: 1,
            index: 0,
          }),
        };

  it("pulls nothing more while there is no room, and ends with the sweep that was the last one wanted", async () => {
    const seen: string[] = [];
    let left = false;
    async function* chunks(): AsyncGenerator<readonly WatchEvent[]> {
      try {
        for (let chunk = 1; ; chunk++) {
          seen.push(`chunk ${chunk}`);
          yield [event("record"), event("sync"), event("record")];
        }
      } finally {
        left = true;
      }
    }
    const display: Pick<LineDisplay, "take" | "room" | "end"> = {
      take: ({ type }) => void seen.push(type),
      room: async () => {
        await new Promise((resolve) => setImmediate(resolve));
        seen.push("room");
      },
      end: () => {},
    };
    await follow(chunks(), new SweepCount(2), display, undefined, new AbortController().signal);
    expect(seen).toEqual(["chunk 1", "record", "sync", "record", "room", "chunk 2", "record", "sync"]);
    expect(left).toBe(true);
  });
});
