import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { Connection, connect, type DomainStatsRecord, type WatchEvent } from "../../src/index.ts";
import { type ServeOptions, serve, type VirstreamServer } from "../../src/server/index.ts";
import { Dice } from "../lab/dice.ts";
import { describeWith } from "../lab/requirement.ts";
import { ServedProcess } from "../lab/served-process.ts";
import { TcpProxy } from "../lab/tcp-proxy.ts";
import { TickingHost } from "../lab/ticking-host.ts";
import { own, owned } from "../owned.ts";
import { until } from "../until.ts";
import { ExampleProcess, type Line } from "./example-process.ts";
import { VECTORS, VectorServer } from "./vector-server.ts";

const NAME = "06-client-in-python.py";
/** Debian's own, which has its python3-msgpack. */
const PYTHON = "/usr/bin/python3";
/** Guests of many shapes; one whose record is larger than a message, one that fails, one with the largest numbers. */
const SHAPES = "domains=300&vcpus=1-4&disks=1-3&nics=2&extras=1&huge=6:60000&error=7&extremes=8";
const TIMEOUT_MS = 120_000;

function linesOf(name: string): number {
  return readFileSync(new URL(`../../examples/${name}`, import.meta.url), "utf8").split("\n").length - 1;
}

/** Calls back with every record that the connection's driver makes in a sweep. */
function keepRecords({ driver }: Connection, keep: (record: DomainStatsRecord) => void): void {
  const sweep = driver.sweep.bind(driver);
  driver.sweep = async function* (query, context) {
    for await (const records of sweep(query, context)) {
      for (const record of records) keep(record);
      yield records;
    }
  };
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

/** The records of a watch by sweep, each in the order of its domains. The sweep's name is the same for all its watchers. */
type Sweeps = Map<string, Line[]>;

/** Sorts what a watch brought into sweeps: records, and the summary of the sweep that ended with it. */
function bySweep(brought: readonly { readonly record?: Line; readonly summary?: Line }[]): Sweeps {
  const sweeps: Sweeps = new Map();
  let records: Line[] = [];
  for (const { record, summary } of brought) {
    // The clients in Python have the server's steady clock, this package's has translated it into its own.
    if (record !== undefined) records.push({ ...record, steadyAt: 0 });
    if (summary === undefined) continue;
    records.sort((one, other) => one.index - other.index);
    sweeps.set(`${summary.startedAt} ${summary.tookMs}`, records);
    records = [];
  }
  return sweeps;
}

/** What this package's own client has of the same watch, when it is asked. */
async function watchedBeside(url: string, intervalMs: number): Promise<() => Sweeps> {
  const connection = own(await connect(url));
  const events: WatchEvent[] = [];
  const watch = connection.watch({}, { intervalMs }).events.subscribe((event) => events.push(event));
  owned.push(() => watch.unsubscribe());
  return () =>
    bySweep(
      events.map((event) => {
        if (event.type === "record") return { record: asJson(event.record) };
        return event.type === "sync" ? { summary: event.summary } : {};
      }),
    );
}

function asJson(record: DomainStatsRecord): Line {
  const { types: _, ...rest } = JSON.parse(JSON.stringify(record));
  return rest;
}

/** The client of the binary profile does not have the state in words. */
function withoutState({ state, ...rest }: Line): Line {
  return rest;
}

/**
 * Expects that a client had records, and the same ones as a client that watches beside it. The client's first two sweeps
 * do not count: its snapshot may already have records of the second.
 */
async function expectSame(sweeps: Sweeps, beside: () => Sweeps, asPrinted = (record: Line) => record): Promise<void> {
  const compared = [...sweeps.keys()].slice(2);
  expect(compared.flatMap((sweep) => sweeps.get(sweep)!)).not.toEqual([]);
  await expect.poll(() => [...beside().keys()], { timeout: TIMEOUT_MS / 2 }).toEqual(expect.arrayContaining(compared));
  const others = beside();
  for (const sweep of compared) expect(sweeps.get(sweep)).toEqual(others.get(sweep)!.map(asPrinted));
}

/** What the client of the binary profile printed. */
const printedSweeps = (lines: readonly Line[]): Sweeps =>
  bySweep(lines.map((line) => (line.params === undefined ? line : { record: line })));

const ofType = (lines: readonly Line[], type: string): Line[] => lines.filter((line) => line.type === type);

describeWith(["python3-msgpack"], "the client of the binary profile in Python", () => {
  it("has at most 300 lines", () => {
    expect(linesOf(NAME)).toBeLessThanOrEqual(300);
  });

  it(
    "prints exactly the records that the server's host has",
    async () => {
      const host = await connect(`test:///default?${SHAPES}`);
      /** Every record that the server's driver made, by uuid: what it must print, value by value. */
      const made = new Map<string, DomainStatsRecord>();
      keepRecords(host, (record) => made.set(record.domain.uuid, record));
      const { url } = await served(host);
      const { lines, code } = await runClient([url]).ended;
      expect(code).toBe(0);
      expect(lines).toHaveLength(300);
      for (const line of lines) {
        const record = made.get(line.domain.uuid)!;
        expect(line).toMatchObject({ domain: asJson(record).domain, status: record.status });
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
      await expectSame(printedSweeps(lines), beside, withoutState);
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
      await expectSame(printedSweeps(lines), beside, withoutState);
      const there = new Set<string>();
      let syncs = 0;
      for (const line of lines) {
        if (line.params !== undefined) there.add(line.domain.uuid);
        // Each domain that it calls gone was there until then.
        if (line.type === "gone") expect(there.delete(line.domain.uuid)).toBe(true);
        if (line.type === "sync" && ++syncs > 1) expect(there.size).toBe(line.summary.domains);
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
      const beside = await watchedBeside(server.url, 500);
      const client = runClient([proxy.url, "500", "7"]);
      await client.until((line) => line.type === "sync");
      proxy.cut();
      proxy.restore();
      const { lines } = await client.ended;
      expect(ofType(lines, "lost").length).toBeGreaterThan(0);
      expect(ofType(lines, "begin").map(({ resumed }) => resumed)).toEqual([false, true]);
      expect(ofType(lines, "gap")).toEqual([]);
      const ticks = ofType(lines, "sync").map(({ tick }) => tick);
      expect(ticks).toEqual(Array.from({ length: 7 }, (_, i) => ticks[0] + i));
      await expectSame(printedSweeps(lines), beside, withoutState);
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
      expect(lines.flatMap(meaning)).toEqual(
        means.map(({ record, ...rest }) => (record ? { record: withoutState(record) } : rest)),
      );
      const refused = steps.some((step) => step.client?.groups !== undefined);
      const refusal = steps.find(({ server: said }) => said?.type === "end" && said.error)?.server?.error as Line;
      expect([code, stderr]).toEqual(refused ? [1, `${refusal.code}: ${refusal.message}\n`] : [0, ""]);
      const since = ({ asked }: { asked: Line[] }) => asked.flatMap((message) => message.since ?? []);
      expect(since(server)).toEqual(since({ asked: steps.flatMap((step) => step.client ?? []) }));
    },
    TIMEOUT_MS,
  );

  it(
    "refuses each message that the test vectors say a client must refuse",
    async () => {
      for (const { why, steps } of VECTORS.refused) {
        const isWatch = steps.some(({ client }) => client?.type === "watch");
        await using server = await VectorServer.start(steps);
        const { code, stderr } = await runClient(isWatch ? [server.url, "1000"] : [server.url]).ended;
        await until(() => server.closed.length > 0);
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

describeWith(["python3"], "the client of the JSON profile in Python", () => {
  const runJson = (...args: string[]): ExampleProcess => own(new ExampleProcess(PYTHON, "09-json-client.py", args));

  it("has about 40 lines", () => {
    expect(linesOf("09-json-client.py")).toBeLessThanOrEqual(45);
  });

  it(
    "prints the messages of a sweep, with each record as this package has it",
    async () => {
      const made = new Map<string, Line>();
      const host = await connect("test:///default?domains=30&error=7&extremes=8");
      keepRecords(host, (record) => made.set(record.domain.uuid, asJson(record)));
      const { url } = await served(host);
      const { code, lines, stderr } = await runJson(url).ended;
      expect([code, stderr]).toEqual([0, ""]);
      expect(lines.map(({ type }) => type)).toEqual(["welcome", "begin", ...Array(30).fill("record"), "end"]);
      expect(lines.at(-1)).toMatchObject({ id: 1, summary: { domains: 30, ok: 29, failed: 1 } });
      for (const { record } of ofType(lines, "record")) {
        expect({ ...record, steadyAt: 0 }).toEqual({ ...made.get(record.domain.uuid), steadyAt: 0 });
      }
    },
    TIMEOUT_MS,
  );

  it(
    "prints the messages of a watch, with each record of each sweep as this package's client has it",
    async () => {
      const { url } = await served(new Connection(new TickingHost(30, new Dice(4))));
      const beside = await watchedBeside(url, 200);
      const client = runJson(url, "200");
      await client.until(() => ofType(client.lines, "sync").length === 6);
      // Those of the snapshot have an id; a domain that left has a record without parameters.
      const brought = client.lines.map(({ type, id, record, summary }) => {
        return type === "record" && (id !== undefined || record.params === undefined) ? {} : { record, summary };
      });
      await expectSame(bySweep(brought), beside);
    },
    TIMEOUT_MS,
  );

  it(
    "says why when the server refuses it",
    async () => {
      const { url } = await served("test:///default?domains=2", { token: "a secret" });
      expect(await runJson(url).ended).toMatchObject({ code: 1, stderr: expect.stringMatching(/^closed: 4401 ./) });
    },
    TIMEOUT_MS,
  );
});
