/** @module-tag any-node */

import { once } from "node:events";
import { lstatSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { configurationOf } from "../../src/cli/serve/config-file.ts";
import { connect } from "../../src/index.ts";
import { codeOf } from "../code-of.ts";
import { until } from "../until.ts";
import { start, virstream } from "./run.ts";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "virstream-socket-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

it("virstream serve listens on files with the mode and the group of its configuration, and removes them at SIGTERM", async () => {
  const [api, metrics] = [join(folder, "api.sock"), join(folder, "metrics.sock")];
  const text = [
    'sources = ["test:///default?domains=3"]',
    `listen = "unix:${api}"`,
    `metrics = "unix:${metrics}"`,
    'socket-mode = "0660"',
    `socket-group = ${process.getgid!()}`,
  ].join("\n");
  const config = join(folder, "virstream.toml");
  writeFileSync(config, text);
  expect((await virstream(["serve", "--config", config, "--check"])).code).toBe(0);
  const child = start(["serve", "--config", config]);
  let stdout = "";
  child.stdout.setEncoding("utf8").on("data", (more: string) => (stdout += more));
  try {
    await until(() => stdout.split("\n").length > 2);
    expect(stdout).toBe(`ws+unix://${api}\nhttp+unix://${metrics}:/metrics\n`);
    expect([api, metrics].map((file) => lstatSync(file).mode & 0o777)).toEqual([0o660, 0o660]);
    const got = await virstream(["get", `ws+unix://${api}`, "--format", "ndjson"]);
    expect([got.code, got.stdout.trimEnd().split("\n").length]).toEqual([0, 3]);
    const watched = await virstream(["watch", `ws+unix://${api}`, "--format", "ndjson", "--count", "1"]);
    expect([watched.code, watched.stdout.match(/"params"/g)?.length]).toEqual([0, 3]);
    const top = await virstream(["top", "-b", "-n", "1", `ws+unix://${api}`]);
    expect([top.code, top.stdout]).toEqual([0, expect.stringMatching(/3 guests/)]);
    expect(await codeOf(connect(`ws+unix://${metrics}`))).toBe("connection-refused");
    const [response] = await once(request({ socketPath: metrics, path: "/metrics" }).end(), "response");
    response.resume();
    expect(response.statusCode).toBe(200);
    const second = await virstream(["serve", "--config", config]);
    expect([second.code, second.stderr]).toEqual([1, expect.stringMatching(/\[address-in-use\]/)]);
  } finally {
    child.kill();
    await once(child, "close");
  }
  expect(readdirSync(folder)).toEqual(["virstream.toml"]);
});

it.each([
  // What 0o660 of TOML is: 432 would be other permissions.
  ['listen = "unix:/run/x.sock"\nsocket-mode = 0o660', /^file:2: socket-mode: .* as "0660", not "432"$/],
  ['listen = "unix:/run/x.sock"\nsocket-mode = "660"', /^file:2: socket-mode: .* as "0660"/],
  ['socket-group = "virstream"', /^file:1: socket-group: .* goes with --listen unix:PATH/],
  ['listen = "unix:/run/x.sock"\ntls-cert = "a"\ntls-key = "b"', /^file:2: tls-cert: .* does not go with unix:PATH/],
])("virstream serve refuses %j", (text, says) => {
  expect(() => configurationOf(text, "file", [], {})).toThrow(says);
});
