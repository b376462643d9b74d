/** @module-tag any-node */

import { once } from "node:events";
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect as connectTls } from "node:tls";
import { afterAll, beforeAll, expect, it } from "vitest";
import { WebSocket } from "ws";
import { TokenList } from "../../src/server/index.ts";
import { CLOSE_CODES, LIMITS, SUBPROTOCOLS, type Subprotocol } from "../../src/wire/protocol.ts";
import { unpack } from "../../src/wire/unpack.ts";
import { upgradeStatusAt } from "../answer.ts";
import { Authority } from "../lab/certificates.ts";
import { describeWith } from "../lab/requirement.ts";
import { until } from "../until.ts";
import { start } from "./run.ts";

const SUBSCRIBERS = 100;
const INTERVAL_MS = 250;

/** Counts the ticks of one watch. */
class Subscriber {
  readonly socket: WebSocket;
  readonly ticks: number[] = [];
  /** The host of each. */
  readonly hosts: string[] = [];
  /** Everything but a tick and its records that could mean that it lost something. */
  readonly trouble: unknown[] = [];
  #begun = 0;

  constructor(url: string, subprotocol: Subprotocol, token: string, ca: string) {
    const socket = new WebSocket(url, subprotocol, { ca, headers: { authorization: `Bearer ${token}` } });
    this.socket = socket;
    socket.on("open", () => {
      socket.send('{"type":"hello"}');
      const watch = { type: "watch", id: 1, groups: ["state"], intervalMs: INTERVAL_MS, credit: LIMITS.credit };
      socket.send(JSON.stringify(watch));
    });
    socket.on("message", (data: Buffer, isBinary: boolean) => {
      const message = (isBinary ? unpack(data) : JSON.parse(data.toString())) as Record<string, unknown>;
      if (message["type"] === "sync") {
        this.ticks.push(message["tick"] as number);
        this.hosts.push(message["host"] as string);
      } else if (message["type"] === "status" && message["state"] === "removed") return;
      // A second one means that the server skipped ticks for it.
      else if (message["type"] === "begin" && this.#begun++ > 0) this.trouble.push(message);
      else if (["end", "gap", "status"].includes(message["type"] as string)) this.trouble.push(message);
    });
    socket.on("error", (error) => this.trouble.push(error));
    socket.on("close", (code) => this.trouble.push(code));
  }
}

describeWith(["openssl"], "virstream serve with 100 subscribers over TLS", () => {
  let folder: string;
  let ca: string;
  const file = (name: string): string => join(folder, name);

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), "virstream-reload-"));
    const authority = await Authority.create(folder, "virstream test");
    const hosts = ["DNS:localhost", "IP:127.0.0.1"];
    for (const name of ["first", "second"]) {
      const { certificate, key } = await authority.issue({ name, hosts });
      copyFileSync(certificate, file(`${name}.cert`));
      copyFileSync(key, file(`${name}.key`));
    }
    ca = readFileSync(authority.certificate, "utf8");
  });

  afterAll(() => rmSync(folder, { recursive: true }));

  function install(name: string): void {
    for (const kind of ["cert", "key"]) copyFileSync(file(`${name}.${kind}`), file(`server.${kind}`));
  }

  /** The simulated hosts that the server reads. */
  const uri = (host: string): string => `test:///default?domains=3&host=${host}`;
  let sources = ["hv1", "hv2"].map(uri);

  function configure(...lines: readonly string[]): void {
    const all = [
      `sources = ${JSON.stringify(sources)}`,
      'listen = "127.0.0.1:0"',
      `tokens = "${file("tokens.json")}"`,
      `tls-cert = "${file("server.cert")}"`,
      `tls-key = "${file("server.key")}"`,
      `min-interval = "${INTERVAL_MS}ms"`,
    ];
    writeFileSync(file("serve.toml"), `${[...all, ...lines].join("\n")}\n`);
  }

  /** The name in the certificate that a new connection gets. */
  async function nameAt(url: string): Promise<string> {
    const socket = connectTls({ host: "127.0.0.1", port: Number(new URL(url).port), ca });
    await once(socket, "secureConnect");
    const { CN } = socket.getPeerCertificate().subject;
    socket.destroy();
    return String(CN);
  }

  /** How a page of an origin is received. */
  const statusOf = (url: string, token: string, origin: string): Promise<number> =>
    upgradeStatusAt(url, SUBPROTOCOLS[1], { ca, origin, headers: { authorization: `Bearer ${token}` } });

  it("takes new certificates, tokens, origins, limits and hosts at SIGHUP, says what needs a restart, and no other client loses a tick", async () => {
    let list = new TokenList([]);
    const tokens: Record<string, string> = {};
    for (const name of ["kept", "other", "revoked", "narrowed"]) {
      const made = list.with({ name, role: "stats" });
      tokens[name] = made.token;
      list = made.list;
    }
    const save = (saved: TokenList): void => writeFileSync(file("tokens.json"), saved.toString(), { mode: 0o600 });
    save(list);
    install("first");
    configure('origin = ["https://old.example"]');
    const server = start(["serve", "--config", file("serve.toml")]);
    let said = "";
    server.stderr.setEncoding("utf8").on("data", (text: string) => (said += text));
    const [printed] = (await once(server.stdout.setEncoding("utf8"), "data")) as [string];
    const url = printed.trim();
    const subscribers: Subscriber[] = [];
    const subscribe = (token: string, i: number): Subscriber => {
      const subscriber = new Subscriber(url, SUBPROTOCOLS[i % 2]!, token, ca);
      subscribers.push(subscriber);
      return subscriber;
    };
    /** Signals, and waits until the server has said that it did it, and everybody has had two more ticks. */
    const reload = async (words: RegExp, among: readonly Subscriber[]): Promise<void> => {
      said = "";
      server.kill("SIGHUP");
      await until(() => words.test(said));
      const before = among.map(({ ticks }) => ticks.length);
      await until(() => among.every(({ ticks, trouble }, i) => trouble.length > 0 || ticks.length >= before[i]! + 2));
    };
    try {
      const kept = Array.from({ length: SUBSCRIBERS - 4 }, (_, i) =>
        subscribe(tokens[i % 4 < 2 ? "kept" : "other"]!, i),
      );
      const lost = ["revoked", "revoked", "narrowed", "narrowed"].map((name, i) => subscribe(tokens[name]!, i));
      await until(() => subscribers.every(({ ticks, trouble }) => ticks.length > 0 || trouble.length > 0));

      install("second");
      await reload(/new connections get the certificate/, kept);
      expect(await nameAt(url)).toBe("second");

      const narrowed = list.entries.map((entry) => ({
        ...entry,
        ...(entry.name === "narrowed" && { domains: ["guest-00001"] }),
      }));
      save(new TokenList(narrowed).without("revoked"));
      await reload(/3 tokens are valid now; 4 clients of changed or revoked tokens must authenticate again"/, kept);
      await until(() => lost.every(({ trouble }) => trouble.length > 0));
      expect(lost.map(({ trouble }) => trouble)).toEqual(lost.map(() => [CLOSE_CODES["logged-out"]]));

      expect(await statusOf(url, tokens["kept"]!, "https://new.example")).toBe(403);
      const limits = ["[limits]", `clients = ${kept.length}`, "helloTimeoutMs = 4000"];
      configure('origin = ["https://new.example"]', ...limits);
      await reload(
        new RegExp(
          `limits of .* from now on: clients ${kept.length}".*which need a restart: limits.helloTimeoutMs"`,
          "s",
        ),
        kept,
      );
      const late = subscribe(tokens["kept"]!, 0);
      await until(() => late.trouble.length > 0);
      expect(late.trouble).toEqual([CLOSE_CODES.overloaded]);
      configure('origin = ["https://new.example"]', "[limits]", "sweepsPerClient = 1");
      await reload(/limits of .* from now on: clients 1000, sweepsPerClient 1"/, kept);
      const next = subscribe(tokens["kept"]!, 0);
      await until(() => next.ticks.length > 0);
      next.socket.send('{"type":"get","id":2}');
      await until(() => next.trouble.length > 0);
      expect(next.trouble).toMatchObject([{ type: "end", id: 2, error: { code: "limit-exceeded" } }]);
      expect(await statusOf(url, tokens["kept"]!, "https://new.example")).toBe(101);
      expect(await statusOf(url, tokens["kept"]!, "https://old.example")).toBe(403);

      sources = ["hv2", "hv3"].map(uri);
      configure('origin = ["https://new.example"]');
      await reload(/host=hv3: added.*host=hv1: removed/s, kept);
      const hosts = (ticked: Subscriber): string[] => [...new Set(ticked.hosts.slice(-4))].sort();
      await until(() => kept.every((each) => hosts(each).join() === "hv2,hv3"));

      sources = ["hv2", "hv4&odd=1"].map(uri);
      configure('origin = ["https://new.example"]');
      await reload(/odd=1 could not be added.*host=hv3: kept/s, kept);
      await until(() => kept.every((each) => hosts(each).join() === "hv2,hv3"));

      configure("orgin = []");
      install("first");
      await reload(/serve\.toml:7: orgin: there is no such option.*keeps its configuration.*new connections/s, kept);
      expect(await nameAt(url)).toBe("first");
      expect(await statusOf(url, tokens["kept"]!, "https://new.example")).toBe(101);

      expect(kept.flatMap(({ trouble }) => trouble)).toEqual([]);
      for (const { ticks } of kept) expect(ticks).toEqual(ticks.map((_, i) => ticks[0]! + i));
      expect(kept.every(({ ticks }) => ticks.length > 8)).toBe(true);
    } finally {
      for (const { socket } of subscribers) socket.terminate();
      server.kill();
      await once(server, "close");
    }
  });
});
