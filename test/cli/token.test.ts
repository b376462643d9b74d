/** @module-tag any-node */

import { chmodSync, chownSync, existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parseToken } from "../../src/cli/token/arguments.ts";
import { token } from "../../src/cli/token/token.ts";
import { connect } from "../../src/index.ts";
import { codeOf } from "../code-of.ts";
import { until } from "../until.ts";
import { entriesOf } from "./log-entries.ts";
import { virstream } from "./run.ts";
import { served } from "./served.ts";

let folder: string;
let files = 0;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "virstream-tokens-"));
});

afterAll(() => rmSync(folder, { recursive: true }));

const newFile = (): string => join(folder, `tokens-${files++}.json`);

async function create(file: string, name: string, ...options: string[]): Promise<string> {
  const { stdout, stderr, code } = await virstream(["token", "create", name, "--tokens", file, ...options]);
  expect([code, stderr]).toEqual([0, expect.stringMatching(/it is shown only now/)]);
  return stdout.trim();
}

/** A server of five guests with a file of tokens. */
const servedWith = (file: string, ...options: string[]) =>
  served(["test:///default?domains=5", "--tokens", file, ...options]);

describe("virstream token", () => {
  it("keeps only hashes, in a file that only its owner may read, and lists who has what until when", async () => {
    const file = newFile();
    const ann = await create(file, "ann", "--name", "web-*", "--groups", "state,cpu-total", "--expires", "90d");
    const eve = await create(file, "eve", "--role", "admin");
    expect(ann).toMatch(/^[\w-]{43}$/);
    expect(eve).not.toBe(ann);
    expect(statSync(file).mode & 0o777).toBe(0o600);
    const text = readFileSync(file, "utf8");
    for (const token of [ann, eve]) expect(text).not.toContain(token);
    const { stdout } = await virstream(["token", "list", "--tokens", file]);
    const [head, first, second] = stdout.split("\n").map((line) => line.split(/ {2,}/));
    expect(head).toEqual(["NAME", "ROLE", "EXPIRES", "DOMAINS", "GROUPS"]);
    expect(first).toEqual([
      "ann",
      "stats",
      expect.stringMatching(/^20\d\d-\d\d-\d\dT\d\d:\d\dZ$/),
      "web-*",
      "state,cpu-total",
    ]);
    expect(second).toEqual(["eve", "admin", "never", "all", "all"]);
  });

  it("leaves the file to who owns it, so that the server can read it", async () => {
    const file = newFile();
    await create(file, "ann");
    chmodSync(file, 0o640);
    if (process.getuid?.() === 0) chownSync(file, 1, 1);
    const before = statSync(file);
    await create(file, "ben");
    await virstream(["token", "revoke", "ann", "--tokens", file]);
    const { mode, uid, gid } = statSync(file);
    expect([mode, uid, gid]).toEqual([before.mode, before.uid, before.gid]);
  });

  it("refuses what makes no sense, and leaves the file as it is", async () => {
    const file = newFile();
    await create(file, "ann");
    const before = readFileSync(file, "utf8");
    const refusals: [args: string[], says: RegExp][] = [
      [["create", "ann"], /two tokens have the name "ann"/],
      [["create", "a b"], /the name of a token has/],
      [["create", "ben", "--role", "root"], /--role has no "root": choose one of stats, metrics, admin/],
      [["create", "ben", "--role", "admin", "--name", "web-*"], /do not go with the role admin/],
      [["create", "ben", "--groups", "cpu"], /--groups has no "cpu".*: choose one of state, cpu-total/],
      [["create", "ben", "--name", "["], /malformed/],
      [["create", "ben", "--expires", "0"], /--expires takes a time/],
      [["create"], /token create takes one name/],
      [["revoke", "eve"], /there is no token of the name "eve": the names are ann/],
      [["revoke", "ann", "--role", "admin"], /--role goes with token create/],
      [["remove", "ann"], /token has no "remove".*: choose one of create, list, revoke/],
    ];
    for (const [args, says] of refusals) {
      await expect(async () => token(parseToken([...args, "--tokens", file]))).rejects.toThrow(says);
    }
    expect(readFileSync(file, "utf8")).toBe(before);
    expect(existsSync(`${file}.new`)).toBe(false);
    expect((await virstream(["token", "list"])).stderr).toMatch(/token needs --tokens FILE, or \$VIRSTREAM_TOKENS/);
    expect((await virstream(["token", "list"], { VIRSTREAM_TOKENS: file })).stdout).toMatch(/^NAME .*\nann /);
  });
});

describe("virstream serve --tokens", () => {
  it("gives each token what its role says, over WebSocket and as pages", async () => {
    const file = newFile();
    const restricted = await create(file, "ann", "--domain", "guest-00001", "--domain", "guest-00003");
    const stats = await create(file, "ben");
    const metrics = await create(file, "prometheus", "--role", "metrics");
    const admin = await create(file, "eve", "--role", "admin");
    await using server = await servedWith(file);
    const names = async (shown: string) => {
      await using connection = await connect(server.url, { token: shown });
      return (await connection.listDomains()).map(({ name }) => name);
    };
    expect(await names(restricted)).toEqual(["guest-00001", "guest-00003"]);
    expect(await names(stats)).toHaveLength(5);
    expect(await names(admin)).toHaveLength(5);
    await expect(names(metrics)).rejects.toMatchObject({
      code: "unauthenticated",
      message: `${server.url}: it refused us (the role metrics of this token permits only /metrics: ask the server's operator for a token of the role stats or admin)`,
    });
    expect(await codeOf(names("wrong"))).toBe("unauthenticated");
    const status = async (page: string, shown: string) => {
      const headers = { authorization: `Bearer ${shown}` };
      const response = await fetch(`${server.url.replace("ws:", "http:")}${page}`, { headers });
      await response.arrayBuffer();
      return response.status;
    };
    const pages = async (shown: string) => [await status("/metrics", shown), await status("/stats.json", shown)];
    expect(await pages(restricted)).toEqual([403, 403]);
    expect(await pages(stats)).toEqual([403, 403]);
    expect(await pages(metrics)).toEqual([200, 403]);
    expect(await pages(admin)).toEqual([200, 200]);
    expect(await pages("wrong")).toEqual([401, 401]);
  });

  it("says only to a client with a right token that its role is not right, and which role to ask for", async () => {
    const file = newFile();
    const [stats, metrics] = [await create(file, "ben"), await create(file, "prometheus", "--role", "metrics")];
    await using server = await servedWith(file);
    const printed = async (token: string) => (await virstream(["get", server.url], { VIRSTREAM_TOKEN: token })).stderr;
    expect(await printed(metrics)).toMatch(
      /the role metrics of this token permits only \/metrics: ask the server's operator for a token of the role stats or admin\) \[unauth/,
    );
    expect(await printed("a guess")).toMatch(
      /\(the token is wrong\): a valid one goes into --token-file or \$VIRSTREAM_TOKEN \(.*\)/,
    );
    const answer = async (page: string, token?: string) => {
      const headers: Record<string, string> = token === undefined ? {} : { authorization: `Bearer ${token}` };
      const response = await fetch(`${server.url.replace("ws:", "http:")}${page}`, { headers });
      return [response.status, (await response.text()).trim()];
    };
    const ask = "ask the server's operator for a token of the role";
    expect(await answer("/metrics", stats)).toEqual([
      ...[403, `the role stats of this token does not permit /metrics: ${ask} metrics or admin`],
    ]);
    for (const token of [stats, metrics]) {
      expect(await answer("/stats.json", token)).toEqual([
        ...[
          403,
          expect.stringMatching(
            /^the role \w+ of this token does not permit \/stats\.json: .* a token of the role admin$/,
          ),
        ],
      ]);
    }
    const why = await answer(`/why?domain=guest-00001`, metrics);
    expect(why).toEqual([403, `the role metrics of this token permits only /metrics: ${ask} stats or admin`]);
    for (const page of ["/metrics", "/stats.json", "/why?domain=guest-00001"]) {
      const [status, text] = await answer(page, "a guess");
      expect([status, text]).toEqual([401, expect.not.stringMatching(/the role \w+ of this token/)]);
      expect([status, text]).toEqual(await answer(page));
    }
    const needed = (page: string) => answer(page).then(([, text]) => text);
    const [how, roles] = [": Authorization: Bearer TOKEN", "this needs a token of the role"];
    expect(await needed("/metrics")).toBe(`${roles} metrics or admin${how}`);
    expect(await needed("/stats.json")).toBe(`${roles} admin${how}`);
    expect(await needed("/why?domain=guest-00001")).toBe(`${roles} stats or admin${how}`);
    // The operator finds the program whose token has the wrong role.
    const linesWithNames = () => server.of("token-refused").filter(({ principal }) => principal !== undefined);
    await until(() => linesWithNames().length >= 5);
    const named = linesWithNames();
    expect(named.map(({ principal, msg }) => [principal, /: (\/[\w.]+)?/.exec(msg)![1]])).toEqual([
      ...[
        ["prometheus", undefined],
        ["ben", "/metrics"],
        ["ben", "/stats.json"],
      ],
      ...[
        ["prometheus", "/stats.json"],
        ["prometheus", "/why"],
      ],
    ]);
    expect(named[1]!.msg).toMatch(/^ben at 127\.0\.0\.1 is refused: \/metrics: the role stats of this token/);
    for (const token of [stats, metrics]) expect(server.said()).not.toContain(token);
  });

  it("lets get, watch and top show what a token for some groups has, unless the user names others", async () => {
    const file = newFile();
    const token = await create(file, "ann", "--groups", "state,cpu-total");
    await using server = await servedWith(file);
    const env = { VIRSTREAM_TOKEN: token };
    for (const args of [["get"], ["watch", "-n", "2"], ["top", "-b", "-n", "2"]]) {
      const { stdout, code } = await virstream([...args, server.url], env);
      expect([args, code, stdout]).toEqual([args, 0, expect.stringMatching(/guest-00001 .*\d\.\d/)]);
    }
    for (const args of [["get"], ["watch", "-n", "1"]]) {
      const { stderr, code } = await virstream([...args, server.url, "--block"], env);
      expect([args, code, stderr]).toEqual([
        args,
        1,
        expect.stringMatching(/does not permit this client the groups block/),
      ]);
    }
  });

  it("disconnects a client whose token is revoked at SIGHUP, and no other client loses a tick", async () => {
    const file = newFile();
    const kept = await create(file, "kept");
    const revoked = await create(file, "revoked");
    await using server = await servedWith(file);
    await using good = await connect(server.url, { token: kept });
    await using bad = await connect(server.url, { token: revoked });
    const ticks: number[] = [];
    const watch = good.watch({}, { intervalMs: 1_000 }).events.subscribe((event) => {
      if (event.type === "sync") ticks.push(event.tick);
      else if (event.type !== "record") ticks.push(Number.NaN);
    });
    const ended = bad
      .watch({}, { intervalMs: 1_000 })
      .toArray()
      .catch(({ code }) => code);
    await until(() => ticks.length > 0);
    expect((await virstream(["token", "revoke", "revoked", "--tokens", file])).code).toBe(0);
    server.child.kill("SIGHUP");
    expect(await ended).toBe("unauthenticated");
    expect(await codeOf(connect(server.url, { token: revoked }))).toBe("unauthenticated");
    expect(server.said()).toMatch(
      /1 token is valid now; 1 client of changed or revoked tokens must authenticate again/,
    );
    const later = ticks.length + 2;
    await until(() => ticks.length >= later);
    expect(ticks).toEqual(ticks.map((_, i) => ticks[0]! + i));
    watch.unsubscribe();
  });

  it("keeps its tokens when the file is damaged, has the one of --token-file beside them, and warns who else can read them", async () => {
    const file = newFile();
    const ann = await create(file, "ann");
    const main = join(folder, "main");
    writeFileSync(main, "the main token\n", { mode: 0o600 });
    chmodSync(file, 0o644);
    await using server = await servedWith(file, "--token-file", main);
    expect(server.said()).toMatch(/every user of this machine can read the file of tokens/);
    writeFileSync(file, '{"tokens": [{"sha256": "s3cret", ');
    server.child.kill("SIGHUP");
    await until(() => server.said().includes("the server keeps its tokens"));
    expect(server.said()).toMatch(/tokens-\d+\.json is not valid: it is not JSON/);
    expect(server.said()).not.toContain("s3cret");
    for (const each of [ann, "the main token"]) {
      await using connection = await connect(server.url, { token: each });
      expect(await connection.getAllDomainStats()).toHaveLength(5);
    }
  });

  it("does not start with a file that is not there, or not valid", async () => {
    const serve = (file: string) => virstream(["serve", "test:///default", "--listen", ":0", "--tokens", file]);
    expect((await serve(join(folder, "none"))).stderr).toMatch(
      /file of tokens .*none cannot be read: there is no such file/,
    );
    const file = newFile();
    for (const [content, says] of [
      ['{"token": []}', /it has no member "tokens"/],
      ['{"tokens": [{"name": "ann", "role": "stats", "sha256": "short"}]}', /the sha256 of token ann is not valid/],
      ['{"tokens": [{"name": "ann", "role": "stats", "token": "plain"}]}', /token ann has no member "token"/],
    ] as const) {
      writeFileSync(file, content, { mode: 0o600 });
      const { stderr, code } = await serve(file);
      const { msg } = entriesOf(stderr).at(-1)!;
      expect([code, msg]).toEqual([1, expect.stringMatching(says)]);
      expect(stderr).not.toContain("plain");
    }
  });
});
