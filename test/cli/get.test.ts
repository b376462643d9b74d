/** @module-tag any-node */

import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Connection } from "../../src/client/connection.ts";
import { findLocalSocket } from "../../src/drivers/libvirt/transport/unix.ts";
import { VirstreamError } from "../../src/model/error.ts";
import { serve } from "../../src/server/server.ts";
import { runCommand } from "../lab/command.ts";
import { describeWith } from "../lab/requirement.ts";
import { ScriptedDriver } from "../server/scripted-driver.ts";
import { entriesOf } from "./log-entries.ts";
import { type Outcome, outcomeOf, PROGRAM, start, virstream } from "./run.ts";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "virstream-"));
});
afterAll(() => rm(folder, { recursive: true }));

/** What every complaint is: one line that says what is wrong, with its code; never a stack trace. */
function expectComplaint(outcome: { stderr: string; stdout: string }, code: string): void {
  expect(outcome.stderr).toMatch(new RegExp(`^virstream: .*\\[${code}\\]\\n$`));
  expect(outcome.stderr).not.toMatch(/\n\s+at /);
}

/** Runs `virstream COMMAND` by a shell, which redirects its output. */
function shell(command: string): Promise<Outcome> {
  const args = ["-c", `"${process.execPath}" "${PROGRAM}" ${command}`];
  return outcomeOf(spawn("bash", args, { stdio: ["ignore", "pipe", "pipe"] }));
}

describe("virstream get", () => {
  it("that may open too few files to start says so in one line, with the limit to raise", async () => {
    const empty = join(folder, "empty.js");
    await writeFile(empty, "await import('node:fs');");
    await writeFile(join(folder, "package.json"), '{ "type": "module" }');
    const limited = (files: number, ...program: string[]) =>
      runCommand("sh", ["-c", `ulimit -n ${files}; exec "$@"`, "sh", process.execPath, ...program]);
    let started = 0;
    for (let files = 16; files <= 64; files += 8) {
      // With fewer files, Node itself does not start.
      if ((await limited(files - 2, empty)).code !== 0) continue;
      started++;
      const { stdout, stderr, code } = await limited(files, PROGRAM, "get", "test:///default");
      // Newer versions of Node close the files of modules earlier, and need no more.
      if (code === 0) continue;
      expect([files, stdout, code]).toEqual([files, "", 1]);
      expect(stderr).toMatch(/^virstream: .*ulimit -n 1024.*\n$/);
    }
    expect(started).toBeGreaterThan(3);
  });

  it("prints rates of every domain between two sweeps, in a table and as JSON", async () => {
    const get = (...options: string[]) =>
      virstream(["get", "test:///default", "--rates", "--over", "250ms", ...options]);
    const table = await get();
    expect([table.stderr, table.code]).toEqual(["", 0]);
    const [head, ...lines] = table.stdout.trimEnd().split("\n");
    expect(head).toMatch(/^STATUS +GUEST +VCPU +CPU% .* RX\/s /);
    expect(lines).toHaveLength(12);
    expect(lines.filter((line) => /^running +guest-\d{5} +\d +\d+\.\d /.test(line))).toHaveLength(9);
    expect(lines.filter((line) => /^shut-off +guest-\d{5} +\d +- /.test(line))).toHaveLength(2);
    for (const format of ["ndjson", "json"]) {
      const { stdout } = await get("--format", format, "--cpu-total");
      const records =
        format === "json"
          ? JSON.parse(stdout)
          : stdout
              .trimEnd()
              .split("\n")
              .map((line) => JSON.parse(line));
      expect(records).toHaveLength(12);
      expect(records.filter((each: { rates: { cpu: object } }) => "percent" in each.rates.cpu)).toHaveLength(10);
    }
  });

  it("prints one JSON object per record as ndjson, with all digits of every integer", async () => {
    const { stdout, stderr, code } = await virstream([
      "get",
      "test:///default?domains=3&extremes=1",
      "--format",
      "ndjson",
    ]);
    expect([stderr, code]).toEqual(["", 0]);
    const lines = stdout.trimEnd().split("\n");
    expect(lines).toHaveLength(3);
    for (const line of lines) {
      const record = JSON.parse(line);
      expect(Object.keys(record)).toEqual([
        "domain",
        "status",
        "reason",
        "missing",
        "sampledAt",
        "steadyAt",
        "tookMs",
        "state",
        "params",
      ]);
      expect(Object.keys(record.domain)).toEqual(["uuid", "name", "id", "host"]);
      const state = { state: "running", reason: "booted" };
      expect(record).toMatchObject({ status: "ok", reason: null, missing: [], state });
    }
    expect(stdout).toContain(":18446744073709551615");
    expect(stdout).toContain(":-9223372036854775808");
  });

  it("prints one JSON array as json, also of no domain at all", async () => {
    const some = await virstream(["get", "test:///default?domains=2", "--format", "json", "--state"]);
    expect(JSON.parse(some.stdout)).toHaveLength(2);
    const none = await virstream(["get", "test:///default?domains=0", "--format", "json"]);
    expect([JSON.parse(none.stdout), none.code]).toEqual([[], 0]);
  });

  it("prints a table with the columns of the groups that were asked for", async () => {
    const { stdout } = await virstream(["get", "test:///default?domains=2", "--no-rates", "--vcpu", "--balloon"]);
    const [head, ...rows] = stdout.trimEnd().split("\n");
    expect(head!.split(/\s+/)).toEqual(["STATUS", "GUEST", "VCPU", "MEM", "RSS"]);
    expect(rows).toHaveLength(2);
    expect(rows[0]).toMatch(/^running +guest-00000 +\d+ +[\d.]+G +[\d.]+G$/);
  });

  it("exits with 3, and says why in the data, when a domain failed, is partial or is not there", async () => {
    const faults = "test:///default?domains=6&freeze=1&error=2&vanish=3";
    const { stdout, code } = await virstream(["get", faults, "--format", "ndjson", "--deadline", "100ms"]);
    const statuses = stdout
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect(code).toBe(3);
    expect(statuses.map((record) => [record.domain.name, record.status, record.reason]).sort()).toEqual([
      ["guest-00000", "ok", null],
      ["guest-00001", "partial", "timeout"],
      ["guest-00002", "failed", "error"],
      ["guest-00003", "gone", null],
      ["guest-00004", "ok", null],
      ["guest-00005", "ok", null],
    ]);
    expect(statuses.find((record) => record.status === "failed").error.code).toBe("hypervisor-error");
    const unknown = await virstream(["get", "test:///default", "--domain", "nobody", "--format", "virsh"]);
    expect([unknown.stdout, unknown.code]).toEqual(["\n", 3]);
    expect(unknown.stderr).toMatch(/domain nobody: gone: /);
  });

  it("says which of the named domains a filter leaves out, and exits with 3", async () => {
    const named = ["--domain", "guest-00000", "--domain", "guest-00001", "--list-inactive", "--state"];
    for (const format of ["table", "virsh", "json"]) {
      const { stdout, stderr, code } = await virstream(["get", "test:///default", "--format", format, ...named]);
      expect([format, code, stderr]).toEqual([
        format,
        3,
        "virstream: domain guest-00000 does not pass the filters (--list-…)\n",
      ]);
      expect(stdout).toContain("guest-00001");
      expect(stdout).not.toContain("guest-00000");
    }
  });

  it("prints the domains whose names match --name, of the hosts that match --host, and says when no host does", async () => {
    const uri = "test:///default?domains=20&host=hv1";
    const names = (text: string) => [...text.matchAll(/"name":"([^"]*)"/g)].map(([, name]) => name);
    const selected = ["--name", "guest-0000[12]", "--name", "*19", "--host", "hv*", "--state", "--format", "ndjson"];
    const got = await virstream(["get", uri, ...selected]);
    const expected = ["guest-00001", "guest-00002", "guest-00019"];
    expect([names(got.stdout), got.stderr, got.code]).toEqual([expected, "", 0]);
    const watched = await virstream(["watch", uri, ...selected, "--count", "2"]);
    expect([names(watched.stdout), watched.code]).toEqual([[...expected, ...expected], 0]);
    for (const command of ["get", "watch"]) {
      const none = await virstream([command, uri, "--host", "hv2"]);
      expect([none.code, none.stderr]).toEqual([
        1,
        expect.stringMatching(/no host matches --host: the only host is hv1/),
      ]);
    }
    const both = await virstream(["get", uri, "--name", "a*", "--domain", "b"]);
    expect([both.code, both.stderr]).toEqual([2, expect.stringMatching(/--name and --host do not go with --domain/)]);
    const malformed = await virstream(["get", uri, "--name", "a["]);
    expect([malformed.code, malformed.stderr]).toEqual([1, expect.stringMatching(/"a\[" is malformed/)]);
  });

  it("says what a table cannot show: no match for --name, groups without a column, and a domain that does not exist", async () => {
    const [none, perf, nope] = await Promise.all(
      [
        ["--name", "no*"],
        ["--perf", "--vcpu"],
        ["--domain", "nope"],
      ].map((args) => virstream(["get", "test:///default?domains=2", "--no-rates", ...args])),
    );
    expect([none!.stderr, none!.code]).toEqual(["virstream: no domain matches --name no*\n", 0]);
    expect(perf!.stderr).toMatch(/^virstream: the table has no column for --perf: --format ndjson .*\n$/);
    expect(nope!.stderr).toBe('virstream: nope: there is no domain "nope" on simulated\n');
  });

  it("prints nothing, not even a head, of a sweep that fails before its first record", async () => {
    const failure = new VirstreamError("unsupported", "this host has no statistics");
    const driver = new ScriptedDriver(async function* () {
      yield await Promise.reject(failure);
    });
    await using server = await serve(new Connection(driver), { port: 0 });
    for (const format of ["table", "virsh", "json", "ndjson"]) {
      const failed = await virstream(["get", server.url, "--format", format]);
      expect([format, failed.code, failed.stdout]).toEqual([format, 1, ""]);
      expectComplaint(failed, "unsupported");
    }
  });

  it("takes its URI from the environment when none is given, ours before libvirt's", async () => {
    const one = { LIBVIRT_DEFAULT_URI: "test:///default?domains=1" };
    const two = { ...one, VIRSTREAM_URI: "test:///default?domains=2" };
    expect((await virstream(["get", "--format", "ndjson"], one)).stdout.trimEnd().split("\n")).toHaveLength(1);
    expect((await virstream(["get", "--format", "ndjson"], two)).stdout.trimEnd().split("\n")).toHaveLength(2);
  });

  it.skipIf(findLocalSocket() !== undefined)("has no invented domains where no libvirt daemon runs", async () => {
    for (const command of ["get", "watch", "serve"]) {
      const outcome = await virstream([command]);
      expect([command, outcome.code, outcome.stdout]).toEqual([command, 1, ""]);
      if (command === "serve") expect(entriesOf(outcome.stderr).at(-1)).toMatchObject({ code: "socket-missing" });
      else expectComplaint(outcome, "socket-missing");
      expect(outcome.stderr).toMatch(/no libvirt daemon for qemu:\/\/\/system.* try test:\/\/\/default for a demo/);
    }
  });

  it("complains in one line with a stable code about what cannot be had", async () => {
    const gone = join(folder, "no-socket");
    const cases: [args: string[], code: string][] = [
      [["get", "foo:///system"], "unknown-scheme"],
      [["get", "no uri"], "invalid-uri"],
      [["get", "test:///default?domains=many"], "invalid-uri"],
      [["get", `qemu:///system?socket=${gone}`], "socket-missing"],
      [["get", "ws://127.0.0.1:1"], "connection-refused"],
      [["get", "test:///default", "--token-file", gone], "invalid-argument"],
    ];
    for (const [args, code] of cases) {
      const outcome = await virstream(args);
      expect([args, outcome.code]).toEqual([args, 1]);
      expectComplaint(outcome, code);
    }
    for (const [uri, meant] of [
      ["qmeu:///system", "qemu:///system"],
      ["qemu+shh://root:secret@host/system", "qemu+ssh://root@host/system"],
      ["localhost:16580", "ws://localhost:16580"],
      ["http://localhost:16580", "ws://localhost:16580"],
      ["https://hv1", "wss://hv1"],
    ] as const) {
      const outcome = await virstream(["get", uri]);
      expectComplaint(outcome, "unknown-scheme");
      expect(outcome.stderr).toContain(`did you mean ${meant}?`);
    }
    const file = await virstream(["get", "README.md"]);
    expectComplaint(file, "invalid-uri");
    expect(file.stderr).toContain(`did you mean ${pathToFileURL("README.md").href}?`);
    const missing = await virstream(["get", `qemu:///system?socket=${gone}`]);
    expect(missing.stderr).toContain(gone);
  });

  it("explains how it is used, and exits with 2, when its arguments are wrong", async () => {
    for (const args of [
      ["get", "--frobnicate"],
      ["get", "--rates", "--no-rates"],
      ["get", "--columns", "guest,cpus"],
      ["get", "--sort", "rss"],
      ["get", "--per", "gpu"],
      ["get", "--sort", "cpu", "--format", "json"],
      ["get", "--format", "xml"],
      ["get", "--deadline", "soon"],
      ["get", "--deadline", "0"],
      ["get", "--rates", "--format", "virsh"],
      ["get", "--over", "1s", "--no-rates"],
      ["get", "--over", "1s", "--format", "ndjson"],
      ["get", "--rates", "--over", "249ms"],
      ["serve", "--listen", "nowhere"],
      ["serve", "--listen", "a:b:c"],
      ["serve", "--listen", "::1:16580"],
      ["dance"],
      [],
    ]) {
      const { stdout, stderr, code } = await virstream(args);
      expect([args, code, stdout]).toEqual([args, 2, ""]);
      expect(stderr).toMatch(/--help|Usage/);
      expect(stderr).not.toMatch(/\n\s+at /);
    }
    expect((await virstream(["serve", "--listen", "::1:16580"])).stderr).toContain("[::1]:16580");
    expect((await virstream(["gte"])).stderr).toBe(
      'virstream: there is no command "gte": did you mean get?\nTry "virstream --help".\n',
    );
    expect((await virstream(["-V"])).stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
    for (const args of [["--help"], ["get", "-h"], ["serve", "--help"], ["help", "top"]]) {
      const { stdout, code } = await virstream(args);
      expect([code, stdout]).toEqual([0, expect.stringMatching(/^Usage: virstream/)]);
    }
  });

  it("ends quietly when its reader has seen enough", async () => {
    const child = start(["get", "test:///default?domains=200000", "--format", "ndjson"]);
    let stderr = "";
    child.stderr.on("data", (text) => {
      stderr += text;
    });
    await once(child.stdout, "data");
    child.stdout.destroy();
    const [code] = await once(child, "close");
    expect([stderr, code]).toEqual(["", 0]);
  });

  it.each([
    ["get test:///default"],
    ["get test:///default --format json"],
    ["serve test:///default --listen :0"],
    ["--help"],
    ["--version"],
    ["get --help"],
  ])("says of %s that its output cannot be written, without a stack trace", async (command) => {
    const { code, stderr } = await shell(`${command} > /dev/full`);
    const last = stderr.trimEnd().split("\n").at(-1);
    expect([code, last]).toEqual([
      1,
      "virstream: the output cannot be written (ENOSPC): make room on its disk [output-failed]",
    ]);
  });

  it("prints its records also when its stderr is closed, a full disk or a pipe that nothing reads", async () => {
    for (const redirection of ["2>&-", "2> /dev/full", "2> >(true)"]) {
      const { code, stdout } = await shell(
        `get 'test:///default?domains=3&freeze=0' --deadline 100ms --format virsh ${redirection}`,
      );
      expect([redirection, code, stdout.match(/^Domain: /gm)?.length]).toEqual([redirection, 3, 3]);
    }
  });

  it.each([
    ["json", (text: string) => JSON.parse(text)],
    [
      "ndjson",
      (text: string) =>
        text
          .trimEnd()
          .split("\n")
          .map((line) => JSON.parse(line)),
    ],
  ])("ends with 130 when it is interrupted, says how far it came, and leaves valid %s", async (format, parse) => {
    const child = start(["get", "test:///default?domains=2&freeze=0", "--deadline", "10m", "--format", format]);
    let stderr = "";
    let stdout = "";
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      stderr += text;
    });
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      stdout += text;
    });
    await once(child.stdout, "data");
    child.kill("SIGINT");
    const [code] = await once(child, "close");
    expect([code, stderr]).toEqual([130, "virstream: interrupted after 1 of 2 domains\n"]);
    expect(parse(stdout)).toMatchObject([{ domain: { name: "guest-00001" } }]);
  });
});

describeWith(["script"], "virstream get, on a terminal,", () => {
  it("shows progress on a terminal, and none elsewhere", async () => {
    const command = `${process.execPath} ${PROGRAM} get 'test:///default?domains=5&freeze=2' --deadline 300ms`;
    const child = spawn("script", ["-qec", command, "/dev/null"], { stdio: ["ignore", "pipe", "pipe"] });
    let screen = "";
    child.stdout.on("data", (text) => {
      screen += text;
    });
    await once(child, "close");
    expect(screen).toMatch(/first of two sweeps: 4 of 5 domains/);
    expect(screen).toMatch(
      /\n5 guests: 4 ok, 1 partial in \d+\.\d s\. {2}guest-00002: does not answer\. {2}virstream why guest-00002 'test:/,
    );
    const piped = await virstream(["get", "test:///default?domains=5", "--over", "250ms"]);
    expect(piped.stderr).toBe("");
  });

  it("shows the figures of a guest that needs more than a second with --over, or without rates", async () => {
    const slow = "test:///default?domains=2&slow=0:1500";
    for (const options of [["--over", "2s"], ["--no-rates"]]) {
      const { stdout, code } = await virstream(["get", slow, ...options]);
      expect([code, stdout]).toEqual([0, expect.stringMatching(/^running +guest-00000 +\d/m)]);
    }
  });
});

describe("virstream serve", () => {
  async function startServe(args: readonly string[]): Promise<{ url: string; end: () => Promise<number | null> }> {
    const child = start(["serve", ...args, "--listen", "127.0.0.1:0"]);
    const [line] = (await once(child.stdout.setEncoding("utf8"), "data")) as [string];
    return {
      url: line.trim(),
      end: async () => {
        child.kill("SIGTERM");
        const [code] = (await once(child, "close")) as [number | null];
        return code;
      },
    };
  }

  it("prints its URL, serves there, and ends with 0 when it is terminated", async () => {
    const { url, end } = await startServe(["test:///default?domains=4"]);
    expect(url).toMatch(/^ws:\/\/127\.0\.0\.1:\d+$/);
    const local = await virstream(["get", "test:///default?domains=4", "--format", "ndjson", "--state"]);
    const remote = await virstream(["get", url, "--format", "ndjson", "--state"]);
    expect(remote.code).toBe(0);
    const names = (text: string) =>
      text
        .trimEnd()
        .split("\n")
        .map((line) => JSON.parse(line).domain.uuid);
    expect(names(remote.stdout)).toEqual(names(local.stdout));
    expect(await end()).toBe(0);
  });

  it("continues to serve when its stderr is closed, a full disk or a pipe that nothing reads", async () => {
    for (const redirection of ["2>&-", "2> /dev/full", "2> >(true)"]) {
      const serve = `exec "${process.execPath}" "${PROGRAM}" serve test:///default?domains=1 --listen :0 ${redirection}`;
      const child = spawn("bash", ["-c", serve], { stdio: ["ignore", "pipe", "ignore"] });
      const [line] = (await once(child.stdout.setEncoding("utf8"), "data")) as [string];
      const { stdout, code } = await virstream(["get", line.trim(), "--format", "ndjson"]);
      expect([redirection, code, stdout.split("\n").length]).toEqual([redirection, 0, 2]);
      child.kill("SIGTERM");
      expect(await once(child, "close")).toEqual([0, null]);
    }
  });

  it("ends with 1 when it cannot print its URL", async () => {
    const child = start(["serve", "test:///default", "--listen", ":0"]);
    child.stdout.destroy();
    let stderr = "";
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      stderr += text;
    });
    const [code] = await once(child, "close");
    expect([code, stderr]).toEqual([
      1,
      expect.stringMatching(/the output cannot be written \(EPIPE\) \[output-failed\]\n$/),
    ]);
  });

  it("leaves no doubt about a host that is absent: get names it on stderr and in its JSON, and exits with 3", async () => {
    const { url, end } = await startServe(["test:///default?host=hv1&domains=2", "ws://127.0.0.1:1"]);
    for (const format of ["table", "virsh", "ndjson", "json"]) {
      const { stdout, stderr, code } = await virstream(["get", url, "--state", "--format", format]);
      expect([format, code]).toEqual([format, 3]);
      expect(stderr).toMatch(/^virstream: ws:\/\/127\.0\.0\.1:1: absent: .*nothing listens.*\n$/);
      if (!format.endsWith("json")) continue;
      const items =
        format === "json"
          ? JSON.parse(stdout)
          : stdout
              .trimEnd()
              .split("\n")
              .map((line) => JSON.parse(line));
      expect(items).toEqual([
        expect.objectContaining({ status: "ok" }),
        expect.objectContaining({ status: "ok" }),
        {
          event: "status",
          state: "degraded",
          host: "ws://127.0.0.1:1",
          error: expect.objectContaining({ code: "connection-lost", retryable: true }),
        },
      ]);
    }
    expect(await end()).toBe(0);
  });

  it("is read with others as one by get, which shows an absent host in a line of its own, and exits with 3", async () => {
    const { url, end } = await startServe(["test:///default?host=hv1&domains=2"]);
    await writeFile(join(folder, "hosts"), `# three hosts\n${url}\n\nws://127.0.0.1:1\n`);
    const uris = ["test:///default?host=hv2&domains=1", "--hosts", join(folder, "hosts")];
    const { stdout, stderr, code } = await virstream([
      "get",
      ...uris,
      "--over",
      "250ms",
      "--columns",
      "status,guest,host",
    ]);
    expect(stdout.split("\n").map((line) => line.split(/ +/))).toEqual([
      ["STATUS", "GUEST", "HOST"],
      ["NO-HOST", "-", "ws://127.0.0.1:1"],
      ["running", "guest-00000", "hv1"],
      ["running", "guest-00000", "hv2"],
      ["running", "guest-00001", "hv1"],
      [""],
    ]);
    const absent = /^virstream: ws:\/\/127\.0\.0\.1:1: absent: it cannot be reached: nothing listens .*\n$/;
    expect([code, stderr]).toEqual([3, expect.stringMatching(absent)]);
    expect(await end()).toBe(0);
  });

  it("serves only those who know its token", async () => {
    const file = join(folder, "token");
    await writeFile(file, "open sesame\n");
    const { url, end } = await startServe(["test:///default?domains=1", "--token-file", file]);
    expectComplaint(await virstream(["get", url]), "unauthenticated");
    expect((await virstream(["get", url, "--no-rates", "--token-file", file])).code).toBe(0);
    expect((await virstream(["get", url, "--no-rates"], { VIRSTREAM_TOKEN: "open sesame" })).code).toBe(0);
    expect(await end()).toBe(0);
  });

  it("warns of a token file that every user of the machine can read", async () => {
    const file = join(folder, "secret");
    for (const mode of [0o600, 0o640, 0o644]) {
      await writeFile(file, "s3cret");
      await chmod(file, mode);
      const { stderr } = await virstream(["get", "test:///default?domains=1", "--no-rates", "--token-file", file]);
      expect([mode, stderr]).toEqual([
        mode,
        mode === 0o644
          ? `virstream: every user of this machine can read the token file ${file}: chmod 600 ${file}\n`
          : "",
      ]);
    }
  });

  it("does not open a port to the world by mistake", async () => {
    const outcome = await virstream(["serve", "test:///default", "--listen", "0.0.0.0:0"]);
    expect(outcome).toMatchObject({ code: 2, stdout: "" });
    expect(outcome.stderr).toMatch(/^virstream: .*would show every domain.*\[invalid-argument\]$/m);
  });
});
