/** @module-tag any-node */

import { pino } from "pino";
import { afterEach, describe, expect, it, vi } from "vitest";
import { EventLog, type ServerLog } from "../../src/server/bounds/event-log.ts";
import { answerAt } from "../answer.ts";
import { codeOf } from "../code-of.ts";
import { until } from "../until.ts";
import { closeOf, connectTo, HELLO, plenty, rawClient, startServer, stuck } from "./serving.ts";

type Entry = Record<string, unknown> & { event: string; level: string; msg: string };

/** A logger of pino, and what it has logged. */
function collecting(): { log: ServerLog; entries: Entry[]; of: (event: string) => Entry[] } {
  const entries: Entry[] = [];
  const log = pino(
    { level: "trace", formatters: { level: (level) => ({ level }) } },
    { write: (line: string) => void entries.push(JSON.parse(line)) },
  );
  return { log, entries, of: (event) => entries.filter((entry) => entry.event === event) };
}

afterEach(() => {
  vi.useRealTimers();
});

describe("The log of a server", () => {
  it("has who connects, what they ask for, and how they leave", async () => {
    const { log, entries, of } = collecting();
    const server = await startServer(plenty(2), {
      log,
      authenticate: (_, token) => (token === "a-token" ? { name: "ann" } : undefined),
    });
    const client = await connectTo(server.url, { token: "a-token" });
    await client.getAllDomainStats();
    await client.close();
    await until(() => of("client-disconnected").length === 1);
    expect(entries.map(({ event, level }) => [event, level])).toEqual([
      ["client-connected", "debug"],
      ["request", "trace"],
      ["client-disconnected", "debug"],
    ]);
    for (const entry of entries) expect(entry).toMatchObject({ address: "127.0.0.1", principal: "ann" });
    expect(entries.map(({ msg }) => msg)).toEqual([
      "ann at 127.0.0.1 has connected",
      "ann at 127.0.0.1 begins a sweep",
      expect.stringMatching(/^ann at 127\.0\.0\.1 has left, after \d+ s$/),
    ]);
    expect(of("client-disconnected")[0]).toMatchObject({ code: 1000, connectedMs: expect.any(Number) });
  });

  it("has every way in which a client is refused, and no token of it", async () => {
    const { log, entries, of } = collecting();
    const server = await startServer(plenty(2), {
      log,
      limits: { clients: 1, sweepsPerClient: 1 },
      authenticate: (_, token) => {
        if (token === "s3cret-broken") throw new Error("the database is down");
        return token === "s3cret-right" ? { name: "ann" } : undefined;
      },
    });
    const refused = async (token?: string) => codeOf(connectTo(server.url, token === undefined ? {} : { token }));
    expect([await refused("s3cret-wrong"), await refused()]).toEqual(["unauthenticated", "unauthenticated"]);
    expect(await refused("s3cret-broken")).toBe("unauthenticated");
    const http = server.url.replace("ws:", "http:");
    const page = await fetch(`${http}/metrics`, { headers: { authorization: "Bearer s3cret-wrong" } });
    expect(page.status).toBe(401);
    const { socket, closed } = await rawClient(server);
    socket.send(JSON.stringify({ type: "hello", token: ["s3cret-listed"] }));
    expect(await closeOf({ closed })).toEqual([4400, "malformed message: token must be text"]);
    const first = await connectTo(server.url, { token: "s3cret-right" });
    expect(await refused("s3cret-right")).toBe("limit-exceeded");
    await first.close();
    expect(of("token-refused").map(({ msg }) => msg)).toEqual([
      "127.0.0.1 is refused: the token is wrong",
      "127.0.0.1 is refused: a token is needed",
      "127.0.0.1 is refused: the token is wrong",
      "127.0.0.1 is refused: /metrics: the token is wrong",
    ]);
    expect(of("authenticate-failed")).toMatchObject([
      { level: "error", msg: expect.stringMatching(/database is down/) },
    ]);
    expect(of("client-refused")).toMatchObject([
      { level: "warn", msg: "127.0.0.1 is refused: malformed message: token must be text" },
    ]);
    expect(of("limit-exceeded")).toMatchObject([
      { principal: "ann", msg: expect.stringMatching(/the limit clients is 1: try later/) },
    ]);
    expect(JSON.stringify(entries)).not.toContain("s3cret");
  });

  it("names the limit that a client hit, and the client that reads too slowly", async () => {
    const { log, of } = collecting();
    const server = await startServer(stuck(), { log, limits: { sweepsPerClient: 1 } });
    const client = await connectTo(server.url);
    const first = codeOf(client.getAllDomainStats());
    expect(await codeOf(client.getAllDomainStats())).toBe("limit-exceeded");
    expect(of("limit-exceeded")).toMatchObject([{ msg: expect.stringMatching(/at most 1 sweeps and watches/) }]);
    await client.close();
    await first;
    const slow = collecting();
    const other = await startServer(plenty(100), { log: slow.log, limits: { progressTimeoutMs: 20 } });
    const { socket } = await rawClient(other);
    socket.send(HELLO);
    socket.send(JSON.stringify({ type: "get", id: 1, query: {}, credit: 1 }));
    await until(() => slow.of("slow-consumer").length === 1);
    expect(slow.of("slow-consumer")).toMatchObject([
      { address: "127.0.0.1", msg: expect.stringMatching(/took nothing/) },
    ]);
  });

  it("names the origin of a page that may not connect", async () => {
    const { log, of } = collecting();
    const server = await startServer(plenty(1), { log });
    const headers = { origin: "https://evil.example" };
    expect(await codeOf(connectTo(server.url, { headers }))).toBe("denied");
    expect(of("client-refused")).toMatchObject([{ msg: expect.stringMatching(/pages of https:\/\/evil\.example/) }]);
  });

  it("names the Host of a request that is refused because of it, and the client learns what to allow", async () => {
    const { log, of } = collecting();
    const server = await startServer(plenty(1), { log, explain: async () => Promise.reject(new Error()) });
    const http = server.url.replace("ws:", "http:");
    const host = "evil.example:80";
    for (const path of ["/metrics", "/stats.json", "/why?domain=a"]) {
      const { status, text } = await answerAt(`${http}${path}`, { headers: { host } });
      expect([status, text.trim()]).toEqual([
        403,
        expect.stringMatching(/option origins, .* --origin http:\/\/NAME:PORT$/),
      ]);
    }
    expect(of("client-refused").map(({ level, msg }) => [level, msg])).toEqual(
      ["/metrics", "/stats.json", "/why"].map((path) => [
        "warn",
        `127.0.0.1 is refused: ${path}: ${host} in the header Host is not this server: allow that name in the option origins`,
      ]),
    );
  });

  it("has ten lines of a kind per minute, then their number, and at the end those that had no line", () => {
    vi.useFakeTimers();
    const { log, entries } = collecting();
    const events = new EventLog(log);
    const refuse = (times: number) => {
      for (let i = 0; i < times; i++) events.say("token-refused", { address: "192.0.2.7" }, `refused ${i}`);
    };
    refuse(1_000);
    expect(entries.map(({ msg }) => msg)).toEqual(Array.from({ length: 10 }, (_, i) => `refused ${i}`));
    events.say("slow-consumer", { address: "192.0.2.8" }, "is slow");
    expect(entries).toHaveLength(11);
    vi.advanceTimersByTime(60_000);
    expect(entries.slice(11)).toMatchObject([
      { event: "suppressed", level: "warn", of: "token-refused", count: 990, overMs: 60_000 },
    ]);
    refuse(12);
    expect(entries).toHaveLength(22);
    events.close();
    expect(entries.slice(22)).toMatchObject([{ event: "suppressed", of: "token-refused", count: 2 }]);
    expect(vi.getTimerCount()).toBe(0);
  });

  it("is refused when it lacks a function", async () => {
    const start = startServer(plenty(1), { log: { warn() {} } as never });
    await expect(start).rejects.toThrow(/log must be an object with the functions trace, debug, info, warn, error/);
  });
});
