import { describe, expect, it } from "vitest";
import { Connection } from "../../../src/client/connection.ts";
import { RecordingDriver } from "../../../src/drivers/recording/driver.ts";
import { parseRecordingUri } from "../../../src/drivers/recording/uri.ts";
import { connect, connectAll } from "../../../src/index.ts";
import { record } from "../../../src/outlets/recording/index.ts";
import { serve } from "../../../src/server/server.ts";
import { folder, open, RecordedHost, replayed, word } from "../../outlets/recording/recorded.ts";

/** A recording of the simulated host: 12 guests, one of them paused, two shut off, one frozen. */
async function simulated(sweeps: number): Promise<string> {
  const path = `${folder()}/own.rec`;
  await using host = await connect("test:///default?freeze=3");
  await using recording = await record(host, path, { intervalMs: 20, query: { deadlineMs: 10 } });
  let ticks = 0;
  for await (const event of host.watch({ deadlineMs: 10 }, { intervalMs: 20 }).events) {
    if (event.type === "sync" && ++ticks === sweeps) break;
  }
  await recording.close();
  return path;
}

describe("A replay", () => {
  it("selects domains and groups as the query says, and counts them so", async () => {
    const path = await simulated(3);
    const replay = await open(path);
    const names = async (query: object) => (await replay.getAllDomainStats(query)).map(({ domain }) => domain.name);
    expect(await names({})).toHaveLength(12);
    expect(await names({ names: ["guest-0000[0-2]"] })).toEqual(["guest-00000", "guest-00001", "guest-00002"]);
    expect((await names({ filter: ["inactive"] })).length).toBe(2);
    expect((await names({ filter: ["paused"] })).length).toBe(1);
    expect((await names({ filter: ["active"] })).length).toBe(10);
    await expect(names({ filter: ["transient"] })).rejects.toMatchObject({ code: "unsupported" });
    const [frozen] = await replay.domainListGetStats(["guest-00003"]);
    expect(frozen).toMatchObject({ status: "partial", reason: "quarantined" });
    // A record that lacks only groups that are not asked for is whole.
    const [state] = await replay.domainListGetStats(["guest-00003"], { groups: ["state"] });
    expect([state!.status, [...state!.params.schema.keys]]).toEqual(["ok", ["state.state", "state.reason"]]);
    const [known, unknown] = await replay.domainListGetStats([frozen!.domain.uuid, "unheard"]);
    expect([known!.domain.name, unknown!.status, unknown!.error?.code]).toEqual([
      "guest-00003",
      "gone",
      "unknown-domain",
    ]);
    const events = await replay.watch({ names: ["guest-00003"] }).events.toArray();
    expect(events.map(word)).toEqual([1, 2, 3].flatMap((n) => ["guest-00003=partial", `tick ${n}`]));
    expect(events.at(-1)).toMatchObject({ summary: { domains: 1, ok: 0, partial: 1 } });
    const named = await replay.watch({ domains: ["unheard"] }).events.toArray();
    expect(named.map(word)).toEqual([1, 2, 3].flatMap((n) => ["unheard=gone", `tick ${n}`]));
  });

  it("is watched any number of times without a warning of a leak", async () => {
    const warnings: Error[] = [];
    const warned = (warning: Error): void => void warnings.push(warning);
    process.on("warning", warned);
    const replay = await open(await simulated(1));
    const watches = Array.from({ length: 12 }, (_, i) => replay.watch({}, { intervalMs: 1_000 + i }).toArray());
    await Promise.all(watches);
    await new Promise((resolve) => setImmediate(resolve));
    process.off("warning", warned);
    expect(warnings).toEqual([]);
  });

  it("has rates and a table, which keeps its rows at the end", async () => {
    const host = await RecordedHost.recorded(5);
    const replay = await open(host.path);
    expect(await replay.watch().rates.toArray()).toHaveLength(15);
    const table = replay.table();
    await table.ready;
    for await (const _ of table.changes);
    expect([table.size, table.absent.map(({ error }) => error.code)]).toEqual([3, ["end-of-recording"]]);
  });

  it("leaves out records that did not change, in the mode on-change, and has each once per heartbeat", async () => {
    const host = new RecordedHost();
    const { driver } = host.host;
    const same = [driver.record(0)];
    host.host.script = () => same;
    await host.start();
    await host.tick(100);
    await host.stop();
    const replay = await open(host.path);
    const records = await replay.watch({}, { mode: "on-change", heartbeatMs: 30_000 }).toArray();
    expect(records).toHaveLength(4);
  });

  it("at the greatest speed waits for the slowest consumer, and skips nothing", async () => {
    const host = await RecordedHost.recorded(200);
    const replay = await open(host.path);
    const quick = replay.watch().toArray();
    let slow = 0;
    await replay.watch().forEach(async () => {
      if (++slow % 10 === 0) await new Promise(setImmediate);
    });
    expect([slow, (await quick).length]).toEqual([600, 600]);
  });

  it("ends when its consumer leaves, and when its connection is closed", async () => {
    const host = await RecordedHost.recorded(50);
    const left = await open(host.path, "speed=1");
    for await (const record of left.watch()) if (record.params.number("cpu.time") === 1_000) break;
    const closed = await open(host.path, "speed=1");
    const watching = closed.watch().toArray();
    await closed.close();
    expect((await watching).length).toBeLessThan(150);
    await expect(closed.getAllDomainStats()).rejects.toMatchObject({ code: "connection-closed" });
  });

  it("that a server serves completes the client's watch; beside other hosts its domains stay", async () => {
    const host = await RecordedHost.recorded(5);
    const source = new Connection(await RecordingDriver.open(`file://${host.path}?speed=100`));
    await using server = await serve(source, { port: 0 });
    await using client = await connect(server.url);
    const events = await client.watch().events.toArray();
    expect(events.map(word).slice(-2)).toEqual(["domain-2=5002", "tick 5"]);
    await using fleet = await connectAll([`file://${host.path}?speed=max`, "test:///default?domains=1&host=hv2"]);
    for await (const event of fleet.watch().events) if (event.type === "status" && event.state === "degraded") break;
    await source.close();
  });

  it("of the newest file ends where a recorder that is still running has got to", async () => {
    const host = new RecordedHost();
    await host.start();
    await host.tick(5);
    await host.written();
    expect((await replayed(host.path)).at(-2)).toBe("domain-2=5002");
  });
});

describe("The URI of a recording", () => {
  it("has a speed, and moments in time or relative to the recording", () => {
    expect(parseRecordingUri("file:///a%20b?speed=0.5&from=2026-01-31T12:00:00Z&to=-1.5m")).toEqual({
      ...{ path: "/a b", speed: 0.5, from: { at: Date.parse("2026-01-31T12:00:00Z") }, to: { beforeEnd: 90_000 } },
    });
    expect(parseRecordingUri("file:///a?from=+10s")).toMatchObject({ speed: 1, from: { afterStart: 10_000 } });
    for (const speed of ["0", "max"]) expect(parseRecordingUri(`file:///a?speed=${speed}`).speed).toBe(Infinity);
  });

  it.each([
    ["file:///a?sped=1", /unknown parameter "sped".*speed, from and to/],
    ["file:///a?speed=fast", /speed=fast: speed is a number/],
    ["file:///a?speed=-1", /speed is a number/],
    ["file:///a?speed=1&speed=2", /speed is given twice/],
    ["file:///a?from=yesterday", /from=yesterday: from is a time such as/],
    ["file:///a?to=10s", /to is a time such as/],
    ["file://host/a", /names no file/],
    ["file:///a?from=%zz", /not percent-encoded/],
  ])("is refused with what is allowed: %s", async (uri, message) => {
    await expect(connect(uri)).rejects.toMatchObject({ code: "invalid-uri", message: expect.stringMatching(message) });
  });

  it("is not opened when its caller gives up while its files are read", async () => {
    const abort = new AbortController();
    const opening = RecordingDriver.open(`file://${await simulated(1)}`, undefined, abort.signal);
    abort.abort(new Error("the caller gave up"));
    await expect(opening).rejects.toBe(abort.signal.reason);
  });

  it("is refused when its moments are not in the recording", async () => {
    const host = await RecordedHost.recorded(5);
    await expect(open(host.path, "from=%2B1h")).rejects.toMatchObject({
      message: /from= is after the end.*it is from 2026/,
    });
    await expect(open(host.path, "to=-1h")).rejects.toMatchObject({ message: /to= is before the beginning/ });
    await expect(open(host.path, "from=-1s&to=-3s")).rejects.toMatchObject({ message: /from= is after to=/ });
  });
});
