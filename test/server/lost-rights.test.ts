/** @module-tag any-node */

import { createHash } from "node:crypto";
import { describe, expect, it } from "vitest";
import { Connection } from "../../src/index.ts";
import { type Authenticate, type Principal, type ServeOptions, serve, TokenList } from "../../src/server/index.ts";
import { CLOSE_CODES, SUBPROTOCOLS } from "../../src/wire/protocol.ts";
import { own } from "../owned.ts";
import { until } from "../until.ts";
import { Intruder } from "./intruder.ts";
import { RecordingDriver } from "./recording-driver.ts";
import { ScriptedDriver } from "./scripted-driver.ts";
import { connectTo, kilobyte } from "./serving.ts";

const LIMITS = { minIntervalMs: 10, sweepsPerSecond: 1_000 };
const GUESTS = ["guest-00001", "guest-00002"];

/** A server whose principals a test changes, as a reload of tokens does. */
async function served(driver: RecordingDriver | ScriptedDriver, options: ServeOptions = {}) {
  const known = new Map<string, Omit<Principal, "name">>([["ann", { domains: GUESTS }]]);
  const authenticate: Authenticate = (_, token) => {
    const rights = known.get(token ?? "");
    return rights && { name: token!, ...rights };
  };
  const server = own(await serve(own(new Connection(driver)), { port: 0, authenticate, limits: LIMITS, ...options }));
  return { known, server };
}

/** A host whose sweep goes on for as long as a test likes: the second record comes with the second call of `go`. */
function slowHost() {
  const waiting: (() => void)[] = [];
  const driver = new ScriptedDriver(async function* (self, { signal }) {
    for (let i = 0; i < 1_000 && !signal.aborted; i++) {
      await new Promise<void>((resolve) => {
        waiting.push(resolve);
        signal.addEventListener("abort", () => resolve());
      });
      if (!signal.aborted) yield [self.record(i, kilobyte(i))];
    }
  });
  const go = async (): Promise<void> => {
    await until(() => waiting.length > 0);
    for (const wake of waiting.splice(0)) wake();
  };
  return { driver, go };
}

/** The ways to lose one's rights. */
const LOSSES: readonly { readonly how: string; readonly again: number; readonly rights?: Omit<Principal, "name"> }[] = [
  { how: "is revoked", again: CLOSE_CODES.unauthenticated },
  { how: "is for metrics only", again: CLOSE_CODES.unauthenticated, rights: { role: "metrics" } },
  { how: "has expired", again: CLOSE_CODES.unauthenticated, rights: { expiresAt: 1 } },
];

describe.each(SUBPROTOCOLS)("A client of %s whose token", (subprotocol) => {
  describe.each(LOSSES)("$how", ({ again, rights }) => {
    it("gets nothing more of a sweep that is under way, which stops, and is refused when it comes back", async () => {
      const { driver, go } = slowHost();
      const { known, server } = await served(driver);
      known.set("ann", {});
      const client = await Intruder.open(server.url, subprotocol, { token: "ann" });
      client.send({ type: "get", id: 1 });
      await go();
      await until(() => client.seen.length === 1);
      if (rights === undefined) known.delete("ann");
      else known.set("ann", rights);
      expect(server.disconnect("ann")).toBe(1);
      // What it sends before it has answered the close is not heard either.
      client.send({ type: "get", id: 2 });
      await go();
      expect(await client.closed).toBe(CLOSE_CODES["logged-out"]);
      await until(() => driver.running === 0);
      expect([client.seen.length, driver.queries.length]).toEqual([1, 1]);
      for (const shown of [{ token: "ann" }, { header: "ann" }]) {
        const later = await Intruder.open(server.url, subprotocol, shown);
        expect(await later.closed).toBe("header" in shown ? 401 : again);
        expect(later.heard).toEqual([]);
      }
    });

    it("gets nothing of a sweep or a watch that waits for its credit, however much it grants then", async () => {
      const driver = new RecordingDriver(10);
      const { known, server } = await served(driver);
      const client = await Intruder.open(server.url, subprotocol, { token: "ann" });
      client.send({ type: "get", id: 100, credit: 1 });
      client.watch({ credit: 1 });
      await until(() => client.seen.length > 0 && server.stats().viewers[0]!.sampling.sweeps > 3);
      await client.settled();
      const { length } = client.seen;
      if (rights === undefined) known.delete("ann");
      else known.set("ann", rights);
      server.disconnect("ann");
      for (const id of [1, 100]) client.send({ type: "credit", id, bytes: 1_000_000 });
      expect(await client.closed).toBe(CLOSE_CODES["logged-out"]);
      expect(client.seen).toHaveLength(length);
      await until(() => server.sweeps === 0 && server.watches === 0);
    });

    it("cannot resume its watch, although the server still keeps that for it", async () => {
      const driver = new RecordingDriver(10);
      const { known, server } = await served(driver);
      const client = await Intruder.open(server.url, subprotocol, { token: "ann" });
      const id = client.watch();
      await client.ticks(id);
      const { channel, sequence } = client.heard.findLast(({ type }) => type === "sync")!;
      client.socket.terminate();
      await until(() => server.clients === 0);
      expect(server.stats().channels).toBe(1);
      if (rights === undefined) known.delete("ann");
      else known.set("ann", rights);
      expect(server.disconnect("ann")).toBe(0);
      const later = await Intruder.open(server.url, subprotocol, { token: "ann" });
      if (later.socket.readyState === later.socket.OPEN) {
        later.watch({ since: { epoch: client.epoch, channel, sequence } });
      }
      expect(await later.closed).toBe(again);
      expect([later.heard, later.seen]).toEqual([[], []]);
    });
  });

  it("is narrowed gets only what is left, also where it resumes what it had before", async () => {
    const { known, server } = await served(new RecordingDriver(10));
    const client = await Intruder.open(server.url, subprotocol, { token: "ann" });
    await client.ticks(client.watch());
    const { channel, sequence } = client.heard.findLast(({ type }) => type === "sync")!;
    expect(client.names).toEqual(GUESTS);
    known.set("ann", { domains: [GUESTS[0]!], groups: ["state"] });
    server.disconnect("ann");
    expect(await client.closed).toBe(CLOSE_CODES["logged-out"]);
    const later = await Intruder.open(server.url, subprotocol, { token: "ann" });
    for (const epoch of [client.epoch, later.epoch]) {
      await later.ticks(later.watch({ since: { epoch, channel, sequence } }));
    }
    await later.get();
    await later.get({ domains: GUESTS.map((name) => ({ name })) });
    expect(later.names).toEqual([GUESTS[0]]);
    expect(later.seen.flatMap(({ keys }) => keys).filter((key) => !key.startsWith("state."))).toEqual([]);
  });

  it("expires while it is served is closed at that time, with its sweeps and watches, and others go on", async () => {
    const { driver, go } = slowHost();
    const { known, server } = await served(driver);
    known.set("ann", { expiresAt: Date.now() + 3_000 }).set("ben", {});
    const [ann, ben] = await Promise.all(
      ["ann", "ben"].map((token) => Intruder.open(server.url, subprotocol, { token })),
    );
    for (const client of [ann!, ben!]) client.send({ type: "get", id: 1 });
    await until(() => driver.running === 2);
    await go();
    expect(await ann!.closed).toBe(CLOSE_CODES["logged-out"]);
    await until(() => driver.running === 1);
    const before = ben!.seen.length;
    await go();
    await until(() => ben!.seen.length > before);
    expect(ann!.seen.length).toBeLessThan(2);
    expect(ben!.socket.readyState).toBe(ben!.socket.OPEN);
  });
});

describe("A watch of this library", () => {
  it("whose token is narrowed says of each domain that it no longer sees that it is gone", async () => {
    const { known, server } = await served(new RecordingDriver(10));
    const connection = await connectTo(server.url, { token: "ann" });
    const there = new Set<string>();
    let narrowed = false;
    for await (const event of connection.watch({}, { intervalMs: 10 }).events) {
      if (event.type === "record") there.add(event.record.domain.name);
      if (event.type === "gone") there.delete(event.domain.name);
      if (event.type === "sync" && event.tick > 3 && !narrowed) {
        narrowed = true;
        expect([...there].sort()).toEqual(GUESTS);
        known.set("ann", { domains: [GUESTS[1]!] });
        server.disconnect("ann");
      }
      if (narrowed && there.size === 1) break;
    }
    expect([...there]).toEqual([GUESTS[1]]);
  });
});

describe("A list of tokens", () => {
  it("has each token once, and none that is empty: else who is revoked by one name could come back by another, or by none", () => {
    const { list } = new TokenList([]).with({ name: "ann", role: "stats", domains: GUESTS });
    const { sha256 } = list.entries[0]!;
    const twice = () => new TokenList([...list.entries, { name: "ben", role: "admin", sha256 }]);
    expect(twice).toThrow(/token ben has the same sha256 as token ann/);
    const empty = createHash("sha256").update("").digest("hex");
    expect(() => new TokenList([{ name: "ben", role: "admin", sha256: empty }])).toThrow(
      /token ben has the same sha256 as no token at all/,
    );
  });
});
