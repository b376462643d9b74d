import { once } from "node:events";
import { setImmediate as turn } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { WebSocket } from "ws";
import "../../src/drivers/builtin.ts";
import { connect } from "../../src/client/connect.ts";
import { Connection } from "../../src/client/connection.ts";
import { openRemote } from "../../src/drivers/remote/node-driver.ts";
import type { VirstreamError } from "../../src/model/error.ts";
import type { DomainStatsRecord } from "../../src/model/record.ts";
import type { WatchEvent } from "../../src/model/watch.ts";
import type { Viewer } from "../../src/server/access/viewer.ts";
import { type ServeOptions, serve, type VirstreamServer } from "../../src/server/server.ts";
import { CLOSE_CODES, SUBPROTOCOLS } from "../../src/wire/protocol.ts";
import { unpack } from "../../src/wire/unpack.ts";
import { codeOf } from "../code-of.ts";
import { describeWith, labRequirements } from "../lab/requirement.ts";
import { startTestDriver } from "../lab/test-driver.ts";
import { own, owned } from "../owned.ts";
import { RecordingDriver } from "./recording-driver.ts";

const open = openRemote;
/** A server of a host with ten guests: ann sees 0, 1 and 2, ben 5 by its name, and the main token all. */
async function startServer(options: ServeOptions = { token: "all" }) {
  const driver = new RecordingDriver(10);
  const connection = own(new Connection(driver));
  const viewers: Viewer[] = [
    { name: "ann", token: "ann's", domains: [0, 1, 2].map((guest) => driver.uuid(guest)) },
    { name: "ben", token: "ben's", domains: [driver.name(5)] },
  ];
  const server = own(await serve(connection, { port: 0, viewers, limits: { minIntervalMs: 10 }, ...options }));
  return { driver, connection, server };
}

async function connectTo(server: VirstreamServer, token?: string): Promise<Connection> {
  return own(new Connection(await open(server.url, token === undefined ? {} : { token })));
}

/** What a watch tells up to the end of its nth sweep. */
async function watched(connection: Connection, domains: string[] | undefined, sweeps = 1): Promise<WatchEvent[]> {
  const told: WatchEvent[] = [];
  const query = domains === undefined ? {} : { domains };
  for await (const event of connection.watch(query, { intervalMs: 10 }).events) {
    told.push(event);
    if (event.type === "sync" && event.tick >= sweeps) break;
  }
  return told;
}

/** What comes back from a client's hello: the server's epoch, or the code it is closed with. */
async function greeted(server: VirstreamServer, header: string | undefined, hello: string | undefined) {
  const headers = header === undefined ? {} : { authorization: `Bearer ${header}` };
  const socket = new WebSocket(server.url, SUBPROTOCOLS[1], { headers });
  owned.push(() => socket.terminate());
  return new Promise<string | number>((resolve) => {
    socket.on("error", ({ message }) => resolve(Number(/\d+/.exec(message)?.[0])));
    socket.on("close", (code) => resolve(code));
    socket.on("open", () => socket.send(JSON.stringify({ type: "hello", ...(hello && { token: hello }) })));
    socket.on("message", (data) => {
      const message = JSON.parse(data.toString());
      resolve(message.type === "welcome" ? message.epoch : message.type);
    });
  });
}

/** Everything of a record but when it was made and what was asked for. */
function fields(record: DomainStatsRecord, asked: string): string {
  const { sampledAt, steadyAt, ...rest } = record.toJSON();
  return JSON.stringify(rest).replaceAll(asked, "IT");
}

const uuids = (records: readonly DomainStatsRecord[]): string[] => records.map(({ domain }) => domain.uuid).sort();
const guests = (driver: RecordingDriver, numbers: number[]): string[] => numbers.map((n) => driver.uuid(n)).sort();

describe("a server with viewers", () => {
  it("shows each viewer its own domains and a client with the main token all, in sweeps", async () => {
    const { driver, server } = await startServer();
    const [ann, ben, all] = [
      await connectTo(server, "ann's"),
      await connectTo(server, "ben's"),
      await connectTo(server, "all"),
    ];
    expect(uuids(await ann.getAllDomainStats())).toEqual(guests(driver, [0, 1, 2]));
    expect(uuids(await ben.getAllDomainStats())).toEqual(guests(driver, [5]));
    expect(driver.asked).toEqual([...guests(driver, [0, 1, 2]), driver.name(5)].sort());
    expect(driver.simulation.produced).toBe(4);
    expect(await all.getAllDomainStats()).toHaveLength(10);
  });

  it("shows a viewer with patterns the domains whose names match, in sweeps and watches, and asks for no others", async () => {
    const names = ["guest-0000[12]"];
    const { driver, server } = await startServer({ viewers: [{ name: "eve", token: "eve's", names }] });
    const eve = await connectTo(server, "eve's");
    expect(uuids(await eve.getAllDomainStats())).toEqual(guests(driver, [1, 2]));
    const events = await watched(eve, undefined);
    const records = events.flatMap((event) => (event.type === "record" ? [event.record] : []));
    expect(uuids(records)).toEqual(guests(driver, [1, 2]));
    expect(events.at(-1)).toMatchObject({ summary: { domains: 2 } });
    expect(driver.queries.every((query) => query.names?.join() === names.join())).toBe(true);
  });

  it("shows each viewer its own domains and counts, in watches, and asks for no others", async () => {
    const { driver, server } = await startServer();
    for (const [token, numbers] of [
      ["ann's", [0, 1, 2]],
      ["ben's", [5]],
    ] as const) {
      const events = await watched(await connectTo(server, token), undefined);
      const records = events.flatMap((event) => (event.type === "record" ? [event.record] : []));
      expect(uuids(records)).toEqual(guests(driver, [...numbers]));
      expect(events.at(-1)).toMatchObject({ summary: { domains: numbers.length, gone: 0 } });
    }
    expect(driver.asked).toEqual([...guests(driver, [0, 1, 2]), driver.name(5)].sort());
  });

  it("announces no number that may be wrong, and counts at the end of a sweep only the domains that its asker may see", async () => {
    const { server } = await startServer();
    const events = await (await connectTo(server, "ann's")).stats().events.toArray();
    expect(events.map(({ type }) => type)).toEqual(["record", "record", "record", "sync"]);
    expect(events.at(-1)).toMatchObject({ summary: { domains: 3, ok: 3, gone: 0 } });
  });

  it("answers for a hidden domain as for one that does not exist, in sweeps and in watches, field by field", async () => {
    const { driver, server } = await startServer();
    const ann = await connectTo(server, "ann's");
    const stranger = "99999999-9999-4999-8999-999999999999";
    for (const [hidden, missing] of [
      [driver.uuid(7), stranger],
      [driver.name(7), "guest-99999"],
    ] as const) {
      const [ofHidden] = await ann.domainListGetStats([hidden]);
      const [ofMissing] = await ann.domainListGetStats([missing]);
      expect(ofHidden).toMatchObject({ status: "gone", reason: "unknown" });
      expect(fields(ofHidden!, hidden)).toBe(fields(ofMissing!, missing));
      const summaries: unknown[] = [];
      const told: string[] = [];
      for (const asked of [hidden, missing]) {
        const events = await watched(ann, [driver.uuid(1), asked], 2);
        const gone = events.flatMap((event) => (event.type === "record" ? [event.record] : []));
        told.push(...gone.filter(({ status }) => status === "gone").map((record) => fields(record, asked)));
        for (const event of events) {
          if (event.type !== "sync") continue;
          const { startedAt, tookMs, ...counts } = event.summary;
          summaries.push(counts);
        }
      }
      expect(told).toHaveLength(4);
      expect(new Set(told).size).toBe(1);
      expect(summaries).toEqual(Array(4).fill({ domains: 2, ok: 1, partial: 0, failed: 0, gone: 1 }));
    }
    expect(driver.asked).toEqual(guests(driver, [0, 1, 2]));
  });

  it("serves all clients of a viewer by one sampler, and each viewer by its own", async () => {
    const { server } = await startServer();
    const clients = [
      await connectTo(server, "ann's"),
      await connectTo(server, "ann's"),
      await connectTo(server, "ben's"),
      await connectTo(server, "all"),
    ];
    const watches = clients.map((client) => client.watch({}, { intervalMs: 50 })[Symbol.asyncIterator]());
    for (const watch of watches) await watch.next();
    const { channels, sampling, viewers, watches: count } = server.stats();
    expect([count, channels, sampling.samplers]).toEqual([4, 3, 1]);
    expect(viewers.map(({ names, sampling }) => [names.join(), sampling.samplers, sampling.feeds])).toEqual([
      ["ann", 1, 1],
      ["ben", 1, 1],
    ]);
    for (const watch of watches) await watch.return?.();
  });

  it("permits a viewer only the groups of its entry, and disconnects it by its name", async () => {
    const viewers = [
      { name: "ann", token: "ann's", domains: ["guest-00001"], groups: ["state"] as const },
      { name: "ben", token: "ben's", domains: ["guest-00001"] },
    ];
    const { server } = await startServer({ viewers });
    const [ann, ben] = [await connectTo(server, "ann's"), await connectTo(server, "ben's")];
    const [record] = await ann.getAllDomainStats();
    expect([...record!.params].map(([key]) => key.split(".")[0])).toEqual(["state", "state"]);
    expect(await codeOf(ann.getAllDomainStats({ groups: ["vcpu"] }))).toBe("denied");
    expect(await ben.getAllDomainStats({ groups: ["vcpu"] })).toHaveLength(1);
    const states: string[] = [];
    for (const [name, connection] of Object.entries({ ann, ben })) {
      connection.driver.onStatus!(({ state }) => states.push(`${name} ${state}`));
    }
    expect(server.disconnect("ann")).toBe(1);
    while (states.length < 2) await turn();
    expect(states).toEqual(["ann reconnecting", "ann connected"]);
  });

  it("gives a viewer numbers of schemas and channels that do not depend on what others asked for", async () => {
    const numbersOf = async (othersAsk: boolean) => {
      const { server } = await startServer();
      const groups = ["state", "cpu-total", "balloon", "vcpu", "interface", "block"] as const;
      if (othersAsk) {
        for (const token of ["all", "ben's"]) {
          const other = await connectTo(server, token);
          for (const group of groups) await other.getAllDomainStats({ groups: [group] });
          await watched(other, undefined);
        }
      }
      const socket = new WebSocket(server.url, SUBPROTOCOLS[0]);
      owned.push(() => socket.terminate());
      await once(socket, "open");
      const numbers: unknown[] = [];
      let synced = false;
      let ended = 0;
      socket.on("message", (data: Buffer) => {
        const message = unpack(data) as Record<string, unknown>;
        if (message["type"] === "schema") numbers.push(message["slot"]);
        if (message["type"] === "begin" && "channel" in message) numbers.push(message["channel"]);
        synced ||= message["type"] === "sync";
        if (message["type"] === "end") ended++;
      });
      socket.send(JSON.stringify({ type: "hello", token: "ann's" }));
      for (const [id, group] of groups.entries()) {
        socket.send(JSON.stringify({ type: "get", id: id + 1, groups: [group] }));
      }
      socket.send(JSON.stringify({ type: "watch", id: 100, intervalMs: 10 }));
      while (!synced || ended < groups.length) await turn();
      return numbers.sort();
    };
    const alone = await numbersOf(false);
    expect(alone.length).toBeGreaterThan(3);
    expect(await numbersOf(true)).toEqual(alone);
  });

  it("knows a viewer by its token in the upgrade request and in the hello, and refuses a wrong one", async () => {
    const { server } = await startServer();
    expect(await greeted(server, "ann's", undefined)).toBe(await greeted(server, undefined, "ann's"));
    const epochs = await Promise.all(["ann's", "ben's", "all"].map((token) => greeted(server, undefined, token)));
    // What one principal has of a channel is nothing that another could go on from.
    expect(new Set(epochs).size).toBe(3);
    expect(await greeted(server, "a guess", undefined)).toBe(401);
    expect(await greeted(server, undefined, "a guess")).toBe(CLOSE_CODES.unauthenticated);
    expect(await greeted(server, undefined, undefined)).toBe(CLOSE_CODES.unauthenticated);
  });

  it("keeps to the token of the upgrade request when the hello shows another", async () => {
    const { server } = await startServer();
    expect(await greeted(server, "ben's", "all")).toBe(await greeted(server, undefined, "ben's"));
  });

  it("shows its figures to the main token only", async () => {
    const { server } = await startServer();
    const figures = async (of: VirstreamServer, token?: string): Promise<number> => {
      const headers: Record<string, string> = token === undefined ? {} : { authorization: `Bearer ${token}` };
      const { status } = await fetch(`${of.url.replace("ws:", "http:")}/stats.json`, { headers });
      return status;
    };
    expect(await figures(server, "all")).toBe(200);
    for (const token of ["ann's", "ben's"]) expect(await figures(server, token)).toBe(403);
    for (const token of ["a guess", undefined]) expect(await figures(server, token)).toBe(401);
    const { server: narrow } = await startServer({});
    expect(await figures(narrow, "ann's")).toBe(403);
    for (const token of ["a guess", undefined]) expect(await figures(narrow, token)).toBe(401);
  });

  it("shows all domains to no client where there is no main token, and may then listen beyond loopback", async () => {
    const { driver, server } = await startServer({ host: "0.0.0.0", allowPlain: true });
    expect(await codeOf(connectTo(server))).toBe("unauthenticated");
    expect(await codeOf(connectTo(server, "all"))).toBe("unauthenticated");
    const ben = await connectTo(server, "ben's");
    expect(uuids(await ben.getAllDomainStats())).toEqual(guests(driver, [5]));
  });

  it("narrows in the same way what it watches through another server", async () => {
    const { driver, server } = await startServer();
    const upstream = await connectTo(server, "all");
    const viewers = [{ name: "eve", token: "eve's", domains: [driver.uuid(3), driver.name(4), "missing"] }];
    const narrow = own(await serve(upstream, { port: 0, viewers, limits: { minIntervalMs: 10 } }));
    const eve = await connectTo(narrow, "eve's");
    const counts = async (domains?: string[]) => {
      const events = await watched(eve, domains, 2);
      const names = events.flatMap((event) => (event.type === "record" ? [event.record.domain.name] : []));
      const { startedAt, tookMs, ...summary } = events.flatMap((event) =>
        event.type === "sync" ? [event.summary] : [],
      )[0]!;
      return [[...new Set(names)].sort(), summary];
    };
    const ok = { domains: 2, ok: 2, partial: 0, failed: 0, gone: 0 };
    expect(await counts()).toEqual([[driver.name(3), driver.name(4)], ok]);
    expect(await counts([driver.name(3), driver.name(7)])).toEqual([
      [driver.name(3), driver.name(7)],
      { ...ok, ok: 1, gone: 1 },
    ]);
    expect(driver.asked).toEqual([driver.uuid(3), driver.name(4), "missing"].sort());
  });

  it("ends its viewers' watches when it closes, and leaves the connection's own", async () => {
    const { driver, connection, server } = await startServer();
    const mine = connection.watch({}, { intervalMs: 10 })[Symbol.asyncIterator]();
    const raw = new WebSocket(server.url, SUBPROTOCOLS[1]);
    owned.push(() => raw.terminate());
    await once(raw, "open");
    raw.send(JSON.stringify({ type: "hello", token: "ann's" }));
    raw.send('{"type":"watch","id":1,"intervalMs":10,"credit":1000000}');
    while (server.stats().viewers[0]!.sampling.sweeps === 0) await turn();
    // Cut off, it may come back: its channel lingers, until the server closes.
    raw.terminate();
    while (server.clients > 0) await turn();
    expect(server.stats().viewers[0]!.sampling.samplers).toBe(1);
    await server.close();
    expect(server.stats().viewers[0]!.sampling).toMatchObject({ samplers: 0, feeds: 0, subscribers: 0 });
    for (let i = 0; i < 20; i++) expect((await mine.next()).done).toBe(false);
    await mine.return?.();
    expect(driver.simulation.closed).toBe(false);
  });

  it.each<[complaint: RegExp, viewers: unknown, token?: string]>([
    [/must be a list/, { name: "a" }],
    [/list of viewers is empty/, []],
    [/viewer 1 must be an object/, ["a"]],
    [/viewer 2 has no name/, [viewer(), viewer({ name: "" })]],
    [/two viewers have the name "a"/, [viewer(), viewer({ token: "u" })]],
    [/viewer "a" has no member "domain"/, [viewer({ domain: [] })]],
    [/viewer "a" has no token/, [viewer({ token: "" })]],
    [/viewer "b" has the same token as viewer "a"/, [viewer(), viewer({ name: "b" })]],
    [/viewer "a" has the same token as the server itself/, [viewer()], "t0ken"],
    [/viewer "a" has no domains: name at least one/, [viewer({ domains: [] })]],
    [/domains of viewer "a" must be a list of uuids and names/, [viewer({ domains: [""] })]],
    [/domains of viewer "a" must be a list of uuids and names/, [viewer({ domains: "web" })]],
    [/viewer "a" has domains and names: give it one of them/, [viewer({ names: ["web-*"] })]],
    [/names of viewer "a" has no pattern/, [viewer({ domains: undefined, names: [] })]],
    [/names of viewer "a": "a\[" is malformed/, [viewer({ domains: undefined, names: ["a["] })]],
    [/the token is empty/, [viewer()], ""],
  ])("refuses viewers that are not valid: %s", async (complaint, viewers, token) => {
    const connection = own(new Connection(new RecordingDriver(1)));
    const options = { port: 0, viewers: viewers as Viewer[], ...(token === undefined ? {} : { token }) };
    const error = await serve(connection, options).then(own, (thrown: VirstreamError) => thrown);
    expect(error).toMatchObject({ code: "invalid-argument", message: expect.stringMatching(complaint) });
    expect((error as VirstreamError).message).not.toContain("t0ken");
  });
});

describeWith(labRequirements, "A server with viewers of a libvirt host", () => {
  const uuid = (guest: number): string => `00000000-0000-4000-8000-${String(guest).padStart(12, "0")}`;

  it("shows what is listed, by either of its names, and of the rest nothing", async () => {
    await using host = await startTestDriver({ domains: 6 });
    await using connection = await connect(host.uri);
    const viewers = [{ name: "ann", token: "ann's", domains: [uuid(1), "test-00002", uuid(9)] }];
    await using server = await serve(connection, { port: 0, viewers, limits: { minIntervalMs: 10 } });
    const ann = await connectTo(server, "ann's");
    expect(uuids(await ann.getAllDomainStats())).toEqual([uuid(1), uuid(2)]);
    expect(await ann.getAllDomainStats({ filter: ["inactive"] })).toEqual([]);
    expect(uuids(await ann.domainListGetStats(["test-00001", uuid(2)]))).toEqual([uuid(1), uuid(2)]);
    const sync = (await watched(ann, undefined, 2)).at(-1);
    expect(sync).toMatchObject({ type: "sync", summary: { domains: 2, ok: 2, gone: 0 } });
    for (const [hidden, missing] of [
      [uuid(3), uuid(8)],
      ["test-00003", "test-00008"],
    ] as const) {
      const [ofHidden] = await ann.domainListGetStats([hidden]);
      const [ofMissing] = await ann.domainListGetStats([missing]);
      expect(fields(ofHidden!, hidden)).toBe(fields(ofMissing!, missing));
      const [plain] = await connection.domainListGetStats([missing]);
      const { status, reason, error, domain } = plain!;
      expect(ofMissing).toMatchObject({ status, reason, domain: { uuid: domain.uuid, name: domain.name } });
      expect(ofMissing!.error?.code).toBe(error?.code);
    }
  });
});

function viewer(members: Record<string, unknown> = {}): Record<string, unknown> {
  return { name: "a", token: "t0ken", domains: ["web"], ...members };
}
