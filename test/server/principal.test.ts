import { once } from "node:events";
import { setImmediate as turn } from "node:timers/promises";
import express from "express";
import session from "express-session";
import { describe, expect, it } from "vitest";
import { WebSocket } from "ws";
import { Connection, connect, connectAll } from "../../src/index.ts";
import { type Authenticate, createHandler, type Principal, type ServeOptions, serve } from "../../src/server/index.ts";
import type { VirstreamServer } from "../../src/server/server.ts";
import { CLOSE_CODES, LIMITS, SUBPROTOCOLS } from "../../src/wire/protocol.ts";
import { codeOf } from "../code-of.ts";
import { own, owned } from "../owned.ts";
import { PATIENCE, until } from "../until.ts";
import type { JsonMessage } from "./json-client.ts";
import { RecordingDriver } from "./recording-driver.ts";
import { connectTo } from "./serving.ts";
import { WatchClient } from "./watch-client.ts";

/** A server of a host with ten guests. */
async function served(authenticate: Authenticate, options: ServeOptions = {}) {
  const driver = new RecordingDriver(10);
  const connection = own(new Connection(driver));
  const { limits, ...rest } = options;
  const server = own(
    await serve(connection, { port: 0, authenticate, ...rest, limits: { minIntervalMs: 10, ...limits } }),
  );
  return { driver, connection, server };
}

/** The principals of tokens. */
function known(principals: Record<string, Partial<Principal>>): Authenticate {
  return (_, token) => {
    const members = token === undefined ? undefined : principals[token];
    return members && { name: token!, ...members };
  };
}

/** A client in JSON, and what it was sent. */
async function clientOf(server: { readonly url: string }, { header, token }: { header?: string; token?: string } = {}) {
  const headers = header === undefined ? {} : { authorization: `Bearer ${header}` };
  const socket = new WebSocket(server.url, SUBPROTOCOLS[1], { headers });
  owned.push(() => socket.terminate());
  const closed = once(socket, "close") as Promise<[code: number, reason: Buffer]>;
  const messages: JsonMessage[] = [];
  socket.on("message", (data: Buffer) => messages.push(JSON.parse(data.toString())));
  await once(socket, "open");
  const send = (message: object): void => socket.send(JSON.stringify(message));
  send({ type: "hello", ...(token !== undefined && { token }) });
  const ended = async (id: number): Promise<JsonMessage> => {
    const end = (): JsonMessage | undefined => messages.find((message) => message.type === "end" && message.id === id);
    while (end() === undefined) await turn();
    return end()!;
  };
  return { socket, closed, messages, send, ended };
}

/** How a client is refused that shows this token: the HTTP status, or the code and the reason of the close frame. */
async function refusalOf(
  server: VirstreamServer,
  { header, token }: { header?: string; token?: string },
): Promise<[code: number, reason: string]> {
  if (header === undefined) {
    const [code, reason] = await (await clientOf(server, { token: token! })).closed;
    return [code, reason.toString()];
  }
  const headers = { authorization: `Bearer ${header}` };
  const socket = new WebSocket(server.url, SUBPROTOCOLS[1], { headers });
  const [, response] = await once(socket, "unexpected-response");
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk);
  return [response.statusCode, Buffer.concat(chunks).toString()];
}

const namesOf = async (connection: Connection): Promise<string[]> =>
  (await connection.getAllDomainStats()).map(({ domain }) => domain.name).sort();

describe("a server that asks the application who its clients are", () => {
  it("shows each principal its own domains, and all to one without a list", async () => {
    const guests = ["guest-00001", "guest-00003"];
    const { driver, server } = await served(known({ ann: { domains: guests }, all: {}, none: { domains: [] } }));
    expect(await namesOf(await connectTo(server.url, { token: "ann" }))).toEqual(guests);
    expect(driver.asked).toEqual(guests);
    expect(await namesOf(await connectTo(server.url, { token: "all" }))).toHaveLength(10);
  });

  it("shows a principal with patterns the domains whose names match, also through another server, and refuses one with both", async () => {
    const names = ["guest-0000[13]", "other-*"];
    const authenticate = known({
      ...{ ann: { names }, all: {}, none: { names: [] }, odd: { names: ["a["] } },
      both: { names, domains: ["guest-00001"] },
    });
    const { driver, server } = await served(authenticate);
    const upstream = await connectTo(server.url, { token: "all" });
    const second = own(await serve(upstream, { port: 0, authenticate, limits: { minIntervalMs: 10 } }));
    for (const { url } of [server, second]) {
      const ann = await connectTo(url, { token: "ann" });
      expect(await namesOf(ann)).toEqual(["guest-00001", "guest-00003"]);
      for (const query of [{ names: ["*"] }, { hosts: ["*"] }, { names: ["guest-0000?"], hosts: ["*"] }]) {
        const wider = await ann.getAllDomainStats(query);
        expect(wider.map(({ domain }) => domain.name).sort()).toEqual(["guest-00001", "guest-00003"]);
      }
      const records = await ann.domainListGetStats([driver.uuid(2), driver.uuid(3)]);
      expect(records.map(({ status }) => status).sort()).toEqual(["gone", "ok"]);
      const seen = new Set<string>();
      for await (const event of ann.watch({}, { intervalMs: 10 }).events) {
        if (event.type === "record") seen.add(event.record.domain.name);
        if (event.type === "sync" && event.tick === 2) break;
      }
      expect([...seen].sort()).toEqual(["guest-00001", "guest-00003"]);
    }
    expect(driver.queries.every((query) => (query.names ?? query.domains) !== undefined)).toBe(true);
    for (const token of ["none", "odd", "both"])
      expect((await refusalOf(server, { token }))[0]).toBe(CLOSE_CODES["server-error"]);
    const stats = await fetch(`${server.url.replace("ws:", "http:")}/stats.json`, {
      headers: { authorization: "Bearer ann" },
    });
    expect(stats.status).toBe(403);
  });

  it("shows no domain to a principal with an empty list, in sweeps and in watches, also through another server", async () => {
    const authenticate = known({ none: { domains: [] }, all: {} });
    const { driver, server } = await served(authenticate);
    const upstream = await connectTo(server.url, { token: "all" });
    const second = own(await serve(upstream, { port: 0, authenticate, limits: { minIntervalMs: 10 } }));
    for (const { url } of [server, second]) {
      const none = await connectTo(url, { token: "none" });
      for (const query of [{}, { names: ["*"] }, { hosts: ["*"] }]) {
        expect(await none.getAllDomainStats(query)).toEqual([]);
      }
      const [record] = await none.domainListGetStats([driver.name(1)]);
      expect(record).toMatchObject({ status: "gone", reason: "unknown" });
      for await (const event of none.watch({}, { intervalMs: 10 }).events) {
        expect(event).toMatchObject({ type: "sync", summary: { domains: 0 } });
        if (event.type === "sync" && event.tick === 2) break;
      }
    }
    expect(driver.queries).toEqual([]);
  });

  it("gets the token of the header, else that of the hello, and the request that opened the WebSocket, once for each client", async () => {
    const asked: [url: string | undefined, token: string | undefined][] = [];
    const { server } = await served((request, token) => {
      asked.push([request.url, token]);
      return { name: "x" };
    });
    await once((await clientOf({ url: `${server.url}/a` }, { header: "h", token: "ignored" })).socket, "message");
    await once((await clientOf({ url: `${server.url}/b` }, { token: "t" })).socket, "message");
    await once((await clientOf({ url: `${server.url}/c?d` })).socket, "message");
    expect(asked).toEqual([
      ["/a", "h"],
      ["/b", "t"],
      ["/c?d", undefined],
    ]);
  });

  it("serves principals with the same restriction by one sampler, and others by their own", async () => {
    const [one, two] = ["guest-00001", "guest-00002"];
    const principals = {
      ann: { domains: [one, two] },
      bob: { domains: [two, one, one] },
      eve: { domains: [one] },
      dan: { domains: [one], groups: ["state"] as const },
    };
    const { server } = await served(known(principals));
    const watches = [];
    for (const token of ["ann", "bob", "ann", "eve", "dan"]) {
      const watch = (await connectTo(server.url, { token })).watch({}, { intervalMs: 50 })[Symbol.asyncIterator]();
      await watch.next();
      watches.push(watch);
    }
    const { viewers, channels, sampling } = server.stats();
    expect(viewers.map(({ names, sampling }) => [names, sampling.samplers])).toEqual([
      [["ann", "bob"], 1],
      [["eve"], 1],
      [["dan"], 1],
    ]);
    expect([channels, sampling.samplers]).toEqual([3, 0]);
    for (const watch of watches) await watch.return?.();
  });

  it("gives a principal its groups, and denies it any other one", async () => {
    const { driver, server } = await served(known({ ann: { groups: ["state", "cpu-total"] } }));
    const ann = await connectTo(server.url, { token: "ann" });
    const permitted = /^(state|cpu)\./;
    for (const query of [{}, { groups: ["state"] as const }, { groups: 0 }]) {
      const [record] = await ann.getAllDomainStats(query);
      expect([...record!.params.list()].filter(({ key }) => !permitted.test(key))).toEqual([]);
      expect(record!.state).toBeDefined();
    }
    for await (const { params } of ann.watch({}, { intervalMs: 10 })) {
      expect([...params.list()].filter(({ key }) => !permitted.test(key))).toEqual([]);
      break;
    }
    for (const groups of [["block"], ["state", "vcpu"], 2 ** 31, 2 ** 31 + 1] as const) {
      expect(await codeOf(ann.getAllDomainStats({ groups }))).toBe("denied");
      expect(await codeOf(ann.watch({ groups }).toArray())).toBe("denied");
    }
    await expect(ann.getAllDomainStats({ groups: ["block"] })).rejects.toThrow(/groups block, only state, cpu-total/);
    expect(new Set(driver.queries.map(({ groups }) => groups))).toEqual(new Set([3, 1]));
  });

  it("tells a client which groups it may query, in both profiles, also through a second server and among several", async () => {
    const principals = known({
      all: {},
      ann: { groups: ["state", "cpu-total"] },
      ben: { groups: ["cpu-total", "block"], names: ["*"] },
    });
    const [first, other] = [await served(principals), await served(principals)];
    const of = async (token: string) => connectTo(first.server.url, { token });
    expect((await of("all")).permittedGroups).toBeUndefined();
    const ann = await of("ann");
    expect(ann.permittedGroups).toEqual(["state", "cpu-total"]);

    const json = await clientOf(first.server, { token: "ben" });
    await until(() => json.messages.length > 0);
    expect(json.messages[0]).toMatchObject({ type: "welcome", groups: ["cpu-total", "block"] });

    const second = own(await serve(ann, { port: 0, authenticate: principals }));
    expect((await connectTo(second.url, { token: "all" })).permittedGroups).toEqual(["state", "cpu-total"]);
    expect((await connectTo(second.url, { token: "ben" })).permittedGroups).toEqual(["cpu-total"]);

    const fleet = own(
      await connectAll([
        { uri: first.server.url, token: "ann" },
        { uri: `${other.server.url}?label=other`, token: "ben" },
      ]),
    );
    expect(fleet.permittedGroups).toEqual(["cpu-total"]);
  });

  it.each<[what: string, authenticate: Authenticate]>([
    ["answers undefined", () => undefined],
    ["answers null", async () => null],
    [
      "throws",
      () => {
        throw new Error("secret");
      },
    ],
    ["rejects", () => Promise.reject(new Error("secret"))],
    ["answers with what has expired", () => ({ name: "x", expiresAt: Date.now() - 1 })],
  ])("refuses a client if `authenticate` %s", async (_, authenticate) => {
    const { server } = await served(authenticate);
    expect(await refusalOf(server, { token: "t" })).toEqual([CLOSE_CODES.unauthenticated, "the token is wrong"]);
    expect(await refusalOf(server, { header: "t" })).toEqual([401, "the token is wrong\n"]);
    expect(await codeOf(connectTo(server.url))).toBe("unauthenticated");
    expect((await fetch(`${server.url.replace("ws:", "http:")}/stats.json`)).status).toBe(401);
    expect(server.clients).toBe(0);
  });

  it("bounds the time that `authenticate` takes, and keeps nothing of a client that is not answered", async () => {
    const answers: (() => void)[] = [];
    const authenticate: Authenticate = () =>
      new Promise((resolve) => answers.push(() => resolve({ name: "late", domains: ["guest-00001"] })));
    const { server } = await served(authenticate, { limits: { helloTimeoutMs: 50 } });
    expect((await refusalOf(server, { header: "t" }))[0]).toBe(503);
    expect((await refusalOf(server, { token: "t" }))[0]).toBe(CLOSE_CODES["hello-timeout"]);
    expect((await fetch(`${server.url.replace("ws:", "http:")}/stats.json`)).status).toBe(401);
    for (const answer of answers) answer();
    await turn();
    expect([server.clients, server.stats().viewers]).toEqual([0, []]);
  });

  it("has no more calls of `authenticate` under way than clients that may wait, also of clients that have left", async () => {
    let asked = 0;
    const { server } = await served(
      () => {
        asked++;
        return new Promise(() => {});
      },
      { limits: { waiting: 4, helloTimeoutMs: 600_000 } },
    );
    for (let i = 0; i < 4; i++) {
      const { socket } = await clientOf(server);
      await until(() => asked === i + 1);
      socket.terminate();
    }
    expect((await refusalOf(server, { token: "t" }))[0]).toBe(CLOSE_CODES.overloaded);
    expect((await refusalOf(server, { header: "t" }))[0]).toBe(503);
    expect(asked).toBe(4);
  });

  it("keeps no view for a client that left while it was being identified", async () => {
    const answers: (() => void)[] = [];
    const authenticate: Authenticate = () =>
      new Promise((resolve) => answers.push(() => resolve({ name: "gone", domains: ["guest-00001"] })));
    const { server } = await served(authenticate);
    const early = new WebSocket(server.url, SUBPROTOCOLS[1], { headers: { authorization: "Bearer t" } });
    early.on("error", () => {});
    const { socket } = await clientOf(server);
    await until(() => answers.length === 2);
    early.terminate();
    socket.terminate();
    for (const answer of answers) answer();
    await expect.poll(() => server.stats().viewers, PATIENCE).toEqual([]);
    expect(server.clients).toBe(0);
  });

  it.each<[complaint: RegExp, principal: unknown]>([
    [/must be an object/, "ann"],
    [/must have a name/, {}],
    [/must have a name/, { name: "" }],
    [/no member "domain"/, { name: "x", domain: ["web"] }],
    [/domains of a principal is undefined/, { name: "x", domains: undefined }],
    [/groups of a principal is undefined/, { name: "x", domains: ["web"], groups: undefined }],
    [/domains of the principal must be a list/, { name: "x", domains: "web" }],
    [/domains of the principal must be a list/, { name: "x", domains: [""] }],
    [/domains of the principal must be a list/, { name: "x", domains: null }],
    [/groups of the principal must be a list/, { name: "x", groups: [] }],
    [/groups of the principal must be a list/, { name: "x", groups: 3 }],
    [/unknown statistics group "cpu"/, { name: "x", groups: ["cpu"] }],
    [/expiresAt of a principal must be a number/, { name: "x", expiresAt: "tomorrow" }],
  ])("refuses a client with a principal that is not valid, and says so: %s", async (message, principal) => {
    const { server } = await served(() => principal as Principal);
    const closed = await refusalOf(server, { token: "t" });
    expect(closed).toEqual([CLOSE_CODES["server-error"], expect.stringMatching(message)]);
    expect(await refusalOf(server, { header: "t" })).toEqual([500, expect.stringMatching(message)]);
    expect((await fetch(`${server.url.replace("ws:", "http:")}/stats.json`)).status).toBe(401);
  });

  it("answers requests that a client sends right after its hello, in their order, when it knows the client", async () => {
    let answer = (): void => {};
    const { server } = await served(
      () =>
        new Promise((resolve) => {
          answer = () => resolve({ name: "x", domains: ["guest-00001"] });
        }),
    );
    const { send, messages, ended } = await clientOf(server, { token: "t" });
    const domains = Array.from({ length: LIMITS.selectors }, (_, i) => ({ name: `a domain with the number ${i}` }));
    for (let id = 1; id <= 5; id++) send({ type: "get", id });
    send({ type: "get", id: 6, domains });
    send({ type: "cancel", id: 6 });
    for (let i = 0; i < 20; i++) await turn();
    expect(messages).toEqual([]);
    answer();
    for (let id = 1; id <= 6; id++) await ended(id);
    expect(messages[0]!.type).toBe("welcome");
    const begun = messages.filter(({ type }) => type === "begin").map(({ id }) => id);
    expect(begun.slice(0, 5)).toEqual([1, 2, 3, 4, 5]);
    const names = messages.flatMap((message) =>
      message.type === "record" && message.id! < 6
        ? [(message["record"] as { domain: { name: string } }).domain.name]
        : [],
    );
    expect(names).toEqual(Array(5).fill("guest-00001"));
  });

  it("reads nothing more of a client while it asks who the client is", async () => {
    let answer = (): void => {};
    const { server } = await served(
      () =>
        new Promise((resolve) => {
          answer = () => resolve(undefined);
        }),
    );
    const { socket, closed } = await clientOf(server, { token: "t" });
    const domains = Array.from({ length: LIMITS.selectors }, (_, i) => ({ name: `a domain with the number ${i}` }));
    const request = JSON.stringify({ type: "get", id: 1, domains });
    for (let i = 0; i < 50; i++) socket.send(request);
    const sent = socket.bufferedAmount;
    // The buffers of the system take a part of it.
    for (let still = 0, before = sent; still < 100; still++) {
      await turn();
      if (socket.bufferedAmount < before) still = 0;
      before = socket.bufferedAmount;
    }
    expect(sent - socket.bufferedAmount).toBeLessThan(sent / 2);
    answer();
    expect((await closed)[0]).toBe(CLOSE_CODES.unauthenticated);
  });

  it("shows its figures to a principal that may see everything, and to no other", async () => {
    const { server } = await served(known({ all: {}, ann: { domains: ["x"] }, dan: { groups: ["state"] } }));
    const statusOf = async (token: string): Promise<number> => {
      const headers = { authorization: `Bearer ${token}` };
      return (await fetch(`${server.url.replace("ws:", "http:")}/stats.json`, { headers })).status;
    };
    expect(await statusOf("all")).toBe(200);
    for (const token of ["ann", "dan"]) expect(await statusOf(token)).toBe(403);
    expect(await statusOf("guess")).toBe(401);
  });

  it("may listen beyond loopback", async () => {
    const { server } = await served(known({}), { host: "0.0.0.0", allowPlain: true });
    expect(await codeOf(connectTo(server.url.replace("0.0.0.0", "127.0.0.1")))).toBe("unauthenticated");
  });
});

describe("a principal", () => {
  it("cannot resume what another principal watched, nor guess its way to it", async () => {
    const principals = {
      all: {},
      ann: { domains: ["guest-00001", "guest-00002"] },
      eve: { domains: ["guest-00001"] },
      dan: { domains: ["guest-00001", "guest-00002"], groups: ["state"] as const },
    };
    const { server } = await served(known(principals));
    const open = async (token: string) => {
      const client = await WatchClient.connect(server, { greets: false });
      owned.push(() => client.socket.terminate());
      client.send({ type: "hello", token });
      await client.settled();
      return client;
    };
    for (const wider of ["all", "ann"]) {
      const first = await open(wider);
      const watch = first.watch(1, { intervalMs: 10 });
      await expect.poll(() => watch.ticks.length, PATIENCE).toBeGreaterThan(1);
      const { since } = watch.state;
      await first.vanish();
      for (const narrower of ["eve", "dan"]) {
        const client = await open(narrower);
        expect(client.epoch).not.toBe(first.epoch);
        const visible = principals[narrower as "eve" | "dan"].domains;
        for (const epoch of [first.epoch, client.epoch]) {
          for (let channel = 1; channel <= 3; channel++) {
            const id = channel + (epoch === first.epoch ? 0 : 10);
            const guess = client.watch(id, { intervalMs: 10, since: { epoch, channel, sequence: since!.sequence } });
            await expect.poll(() => guess.ticks.length, PATIENCE).toBeGreaterThan(1);
            const records = guess.events.flatMap((event) => (event.type === "record" ? [event.record] : []));
            expect([...new Set(records.map(({ domain }) => domain.name))].sort()).toEqual(visible);
            if (narrower === "dan") {
              expect(
                records.flatMap(({ params }) => [...params.list()]).filter(({ key }) => !key.startsWith("state.")),
              ).toEqual([]);
            }
          }
        }
        await client.close();
      }
    }
  });

  it("is asked for a new token when its login expires, and its watch continues where it stopped", async () => {
    let asked = 0;
    const tokens: string[] = [];
    const { server } = await served((_, token) => {
      asked++;
      tokens.push(token!);
      return { name: "ann", domains: ["guest-00001"], ...(asked < 3 && { expiresAt: Date.now() + 500 }) };
    });
    const connection = await connectTo(server.url, { token: async () => `token ${asked}` });
    const seen: string[] = [];
    const ticks: number[] = [];
    for await (const event of connection.watch({}, { intervalMs: 200 }).events) {
      if (event.type === "sync") ticks.push(event.tick);
      else if (event.type !== "record") seen.push(event.type === "status" ? event.state : event.type);
      if (asked === 3 && seen.at(-1) === "connected" && event.type === "sync") break;
    }
    expect(seen).toEqual(["reconnecting", "connected", "reconnecting", "connected"]);
    expect(ticks).toEqual(ticks.map((_, i) => i + 1));
    expect(tokens).toEqual(["token 0", "token 1", "token 2"]);
  });

  it("gets a close code that other clients understand when its login expires, whether it has said hello or not", async () => {
    const { server } = await served(() => ({ name: "x", expiresAt: Date.now() + 50 }));
    const socket = new WebSocket(server.url, SUBPROTOCOLS[1], { headers: { authorization: "Bearer t" } });
    expect((await once(socket, "close"))[0]).toBe(CLOSE_CODES["logged-out"]);
    const { closed } = await clientOf(server);
    expect((await closed)[0]).toBe(CLOSE_CODES["logged-out"]);
  });

  it("may have a login that lasts longer than a timer can", async () => {
    const { server } = await served(() => ({ name: "x", expiresAt: Date.now() + 2 ** 33 }));
    const client = await clientOf(server);
    client.send({ type: "get", id: 1 });
    expect(await client.ended(1)).toMatchObject({ summary: { domains: 10 } });
    expect(client.socket.readyState).toBe(WebSocket.OPEN);
  });

  it("is disconnected by its name, with all its connections and no others, and refused when it comes back", async () => {
    const revoked = new Set<string>();
    const { server } = await served((_, token) => (revoked.has(token!) ? undefined : { name: token! }));
    const [ann, again, header, ben] = [
      await clientOf(server, { token: "ann" }),
      await clientOf(server, { token: "ann" }),
      await clientOf(server, { header: "ann" }),
      await clientOf(server, { token: "ben" }),
    ];
    const connection = await connectTo(server.url, { token: "ann" });
    await until(() => server.clients === 5);
    const watching = codeOf(connection.watch().toArray());
    revoked.add("ann");
    expect(server.disconnect("ann")).toBe(4);
    for (const { closed } of [ann, again, header]) expect((await closed)[0]).toBe(CLOSE_CODES["logged-out"]);
    expect(await watching).toBe("unauthenticated");
    expect(server.clients).toBe(1);
    expect(ben.socket.readyState).toBe(WebSocket.OPEN);
    expect(server.disconnect("ann")).toBe(0);
  });

  it("that is disconnected while it is being identified is identified again", async () => {
    const answers: ((principal: Principal | undefined) => void)[] = [];
    const { server } = await served(() => new Promise((resolve) => answers.push(resolve)));
    const { closed } = await clientOf(server, { token: "ann" });
    await until(() => answers.length === 1);
    expect(server.disconnect("ann")).toBe(0);
    answers[0]!({ name: "ann" });
    await until(() => answers.length === 2);
    answers[1]!(undefined);
    expect((await closed)[0]).toBe(CLOSE_CODES.unauthenticated);
  });

  it("is refused while the others have as many restrictions as there may be, and costs nothing when it has left", async () => {
    const { server } = await served((_, token) => ({ name: token!, domains: [token!] }), { limits: { views: 2 } });
    const [one, two] = [
      await connectTo(server.url, { token: "guest-00001" }),
      await connectTo(server.url, { token: "guest-00002" }),
    ];
    expect(await codeOf(connectTo(server.url, { token: "guest-00003" }))).toBe("limit-exceeded");
    expect((await refusalOf(server, { header: "guest-00003" }))[0]).toBe(503);
    expect(await namesOf(await connectTo(server.url, { token: "guest-00002" }))).toEqual(["guest-00002"]);
    // A client that was cut off may come back, but not if another one needs its place.
    const cut = one.watch({}, { intervalMs: 10 })[Symbol.asyncIterator]();
    await cut.next();
    await one.close();
    await until(() => server.clients === 2);
    for (let i = 3; i < 10; i++) {
      const connection = await connectTo(server.url, { token: `guest-0000${i}` });
      expect(await namesOf(connection)).toEqual([`guest-0000${i}`]);
      await connection.close();
      await until(() => server.clients === 2);
    }
    expect(server.stats().viewers.map(({ names }) => names)).toEqual([["guest-00002"]]);
    expect(await namesOf(two)).toEqual(["guest-00002"]);
  });
});

describe("an Express application with sessions", () => {
  it("lets a page's cookie decide what the page sees", async () => {
    const sessions = session({ secret: "s", resave: false, saveUninitialized: false });
    const authenticate: Authenticate = async (request) => {
      const parsed = request as express.Request;
      await new Promise((resolve) => sessions(parsed, {} as express.Response, resolve));
      const user = (parsed.session as { user?: string } | undefined)?.user;
      return user === undefined ? undefined : { name: user, domains: [user === "ann" ? "guest-00001" : "guest-00002"] };
    };
    const connection = own(await connect("test:///default?domains=10"));
    const handler = own(createHandler(connection, { prefix: "/vm", authenticate, origins: ["https://app.example"] }));
    const app = express();
    app.use(handler.request, sessions);
    app.get("/login/:user", ({ session, params }, response) => {
      Object.assign(session, { user: params.user });
      response.end();
    });
    const http = app.listen(0, "127.0.0.1").on("upgrade", handler.upgrade);
    owned.push(() => http.close());
    await once(http, "listening");
    const { port } = http.address() as { port: number };
    const url = `ws://127.0.0.1:${port}/vm`;
    const page = async (user: string, origin: string) => {
      const login = await fetch(`http://127.0.0.1:${port}/login/${user}`);
      const cookie = login.headers.get("set-cookie")!.split(";")[0]!;
      const socket = new WebSocket(url, SUBPROTOCOLS[1], { headers: { cookie, origin } });
      owned.push(() => socket.on("error", () => {}).terminate());
      return socket;
    };
    for (const [user, guest] of [
      ["ann", "guest-00001"],
      ["ben", "guest-00002"],
    ] as const) {
      const socket = await page(user, "https://app.example");
      const names: string[] = [];
      const ended = new Promise<void>((resolve) =>
        socket.on("message", (data: Buffer) => {
          const message = JSON.parse(data.toString());
          if (message.type === "record") names.push(message.record.domain.name);
          if (message.type === "end") resolve();
        }),
      );
      await once(socket, "open");
      socket.send('{"type":"hello"}');
      socket.send('{"type":"get","id":1}');
      await ended;
      expect(names).toEqual([guest]);
    }
    expect(await codeOf(connect(url))).toBe("unauthenticated");
    // A foreign page has the cookie, too.
    const [, refused] = await once(await page("ann", "https://evil.example"), "unexpected-response");
    expect(refused.statusCode).toBe(403);
    refused.resume();
  });
});
