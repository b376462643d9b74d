/** @module-tag any-node */

import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parse } from "smol-toml";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { configurationOf } from "../../src/cli/serve/config-file.ts";
import { connect } from "../../src/index.ts";
import { DEFAULT_SERVER_LIMITS } from "../../src/server/index.ts";
import { codeOf } from "../code-of.ts";
import { start, virstream } from "./run.ts";

const FILE = `\
# A comment.
sources = ["test:///default?domains=3&host=hv1", "test:///default?domains=2&host=hv2"]
listen = "127.0.0.1:0"
origin = ["https://one.example", "https://two.example"]
min-interval = "2s"
metrics = 0
metrics-interval = "10s"

[limits]
clients = 2
`;

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "virstream-config-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

function fileOf(text: string): string {
  const file = join(folder, "virstream.toml");
  writeFileSync(file, text);
  return file;
}

describe("A configuration file of virstream serve", () => {
  it("has sources, options and limits, and the server does as it says", async () => {
    const child = start(["serve", "--config", fileOf(FILE)]);
    try {
      const [text] = (await once(child.stdout.setEncoding("utf8"), "data")) as [string];
      const url = text.split("\n")[0]!;
      await using first = await connect(url);
      await using _second = await connect(url);
      expect(await first.getAllDomainStats()).toHaveLength(5);
      expect(await codeOf(connect(url))).toBe("limit-exceeded");
      expect(await codeOf(first.watch({}, { intervalMs: 1_000 }).toArray())).toBe("invalid-argument");
    } finally {
      child.kill();
      await once(child, "close");
    }
  });

  it("gives way to the environment, and that to the command line", () => {
    const made = (cli: string[], env = {}) => configurationOf(FILE, "file", cli, env);
    expect(made([]).args).toMatchObject({
      uris: [expect.stringMatching(/hv1/), expect.stringMatching(/hv2/)],
      minIntervalMs: 2_000,
    });
    expect(made([], { VIRSTREAM_URI: "qemu:///session" }).args.uris).toEqual(["qemu:///session"]);
    expect(made(["qemu:///system", "--min-interval", "3s"]).args).toMatchObject({
      uris: ["qemu:///system"],
      minIntervalMs: 3_000,
    });
    expect(made(["--origin", "https://three.example"]).args.origins).toEqual(["https://three.example"]);
    expect(made(["--min-interval", "3s"]).limits).toEqual({ clients: 2, minIntervalMs: 3_000 });
  });

  it.each([
    ['listen = "a:b:c"', /^file:1: listen: --listen takes HOST:PORT/],
    ["\n\nlisten = ", /^file:3: Invalid TOML document/],
    ['metrics = "9177"\n"lisen" = "x"', /^file:2: lisen: there is no such option: did you mean listen\?$/],
    ['allow-anyone = "yes"', /^file:1: allow-anyone: must be true or false$/],
    ["origin = [1, true]", /^file:1: origin: must be a string, or a list of strings$/],
    ["sources = 'qemu:///system'", /^file:1: sources: must be a list of URIs$/],
    ["[limits]\nclients = 0", /^file:2: clients: must be a whole number from 1/],
    ["[limits]\nclient = 5", /^file:2: client: limits has no member "client"/],
    ['\nnats-prefix = "x"', /^file:2: nats-prefix: --nats-prefix goes with --nats$/],
    ["min-interval = '2s'\n[limits]\nminIntervalMs = 5", /^file:1: min-interval: .* give it once$/],
    ["[limits]\nqueries = 64\nqueriesPerClient = 0", /^file:3: queriesPerClient: must be/],
    ["limits = { clients = 0 }", /^file: clients: must be a whole number/],
    ['"a(b" = 1', /^file: a\(b: there is no such option/],
    ["config = 'other'", /^file:1: config: there is no such option/],
  ])("that has %j is refused with the place and the key", (text, says) => {
    let message = "";
    try {
      configurationOf(text, "file", [], {});
    } catch (error) {
      ({ message } = error as Error);
    }
    expect(message).toMatch(says);
  });

  it("is printed with every limit, in a form that means the same, and without passwords", async () => {
    const text = FILE.replace("[limits]", 'nats = "nats://user:s3cret@127.0.0.1"\n[limits]');
    const { stdout, code } = await virstream(["serve", "--config", fileOf(text), "--print-config"]);
    expect(code).toBe(0);
    expect(stdout).not.toContain("s3cret");
    const { limits, sources } = parse(stdout);
    expect(limits).toEqual({ ...DEFAULT_SERVER_LIMITS, clients: 2, minIntervalMs: 2_000 });
    expect(sources).toHaveLength(2);
    const again = configurationOf(stdout, "printed", [], {});
    expect(again.text()).toBe(stdout);
    const bare = await virstream(["serve", "--print-config"]);
    expect(parse(bare.stdout)).toEqual({ sources: [], limits: DEFAULT_SERVER_LIMITS });
  });

  it("is checked with the files that it names, without a server", async () => {
    const checked = await virstream(["serve", "--config", fileOf(FILE), "--check"]);
    expect([checked.code, checked.stdout, checked.stderr]).toEqual([
      0,
      "",
      expect.stringMatching(/the configuration is valid/),
    ]);
    const missing = await virstream(["serve", "--config", fileOf(`tokens = "${folder}/none"\n`), "--check"]);
    expect([missing.code, missing.stderr]).toEqual([
      1,
      expect.stringMatching(/none cannot be read: there is no such file/),
    ]);
    for (const [content, exit, says] of [
      [
        'sources = []\nlisten = "0.0.0.0:0"\n',
        2,
        /virstream\.toml:2: listen: .*set --token-file or --tokens, or --allow-anyone/,
      ],
      [
        'sources = ["qmu:///system"]\n',
        2,
        /virstream\.toml:1: sources: no driver for qmu: URIs: did you mean qemu:\/\/\/system/,
      ],
      ['sources = ["ws://h", "test:///default?freez=1"]\n', 2, /virstream\.toml:1: sources: unknown parameter "freez"/],
      ['origin = "dashboard.example"\n', 2, /virstream\.toml:1: origin: .*an origin has a scheme, a host and no path/],
      ['listen = "127.0.0.1:9177"\nmetrics = "9177"\n', 2, /--listen and --metrics are the same place/],
      ['source-token-file = "/none"\n', 1, /token file \/none cannot be read/],
      ['otlp = "env"\notlp-headers-file = "/none"\n', 1, /file of headers \/none cannot be read/],
      ['nats = "nats://127.0.0.1"\nnats-creds = "/none"\n', 1, /file of NATS credentials \/none cannot be read/],
    ] as const) {
      const cannot = await virstream(["serve", "--config", fileOf(content), "--check"]);
      expect([content, cannot.code, cannot.stderr]).toEqual([content, exit, expect.stringMatching(says)]);
      // Without --check, too: systemd does not start a service again that has ended with 2.
      if (exit === 2) expect((await virstream(["serve", "--config", fileOf(content)])).code).toBe(2);
    }
    const wrong = await virstream(["serve", "--config", fileOf("listen = 1.5\n"), "--check"]);
    expect([wrong.code, wrong.stderr]).toEqual([2, expect.stringMatching(/virstream\.toml:1: listen: /)]);
    expect((await virstream(["serve", "--config", join(folder, "none")])).stderr).toMatch(
      /configuration file .*none cannot be read/,
    );
  });
});
