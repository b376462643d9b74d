import { readFileSync } from "node:fs";
import { afterEach, expect, it } from "vitest";
import { Connection, connect, type DomainStatsRecord, type WatchEvent } from "../../src/index.ts";
import { type ServeOptions, serve, type VirstreamServer } from "../../src/server/index.ts";
import { pack } from "../../src/wire/pack.ts";
import { Dice } from "../lab/dice.ts";
import { describeWith } from "../lab/requirement.ts";
import { ServedProcess } from "../lab/served-process.ts";
import { TcpProxy } from "../lab/tcp-proxy.ts";
import { TickingHost } from "../lab/ticking-host.ts";
import { ExampleProcess, type Line } from "./example-process.ts";
import { VECTORS, VectorServer, type VectorStep } from "./vector-server.ts";

const NAME = "06-client-in-python.py";
/** Debian's own, which has its python3-msgpack. */
const PYTHON = "/usr/bin/python3";
/** Guests of many shapes; one whose record is larger than a message, one that fails, one with the largest numbers. */
const SHAPES = "domains=300&vcpus=1-4&disks=1-3&nics=2&extras=1&huge=6:60000&error=7&extremes=8";
const TIMEOUT_MS = 60_000;

const owned: (() => unknown)[] = [];

afterEach(async () => {
  for (const close of owned.splice(0).reverse()) await close();
});

function own<T extends AsyncDisposable>(resource: T): T {
  owned.push(() => resource[Symbol.asyncDispose]());
  return resource;
}

function runClient(args: readonly string[], env?: Record<string, string>): ExampleProcess {
  return own(new ExampleProcess(PYTHON, NAME, args, env));
}

async function served(host: string | Connection, options: ServeOptions = {}): Promise<VirstreamServer> {
  const connection = own(typeof host === "string" ? await connect(host) : host);
  const server = await serve(connection, { port: 0, limits: { minIntervalMs: 100 }, ...options });
  owned.push(() => server.close());
  return server;
}

/** A record as the client prints it: without the state in words, and with the server's steady clock. */
function printed(record: DomainStatsRecord): Line {
  const { state, steadyAt, ...rest } = JSON.parse(JSON.stringify(record));
  return rest;
}

function withoutSteadyAt({ steadyAt, ...rest }: Line): Line {
  return rest;
}

/** The records before each `sync`, by its tick: of lines, or of a watch's events. */
function byTick<T>(
  all: readonly T[],
  recordOf: (one: T) => Line | undefined,
  tickOf: (one: T) => number | undefined,
): Map<number, Line[]> {
  const ticks = new Map<number, Line[]>();
  let records: Line[] = [];
  for (const one of all) {
    const record = recordOf(one);
    if (record !== undefined) records.push(record);
    const tick = tickOf(one);
    if (tick === undefined) continue;
    ticks.set(
      tick,
      records.sort((one, other) => one.index - other.index),
    );
    records = [];
  }
  return ticks;
}

const printedTicks = (lines: readonly Line[]) =>
  byTick(
    lines,
    (line) => (line.params === undefined ? undefined : withoutSteadyAt(line)),
    (line) => (line.type === "sync" ? line.tick : undefined),
  );

/** What this package's own client makes of the same watch, up to now. */
async function watchedBeside(url: string, intervalMs: number): Promise<() => Map<number, Line[]>> {
  const connection = own(await connect(url));
  const events: WatchEvent[] = [];
  const watch = connection.watch({}, { intervalMs }).events.subscribe((event) => events.push(event));
  owned.push(() => watch.unsubscribe());
  return () =>
    byTick(
      events,
      (event) => (event.type === "record" ? printed(event.record) : undefined),
      (event) => (event.type === "sync" ? event.tick : undefined),
    );
}

/** Expects that both clients had the same records in all ticks that both had, and how many these are at least. */
function expectSame(one: Map<number, Line[]>, other: Map<number, Line[]>, ticks: number): void {
  const common = [...one.keys()].filter((tick) => other.has(tick));
  expect(common.length).toBeGreaterThanOrEqual(ticks);
  for (const tick of common) expect(one.get(tick), `tick ${tick}`).toEqual(other.get(tick));
}

const ofType = (lines: readonly Line[], type: string): Line[] => lines.filter((line) => line.type === type);

describeWith(["python3-msgpack"], "the client in Python, written from PROTOCOL.md alone,", () => {
  it("has at most 300 lines", () => {
    const text = readFileSync(new URL(`../../examples/${NAME}`, import.meta.url), "utf8");
    expect(text.split("\n").length - 1).toBeLessThanOrEqual(300);
  });

  it(
    "prints exactly the records that the server's host has",
    async () => {
      const host = await connect(`test:///default?${SHAPES}`);
      /** Every record that the server's driver made, by uuid: what it must print, value by value. */
      const made = new Map<string, DomainStatsRecord>();
      const { driver } = host;
      const sweep = driver.sweep.bind(driver);
      driver.sweep = async function* (query, context) {
        for await (const records of sweep(query, context)) {
          for (const record of records) made.set(record.domain.uuid, record);
          yield records;
        }
      };
      const { url } = await served(host);
      const { lines, code } = await runClient([url]).ended;
      expect(code).toBe(0);
      expect(lines).toHaveLength(300);
      for (const line of lines) {
        const record = made.get(line.domain.uuid)!;
        expect(line).toMatchObject({ domain: printed(record).domain, status: record.status });
        expect(Object.keys(line.params)).toEqual(record.params.schema.keys);
        expect(line.params).toEqual(JSON.parse(JSON.stringify(record.params)));
      }
      expect(new Set(lines.map((line) => line.status))).toEqual(new Set(["ok", "failed"]));
      expect(Math.max(...lines.map((line) => Object.keys(line.params).length))).toBe(60_000);
    },
    TIMEOUT_MS,
  );

  it(
    "shows the token in its environment, and says why when the server wants another",
    async () => {
      const { url } = await served("test:///default?domains=2", { token: "a secret" });
      expect(await runClient([url], { VIRSTREAM_TOKEN: "a secret" }).ended).toMatchObject({
        code: 0,
        lines: [{ status: "ok" }, { status: "ok" }],
      });
      expect(await runClient([url]).ended).toMatchObject({
        code: 1,
        stderr: expect.stringMatching(/^unauthenticated: /),
      });
    },
    TIMEOUT_MS,
  );

  it(
    "applies the differences of a watch: each record of each tick is the one that this package's client has",
    async () => {
      const { url } = await served("test:///default?domains=40&extras=1&error=7&extremes=8&appear=5:1500");
      const beside = await watchedBeside(url, 500);
      const { code, lines } = await runClient([url, "500", "6"]).ended;
      expect(code).toBe(0);
      expect(ofType(lines, "sync").length).toBe(6);
      expectSame(printedTicks(lines), beside(), 5);
      expect(lines.some((line) => line.status === "failed")).toBe(true);
    },
    TIMEOUT_MS,
  );

  it(
    "follows domains that leave and come back",
    async () => {
      const { url } = await served(new Connection(new TickingHost(30, new Dice(1))));
      const beside = await watchedBeside(url, 100);
      const { lines } = await runClient([url, "100", "20"]).ended;
      expectSame(printedTicks(lines), beside(), 19);
      const there = new Set<string>();
      for (const line of lines) {
        if (line.params !== undefined) there.add(line.domain.uuid);
        // Each domain that it calls gone was there until then.
        if (line.type === "gone") expect(there.delete(line.domain.uuid)).toBe(true);
        if (line.type === "sync") expect(there.size).toBe(line.summary.domains);
      }
      expect(ofType(lines, "gone").length).toBeGreaterThan(3);
    },
    TIMEOUT_MS,
  );

  it(
    "resumes a watch whose connection was cut, without a snapshot, and misses no tick",
    async () => {
      const server = await served(new Connection(new TickingHost(30, new Dice(2))));
      const proxy = own(await TcpProxy.start(Number(new URL(server.url).port)));
      const beside = await watchedBeside(server.url, 300);
      const client = runClient([proxy.url, "300", "9"]);
      await client.until((line) => line.type === "sync");
      proxy.cut();
      proxy.mend();
      const { lines } = await client.ended;
      expect(ofType(lines, "lost").length).toBeGreaterThan(0);
      expect(ofType(lines, "begin").map(({ resumed }) => resumed)).toEqual([false, true]);
      expect(ofType(lines, "gap")).toEqual([]);
      const ticks = ofType(lines, "sync").map(({ tick }) => tick);
      expect(ticks).toEqual(Array.from({ length: 9 }, (_, i) => ticks[0] + i));
      expectSame(printedTicks(lines), beside(), 8);
    },
    TIMEOUT_MS,
  );

  it(
    "reports a gap when the server has started again, and goes on with what that one has",
    async () => {
      const server = own(await ServedProcess.start({ uri: "test:///default?domains=5" }));
      const client = runClient([server.url, "1000", "3"]);
      await client.until((line) => line.type === "sync");
      await server.kill();
      await client.until((line) => line.type === "lost");
      await server.restart();
      const { code, lines } = await client.ended;
      expect(code).toBe(0);
      expect(ofType(lines, "begin").map(({ resumed }) => resumed)).toEqual([false, false]);
      expect(ofType(lines, "gap")).toEqual([{ type: "gap", reason: "reconnected", skipped: null }]);
      // Its five domains are the same: none is gone.
      expect(ofType(lines, "gone")).toEqual([]);
      expect(new Set(lines.flatMap((line) => (line.params === undefined ? [] : [line.domain.uuid]))).size).toBe(5);
    },
    TIMEOUT_MS,
  );

  it.each(VECTORS.sessions.filter(({ subprotocol }) => subprotocol === "virstream.v1"))(
    "makes of the test vectors what they say: $name",
    async ({ steps }) => {
      const means = steps.flatMap((step) => step.means ?? []);
      const ticks = means.filter((each) => each.tick !== undefined).length;
      const server = own(await VectorServer.start(steps));
      const args = ticks === 0 ? [server.url] : [server.url, "1000", `${ticks}`];
      const { code, lines, stderr } = await runClient(args).ended;
      expect(lines.flatMap(meaning)).toEqual(means.map(withoutState));
      const refused = steps.some((step) => step.client?.groups !== undefined);
      expect([code, stderr]).toEqual(refused ? [1, 'unknown-group: unknown group "odd"\n'] : [0, ""]);
      const since = ({ asked }: { asked: Line[] }) => asked.flatMap((message) => message.since ?? []);
      expect(since(server)).toEqual(since({ asked: steps.flatMap((step) => step.client ?? []) }));
    },
    TIMEOUT_MS,
  );

  it(
    "refuses each message that the test vectors say a client must refuse",
    async () => {
      const welcome = VECTORS.sessions[0]!.steps[1]!;
      const schema = { hex: hexOf({ type: "schema", slot: 3, keys: ["key"], types: [1] }) };
      for (const { why, hex } of VECTORS.refused) {
        const get = { client: { type: "get" } };
        const steps: VectorStep[] = [{ client: { type: "hello" } }, welcome, get, schema, { hex }];
        await using server = await VectorServer.start(steps);
        const { code, stderr } = await runClient([server.url]).ended;
        expect([code, stderr, server.closed], why).toEqual([1, expect.stringMatching(/^protocol-error: /), [4400]]);
      }
    },
    TIMEOUT_MS,
  );
});

/** A line of the client as the test vectors say what a message means. */
function meaning(line: Line): Line[] {
  if (line.params !== undefined) return [{ record: line }];
  if (line.type === "gone") return [{ gone: line.domain.name }];
  if (line.type === "sync") return [{ tick: line.tick }];
  if (line.type === "gap") return [{ gap: line.skipped, reason: line.reason }];
  return line.type === "status" ? [{ state: line.state, host: line.host }] : [];
}

function withoutState(means: Line): Line {
  if (means.record === undefined) return means;
  const { state, ...record } = means.record;
  return { record };
}

function hexOf(message: object): string {
  return Buffer.from(pack(message)).toString("hex");
}
