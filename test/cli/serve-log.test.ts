/** @module-tag any-node */

import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, fstatSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { WebSocket } from "ws";
import { configurationOf, configurationWithout } from "../../src/cli/serve/config-file.ts";
import { SERVE_EVENTS } from "../../src/cli/serve/log.ts";
import { lineOf } from "../../src/cli/serve/log-line.ts";
import { Connection } from "../../src/client/connection.ts";
import { connect } from "../../src/index.ts";
import { VirstreamError } from "../../src/model/error.ts";
import { lasting } from "../../src/overview/quantity.ts";
import { TokenList } from "../../src/server/access/token-list.ts";
import { SERVER_EVENTS } from "../../src/server/bounds/event-log.ts";
import { serve } from "../../src/server/server.ts";
import { answerAt } from "../answer.ts";
import { codeOf } from "../code-of.ts";
import { describeWith } from "../lab/requirement.ts";
import { ServedProcess } from "../lab/served-process.ts";
import { ScriptedDriver } from "../server/scripted-driver.ts";
import { PATIENCE, until } from "../until.ts";
import { entriesOf } from "./log-entries.ts";
import { PROGRAM, start, virstream } from "./run.ts";
import { served } from "./served.ts";

/** Ends a line, erases the screen, sets a title, and turns the direction of text around. */
const EVIL = "evil\n\u001b[2J\u009b2J\u009d0;title\u0007\u2028\u202e";
const CONTROL = /(?!\n)[\p{Cc}\p{Zl}\p{Zp}\p{Bidi_Control}]/u;
const SECRET = "s3cret";
/** Their lines are twice as many as the server and the system keep. */
const REQUESTS = 18_000;

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "virstream-log-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

/** The status of a request with a token. */
async function statusOf(url: string, token: string, headers: Record<string, string> = {}): Promise<number> {
  return (await answerAt(url, { headers: { ...headers, authorization: `Bearer ${token}` } })).status;
}

describe("The log of virstream serve", () => {
  it("has one line of JSON for each event, with its time, level and name, from the start to the end", async () => {
    const config = join(folder, "virstream.toml");
    writeFileSync(config, 'sources = ["test:///default?domains=2&host=hv1"]\n[limits]\nclients = 5\nqueries = 64\n');
    const server = await served(["--config", config]);
    const { code, stderr } = await server.end();
    expect(code).toBe(0);
    const entries = entriesOf(stderr);
    expect(entries.map(({ event }) => event)).toEqual(["starting", "serving", "stopping", "stopped"]);
    for (const { level, time } of entries) expect([level, new Date(time).toISOString()]).toEqual(["info", time]);
    expect(entries[0]).toMatchObject({ sources: ["test:///default?domains=2&host=hv1"], limits: { clients: 5 } });
    expect(entries[1]).toMatchObject({ hosts: ["hv1"], urls: [server.url], msg: expect.stringContaining(server.url) });
  });

  it("says when a source has not answered yet, when it is lost, and when it is back after how long", async () => {
    const source = await ServedProcess.start({ uri: "test:///default?domains=2" });
    await source.kill();
    const killed: number[] = [performance.now()];
    await using server = await served([source.url]);
    try {
      expect(server.of("source-absent")).toMatchObject([
        { level: "warn", source: source.url, code: "connection-refused" },
      ]);
      await source.restart();
      await until(() => server.of("source-back").length === 1);
      const outages = [performance.now() - killed[0]!];
      killed.push(performance.now());
      await source.kill();
      await until(() => server.of("source-lost").length === 1);
      await source.restart();
      await until(() => server.of("source-back").length === 2);
      outages.push(performance.now() - killed[1]!);
      expect(server.of("source-back").map(({ msg }) => msg)).toEqual([
        expect.stringMatching(/: connected for the first time, after [\d.]+ s$/),
        expect.stringMatching(/: connected again, after [\d.]+ s$/),
      ]);
      for (const [i, { outageMs }] of server.of("source-back").entries()) {
        expect(outageMs).toBeGreaterThan(0);
        expect(outageMs).toBeLessThanOrEqual(outages[i]!);
      }
    } finally {
      await source.kill();
    }
  });

  it("says that a source is given up when no retry can help, and serves on without it", async () => {
    const [tokens, token] = [join(folder, "tokens.json"), join(folder, "source-token")];
    const made = new TokenList([]).with({ name: "front", role: "stats" });
    const save = (list: TokenList): void => writeFileSync(tokens, list.toString(), { mode: 0o600 });
    save(made.list);
    writeFileSync(token, made.token, { mode: 0o600 });
    await using source = await served(["test:///default?domains=2", "--tokens", tokens]);
    await using server = await served([source.url, "--source-token-file", token]);
    save(made.list.without("front"));
    source.child.kill("SIGHUP");
    await until(() => server.of("source-ended").length > 0);
    expect(server.of("source-ended")).toMatchObject([
      {
        ...{ level: "error", source: source.url, code: "unauthenticated" },
        msg: expect.stringMatching(
          /: connection lost for good: it refused us \(the token is wrong\): .* --source-token-file/,
        ),
      },
    ]);
    const http = server.url.replace("ws:", "http:");
    expect([(await fetch(`${http}/healthz`)).status, (await fetch(`${http}/readyz`)).status]).toEqual([200, 503]);
  });

  it("has few lines for a thousand wrong tokens, their honest number, and no token", async () => {
    const file = join(folder, "token");
    writeFileSync(file, SECRET, { mode: 0o600 });
    const server = await served(["test:///default", "--token-file", file]);
    const http = server.url.replace("ws:", "http:");
    const upgrade = { connection: "upgrade", upgrade: "websocket", "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==" };
    for (let i = 0; i < 50; i++) {
      const wrong = Array.from({ length: 20 }, (_, j) =>
        j % 2 === 0
          ? statusOf(`${http}/metrics`, `wrong-${SECRET}`)
          : statusOf(http, `wrong-${SECRET}`, { ...upgrade, "sec-websocket-version": "13" }),
      );
      expect(new Set(await Promise.all(wrong))).toEqual(new Set([401]));
    }
    const { stderr } = await server.end();
    const entries = entriesOf(stderr);
    const refused = entries.filter(({ event }) => event === "token-refused");
    const counted = entries.filter(({ event, of }) => event === "suppressed" && of === "token-refused");
    expect(refused.length + counted.reduce((sum, { count }) => sum + (count as number), 0)).toBe(1_000);
    // Ten in each minute: a slow machine may take more than one.
    expect(refused.length).toBeLessThanOrEqual(10 * counted.length);
    for (const entry of refused) expect(entry).toMatchObject({ address: "127.0.0.1", level: "warn" });
    expect(stderr).not.toContain(SECRET);
  });

  it("has no secret of its options, its files, its URIs and its clients, at any level", async () => {
    const file = (name: string, text: string): string => {
      writeFileSync(join(folder, name), text, { mode: 0o644 });
      return join(folder, name);
    };
    const server = await served(
      [
        ...[`nats://${SECRET}@127.0.0.1:1`, "test:///default", "--log-level", "trace"],
        ...["--token-file", file("main", `main-${SECRET}`), "--source-token-file", file("source", `source-${SECRET}`)],
        ...["--otlp", `http://user:${SECRET}@127.0.0.1:1`, "--otlp-interval", "1s"],
        ...["--otlp-headers-file", file("headers", `Authorization: Bearer ${SECRET}\n`)],
      ],
      { OTEL_EXPORTER_OTLP_TIMEOUT: "500" },
    );
    await until(() => server.of("outlet-failing").length === 1);
    for (const token of [`main-${SECRET}`, `wrong-${SECRET}`]) {
      await codeOf(connect(server.url, { token }).then((connection) => connection.close()));
    }
    const socket = new WebSocket(`${server.url}/?token=${SECRET}`, "virstream.v1", { origin: "http://localhost" });
    socket
      .on("open", () => socket.send(JSON.stringify({ type: SECRET, token: { [SECRET]: SECRET } })))
      .on("error", () => {});
    await once(socket, "close");
    writeFileSync(join(folder, "main"), "");
    server.child.kill("SIGHUP");
    await until(() => server.of("reload-failed").length === 1);
    const { stderr } = await server.end();
    expect(new Set(entriesOf(stderr).map(({ event }) => event))).toEqual(
      new Set([
        ...[
          "starting",
          "file-exposed",
          "source-absent",
          "outlet-started",
          "serving",
          "outlet-failing",
          "client-connected",
        ],
        ...[
          "client-disconnected",
          "token-refused",
          "client-refused",
          "reloading",
          "reload-failed",
          "stopping",
          "stopped",
        ],
      ]),
    );
    expect(stderr).not.toContain(SECRET);
    const fleet = ["test:///default", "--nats", `nats://${SECRET}@127.0.0.1:1`];
    const failed = await virstream(["serve", ...fleet, "--log-level", "trace"]);
    expect([failed.code, entriesOf(failed.stderr).at(-1)!.event]).toEqual([1, "failed"]);
    const refused = await virstream(["serve", `ws://user:${SECRET}@127.0.0.1:1/?token=${SECRET}`]);
    expect([refused.code, refused.stderr]).toEqual([2, expect.stringMatching(/^virstream: .*\[invalid-uri\]/)]);
    expect(failed.stderr + refused.stderr).not.toContain(SECRET);
  });

  it.each(["json", "text"])("has whole lines whatever the names and messages of others have, in %s", async (format) => {
    const driver = new ScriptedDriver(async function* () {
      yield await Promise.reject(new VirstreamError("hypervisor-error", `no: ${EVIL}`));
    });
    await using source = await serve(new Connection(Object.assign(driver, { host: EVIL })), { port: 0 });
    await using server = await served([source.url, "--log-format", format, "--log-level", "trace"]);
    await using client = await connect(server.url);
    expect(await codeOf(client.getAllDomainStats())).toBe("hypervisor-error");
    await source.close();
    await until(() => /connection lost/.test(server.said()));
    expect(server.said()).toContain("evil");
    expect(CONTROL.exec(server.said())).toBeNull();
    if (format === "json") expect(server.entries().find(({ event }) => event === "serving")!.hosts).toEqual([EVIL]);
    else
      for (const line of server.said().trimEnd().split("\n"))
        expect(line).toMatch(/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d (warning: |error: )?\S/);
  });

  it("never stops the server when its reader stops, keeps a bounded part, and says how much it dropped", async () => {
    const child = start(["serve", "test:///default?domains=1", "--listen", ":0", "--log-level", "trace"]);
    try {
      const [url] = (await once(child.stdout.setEncoding("utf8"), "data")) as [string];
      await using client = await connect(url.trim());
      let ticks = 0;
      const watch = client.watch({}, { intervalMs: 1_000 }).events.subscribe(({ type }) => {
        if (type === "sync") ticks++;
      });
      const flood = async (requests: number): Promise<void> => {
        const socket = new WebSocket(url.trim(), "virstream.v1.json");
        await once(socket, "open");
        let ended = 0;
        const done = new Promise<void>((resolve) => {
          socket.on("message", (data) => {
            if (/"end"/.test(`${data}`) && ++ended === requests) resolve();
          });
        });
        socket.send('{"type":"hello"}');
        const query = { domains: [{ name: "none" }] };
        for (let id = 1; id <= requests; id++) socket.send(JSON.stringify({ type: "get", id, query }));
        await done;
        socket.close();
      };
      await flood(REQUESTS);
      const before = ticks;
      await until(() => ticks >= before + 2);
      let stderr = "";
      const read = (text: string): void => {
        stderr += text;
      };
      child.stderr.setEncoding("utf8").on("data", read);
      await until(() => stderr.includes('"lines-dropped"'));
      const dropped = entriesOf(stderr).find(({ event }) => event === "lines-dropped")!.count as number;
      const requests = entriesOf(stderr).filter(({ event, type }) => event === "request" && type === "get").length;
      expect(dropped).toBeGreaterThan(0);
      expect(requests).toBeGreaterThan(5_000);
      // Besides, the clients connected and left, and some requests hit a limit.
      expect(requests + dropped).toBeGreaterThanOrEqual(REQUESTS);
      expect(requests + dropped).toBeLessThanOrEqual(REQUESTS + 15);
      child.stderr.off("data", read).pause();
      await flood(REQUESTS / 2);
      watch.unsubscribe();
      child.kill("SIGTERM");
      expect(await once(child, "exit")).toEqual([0, null]);
    } finally {
      child.kill("SIGKILL");
      child.stderr.destroy();
    }
  });

  it("has the least level and the form that the options, the environment or the file say", async () => {
    const silent = await served(["test:///default"], { VIRSTREAM_LOG_LEVEL: "silent" });
    expect((await silent.end()).stderr).toBe("");
    const file = 'log-level = "error"\nlog-format = "text"\n';
    const made = (cli: string[], env = {}) => configurationOf(file, "file", cli, env);
    expect(made([]).args).toMatchObject({ logLevel: "error", logFormat: "text" });
    const env = { VIRSTREAM_LOG_LEVEL: "warn", VIRSTREAM_LOG_FORMAT: "json" };
    expect(made([], env).args).toMatchObject({ logLevel: "warn", logFormat: "json" });
    expect(made([], env).text()).toMatch(/^log-level = "warn"\nlog-format = "json"$/m);
    expect(made(["--log-level", "debug"], env).args.logLevel).toBe("debug");
    expect(configurationWithout([], {}).args).toMatchObject({ logLevel: "info", logFormat: undefined });
    for (const [args, wrong, says] of [
      [["--log-level", "wran"], {}, '--log-level has no "wran" (did you mean warn?)'],
      [["--log-format", "xml"], {}, '--log-format has no "xml": choose one of text, json'],
      [[], { VIRSTREAM_LOG_LEVEL: "loud" }, '$VIRSTREAM_LOG_LEVEL has no "loud"'],
    ] as const) {
      expect(() => configurationWithout(args, wrong)).toThrow(says);
    }
  });

  it("has priorities in the journal of systemd, which has the times", async () => {
    const log = openSync(join(folder, "journal"), "w");
    const { dev, ino } = fstatSync(log);
    const env = { ...process.env, JOURNAL_STREAM: `${dev}:${ino}` };
    const args = [PROGRAM, "serve", "test:///default", "ws://127.0.0.1:1", "--listen", ":0"];
    const child = spawn(process.execPath, args, { env, stdio: ["ignore", "pipe", log] });
    await once(child.stdout!, "data");
    child.kill();
    await once(child, "close");
    closeSync(log);
    const lines = readFileSync(join(folder, "journal"), "utf8").trimEnd().split("\n");
    expect(lines).toContainEqual(expect.stringMatching(/^<6>virstream .* starts/));
    expect(lines).toContainEqual(expect.stringMatching(/^<4>ws:\/\/127\.0\.0\.1:1: not there yet: /));
    for (const line of lines) expect(line).toMatch(/^<[3-7]>\S/);
    const json = lineOf('{"level":"error","time":"","msg":"x"}\n', { isText: false, inJournal: true }, false);
    expect(json).toBe('<3>{"level":"error","time":"","msg":"x"}\n');
  });

  it("has the error that ended the server as its last line", async () => {
    const { code, stderr } = await virstream(["serve", "ws://127.0.0.1:1", "--require-source", "--listen", ":0"]);
    expect(code).toBe(1);
    expect(entriesOf(stderr)).toMatchObject([{ event: "starting" }, { event: "failed", code: "connection-refused" }]);
  });

  it("has the fault that ends the process", async () => {
    const program = 'process.on("SIGUSR2",()=>{throw new Error("a fault")})';
    const NODE_OPTIONS = `--import=data:text/javascript,${encodeURIComponent(program)}`;
    const server = await served(["test:///default"], { NODE_OPTIONS });
    server.child.kill("SIGUSR2");
    expect((await once(server.child, "close"))[0]).not.toBe(0);
    const lines = server.said().split("\n");
    const crashed = JSON.parse(lines.findLast((line) => line.startsWith("{"))!);
    expect(crashed).toMatchObject({ event: "crashed", level: "error", msg: expect.stringMatching(/a fault$/) });
    expect(lines.filter((line) => line.startsWith("Error: a fault"))).toHaveLength(1);
  });

  it("says durations in the unit that people use", () => {
    expect([0, 9_940, 9_960, 11_600, 119_000, 125_000, 7_000_000, 7_300_000].map(lasting)).toEqual([
      ...["0.0 s", "9.9 s", "10 s", "12 s", "119 s", "2 min", "117 min", "2 h"],
    ]);
  });

  it("has the events that docs/operating.md explains, with their levels, and no others", () => {
    const text = readFileSync(new URL("../../docs/operating.md", import.meta.url), "utf8");
    const [, chapter] = text.split("\n## Logs\n");
    const rows = [...chapter!.split("\n## ")[0]!.matchAll(/^\| `([\w-]+)` \| (\w+) \|/gm)];
    expect(Object.fromEntries(rows.map(([, event, level]) => [event, level]))).toEqual({
      ...SERVE_EVENTS,
      ...SERVER_EVENTS,
    });
  });

  it("is the only part that loads pino", async () => {
    const loaded = (...specifiers: string[]): string => {
      const program = `
        const { createRequire } = await import("node:module");
        for (const each of ${JSON.stringify(specifiers)}) await import(each);
        console.log(Object.keys(createRequire(import.meta.url).cache).some((file) => /node_modules.pino/.test(file)));`;
      const cwd = new URL("../..", import.meta.url);
      return execFileSync(process.execPath, ["--input-type=module", "--eval", program], { cwd, encoding: "utf8" });
    };
    expect(loaded("virstream", "virstream/server", "./dist/cli/get.js", "./dist/cli/manual/completion.js")).toBe(
      "false\n",
    );
    expect(loaded("./dist/cli/serve/serve.js")).toBe("true\n");
  });
});

describeWith(["script"], "The log of virstream serve on a terminal", () => {
  it("is one sentence per line with the time, and warnings are yellow", async () => {
    const command = `${process.execPath} ${PROGRAM} serve test:///default ws://127.0.0.1:1 --listen :0`;
    const child = spawn("script", ["-qec", command, "/dev/null"], {
      env: { ...process.env, TERM: "xterm", SHELL: "/bin/sh", NO_COLOR: "" },
      stdio: ["pipe", "pipe", "inherit"],
    });
    let text = "";
    child.stdout.setEncoding("utf8").on("data", (chunk: string) => {
      text += chunk;
    });
    await vi.waitFor(() => expect(text).toMatch(/^ws:\/\/127/m), PATIENCE);
    child.stdin.write("\u0003");
    await once(child, "close");
    const time = String.raw`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d`;
    expect(text).toMatch(
      new RegExp(`^${time} virstream [\\d.]+ starts, with test:///default, ws://127\\.0\\.0\\.1:1\\r$`, "m"),
    );
    expect(text).toMatch(
      new RegExp(`^${time} \u001b\\[33mwarning: ws://127\\.0\\.0\\.1:1: not there yet: .*\u001b\\[m\\r$`, "m"),
    );
    expect(text).toMatch(new RegExp(`^${time} serving .* at ws://127\\.0\\.0\\.1:\\d+; interrupt to end\\r$`, "m"));
    expect(text).toMatch(new RegExp(`^${time} stopped\\r$`, "m"));
  });
});
