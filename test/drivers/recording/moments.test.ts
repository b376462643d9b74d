/** @module-tag any-node */

import { copyFileSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Connection } from "../../../src/client/connection.ts";
import { RecordingDriver } from "../../../src/drivers/recording/driver.ts";
import { recordingFiles } from "../../../src/drivers/recording/files.ts";
import { Playback } from "../../../src/drivers/recording/playback.ts";
import { type FilePiece, Recording } from "../../../src/drivers/recording/recording.ts";
import { connect, connectAll } from "../../../src/index.ts";
import { record } from "../../../src/outlets/recording/index.ts";
import { serve } from "../../../src/server/server.ts";
import { BEGIN, folder, open, RecordedHost } from "../../outlets/recording/recorded.ts";
import { JsonClient } from "../../server/json-client.ts";
import { known } from "../../server/ticking-host.ts";
import { PATIENCE, until } from "../../until.ts";

/** All pieces of a recording, from its beginning. */
async function piecesOf(path: string): Promise<FilePiece[]> {
  const pieces: FilePiece[] = [];
  for await (const piece of (await Recording.open(path)).pieces()) pieces.push(piece);
  return pieces;
}

/** What is known at a moment, found by reading everything from the beginning. */
function scanned(pieces: readonly FilePiece[], time: number): string[] {
  const playback = new Playback({}, { record: () => {}, gone: () => {}, event: () => {} });
  let before: string[] = [];
  for (const piece of pieces) {
    if (piece.kind === "damage") playback.apply(piece);
    else if (piece.at > time && piece.kind !== "state") break;
    else {
      if (piece.kind === "key" && playback.isWhole) before = known(playback.records());
      playback.apply(piece);
    }
  }
  // A key frame that was cut repeats what was known before it.
  return playback.isWhole ? known(playback.records()) : before;
}

/** A recording of several files, with a restart of the recorder, domains that come and go, and damaged places. */
async function eventful(): Promise<string> {
  const host = new RecordedHost({ domains: 4 });
  await host.start({ rotateBytes: 40_000 });
  for (const domains of [4, 7, 2, 5]) {
    host.host.domains = domains;
    await host.tick(20);
  }
  await host.stop();
  host.host.clock.advance(90_000);
  await host.start({ rotateBytes: 40_000 });
  await host.tick(120);
  await host.stop();
  for (const { path, size } of (await recordingFiles(host.path)).slice(1)) {
    const bytes = readFileSync(path);
    for (const share of [0.3, 0.6]) bytes[Math.floor(size * share)]! ^= 0x10;
    writeFileSync(path, bytes);
  }
  return host.path;
}

describe("A moment of a recording", () => {
  it("has the records that reading it from its beginning gives, in whatever order moments are asked for", async () => {
    const path = await eventful();
    const pieces = await piecesOf(path);
    const connection = await open(path);
    const { from, to } = connection.recorded!;
    expect([from, to]).toEqual([BEGIN, BEGIN + 290_000]);
    expect(pieces.filter(({ kind }) => kind === "key").length).toBeGreaterThan(5);
    expect(pieces.filter(({ kind }) => kind === "damage").length).toBeGreaterThan(3);
    const moments = fc.array(fc.integer({ min: 0, max: 300_000 }), { minLength: 1, maxLength: 12 });
    await fc.assert(
      fc.asyncProperty(moments, async (times) => {
        const asked = times.map((time) => from + time);
        const found = await Promise.all(asked.map((at) => connection.stats({ at }).toArray()));
        expect(found.map(known)).toEqual(asked.map((at) => scanned(pieces, at)));
      }),
      { numRuns: 30 },
    );
  });

  it("of a file that is cut or damaged has what can still be read", async () => {
    const host = await RecordedHost.recorded(100);
    const cut = join(folder(), "cut.rec");
    const pieces = await piecesOf(host.path);
    const frames = pieces.flatMap((piece) => (piece.kind === "damage" ? [] : [piece]));
    const key = frames.findLast(({ kind }) => kind === "key")!;
    const within = [0.95, 0.7, 0.4].map((share) => Math.floor(frames.at(-1)!.end * share));
    for (const size of [...within, key.end + 200]) {
      copyFileSync(host.path, cut);
      truncateSync(cut, size);
      const whole = frames.filter(({ end }) => end <= size);
      const connection = await open(cut);
      expect(connection.recorded!.to).toBe(whole.at(-1)!.at);
      for (const at of [BEGIN + 3_000, whole.at(-1)!.at, BEGIN + 1_000_000]) {
        expect(known(await connection.stats({ at }).toArray())).toEqual(scanned(whole, at));
      }
      await connection.close();
    }
  });

  it("may be in what a recorder has written since, also into other files", async () => {
    const host = new RecordedHost();
    await host.start({ rotateBytes: 20_000 });
    await host.tick(3);
    await host.written();
    const connection = await open(host.path);
    const value = async (at: number) =>
      (await connection.stats({ at, names: ["domain-0"] }).toArray())[0]?.params.number("cpu.time");
    expect([connection.recorded!.to, await value(BEGIN + 3_600_000)]).toEqual([BEGIN + 3_000, 3_000]);
    for (let tick = 4; tick <= 200; tick += 49) {
      await host.tick(tick === 4 ? 1 : 49);
      await expect.poll(() => value(BEGIN + 3_600_000), PATIENCE).toBe(tick * 1_000);
      expect(connection.recorded!.to).toBe(BEGIN + tick * 1_000);
      expect(await value(BEGIN + 2_500)).toBe(2_000);
    }
    await using server = await serve(new Connection(await RecordingDriver.open(`file://${host.path}`)), { port: 0 });
    await host.tick(5);
    await host.stop();
    // A client that comes later is told the end as it is then.
    await using client = await connect(server.url);
    expect(client.recorded).toEqual({ from: BEGIN, to: connection.recorded!.to + 5_000, intervalMs: 1_000 });
  });

  it("is within the part that the URI names", async () => {
    const host = await RecordedHost.recorded(20);
    const connection = await open(host.path, "from=%2B5s&to=%2B10s");
    expect(connection.recorded).toEqual({ from: BEGIN + 5_000, to: BEGIN + 10_000, intervalMs: 1_000 });
    const [first] = await connection.stats({ at: BEGIN + 20_000, names: ["domain-0"] }).toArray();
    expect(first!.params.number("cpu.time")).toBe(10_000);
    await expect(connection.stats({ at: BEGIN + 4_000 }).toArray()).rejects.toMatchObject({ code: "invalid-argument" });
  });

  it("gives rates between two sweeps of the recording, without a wait, which a calculation by hand confirms", async () => {
    const path = join(folder(), "rates.rec");
    await using host = await connect("test:///default?domains=4");
    const recording = await record(host, path, { intervalMs: 50 });
    await expect.poll(() => recording.figures.ticks, PATIENCE).toBeGreaterThan(40);
    await recording.close();
    const connection = await open(path);
    const { from, to } = connection.recorded!;
    const at = Math.round((from + to) / 2);
    const rates = await connection.getAllDomainStats({ at, rates: true, overMs: 500 });
    const [before, after] = await Promise.all([at - 500, at].map((time) => connection.stats({ at: time }).toArray()));
    let compared = 0;
    for (const { record: newest, cpu } of rates) {
      const own = (records: typeof after) => records!.find(({ domain }) => domain.uuid === newest.domain.uuid)!;
      const [one, other] = [own(before), own(after)];
      expect(newest.steadyAt).toBe(other.steadyAt);
      if (cpu.percent === undefined) continue;
      compared++;
      const used = other.params.number("cpu.time")! - one.params.number("cpu.time")!;
      expect(cpu.percent).toBeCloseTo(used / 1e4 / (other.steadyAt - one.steadyAt), 6);
    }
    expect(compared).toBeGreaterThan(1);
  });

  it("gives rates at each moment, also where sweeps are further apart than the interval", async () => {
    const host = new RecordedHost({ domains: 3 });
    await host.start();
    for (let sweep = 0; sweep < 5; sweep++) {
      await host.host.tick(1, 3_000);
      host.host.clock.advance(0);
      // The records have the machine's own time, which must differ for rates.
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    await host.stop();
    const replay = await open(host.path);
    const { from, to, intervalMs } = replay.recorded!;
    expect([intervalMs, to - from]).toEqual([1_000, 15_000]);
    for (let at = from + 6_000; at <= to; at += 500) {
      const rates = await replay.getAllDomainStats({ at, rates: true });
      const known = rates.map(({ cpu }) => cpu.percent !== undefined);
      expect([at - from, known]).toEqual([at - from, [true, true, true]]);
    }
  });

  it("is refused where it cannot be: before the recording, in a watch, and of hosts that are live", async () => {
    const host = await RecordedHost.recorded(5);
    const replay = await open(host.path);
    await expect(replay.stats({ at: BEGIN - 1 }).toArray()).rejects.toMatchObject({
      code: "invalid-argument",
      message: expect.stringMatching(/before the beginning.*it is from 2026-01-31T12:00:00.000Z to 2026/),
    });
    await expect(replay.watch({ at: BEGIN }).toArray()).rejects.toMatchObject({ code: "invalid-argument" });
    await expect(replay.table({ at: BEGIN }).ready).rejects.toMatchObject({ code: "invalid-argument" });
    for (const at of [-1, 0.5, Number.NaN, Number.POSITIVE_INFINITY, "now", null]) {
      expect(() => replay.stats({ at: at as number })).toThrow(expect.objectContaining({ code: "invalid-argument" }));
    }
    await using live = await connect("test:///default");
    await using fleet = await connectAll([`file://${host.path}`, "test:///default"]);
    for (const connection of [live, fleet]) {
      expect(() => connection.stats({ at: BEGIN })).toThrow(expect.objectContaining({ code: "unsupported" }));
    }
  });

  it("is refused by a server in the same way, whatever a client sends, and the connection stays", async () => {
    const host = await RecordedHost.recorded(5);
    await using server = await serve(await open(host.path), { port: 0 });
    await using live = await serve(await connect("test:///default"), { port: 0 });
    const [client, other] = [await JsonClient.connect(server), await JsonClient.connect(live)];
    let id = 0;
    const codeOf = async (from: JsonClient, request: object): Promise<string> => {
      from.send({ ...request, id: ++id });
      const end = () => from.ofType("end").find((message) => message.id === id);
      await until(() => end() !== undefined);
      return (end()!["error"] as { code: string } | undefined)?.code ?? "none";
    };
    const get = { type: "get" };
    for (const at of [-1, 0.5, 1e300, "now", null, [], {}, true, BEGIN - 1]) {
      expect(await codeOf(client, { ...get, at })).toBe("invalid-argument");
    }
    expect(await codeOf(client, { ...get, at: BEGIN + 2_000 })).toBe("none");
    expect(await codeOf(client, { ...get, at: Number.MAX_SAFE_INTEGER })).toBe("none");
    expect(await codeOf(client, { type: "watch", intervalMs: 1_000, at: BEGIN })).toBe("invalid-argument");
    expect(await codeOf(other, { ...get, at: BEGIN })).toBe("unsupported");
    for (const { socket } of [client, other]) socket.terminate();
  });

  it("shows a viewer of some domains these only, as they were then", async () => {
    const host = new RecordedHost();
    await host.start();
    await host.tick(5);
    host.host.domains = 1;
    await host.tick(5);
    await host.stop();
    const viewers = [{ name: "tenant", token: "only-two", names: ["domain-[12]"] }];
    await using server = await serve(await open(host.path), { port: 0, token: "secret-secret", viewers });
    await using client = await connect(server.url, { token: "only-two" });
    const names = async (query: object) => (await client.stats(query).toArray()).map(({ domain }) => domain.name);
    expect(await names({ at: BEGIN + 4_500 })).toEqual(["domain-1", "domain-2"]);
    expect(await names({ at: BEGIN + 4_500, names: ["*-[02]"] })).toEqual(["domain-2"]);
    expect(await names({ at: BEGIN + 9_000 })).toEqual([]);
  });
});
