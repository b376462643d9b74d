/** @module-tag any-node */

import { describe, expect, it } from "vitest";
import { Connection, connectAll } from "../../src/index.ts";
import { type Authenticate, type Principal, type ServeOptions, serve } from "../../src/server/index.ts";
import type { VirstreamServer } from "../../src/server/server.ts";
import { CLOSE_CODES, SUBPROTOCOLS, type Subprotocol } from "../../src/wire/protocol.ts";
import { answerAt } from "../answer.ts";
import { own } from "../owned.ts";
import { PATIENCE, until } from "../until.ts";
import { Intruder } from "./intruder.ts";
import { RecordingDriver } from "./recording-driver.ts";

/** The guests that narrow principals may see, of ten. */
const VISIBLE = ["guest-00001", "guest-00002"];
const HIDDEN = 7;
const STRANGER = "99999999-9999-4999-8999-999999999999";
const LIMITS = { minIntervalMs: 10, sweepsPerSecond: 1_000 };

/** Whom the servers know; a test may change what they are. */
function principals(driver: RecordingDriver): Map<string, Principal> {
  const rights: Record<string, Omit<Principal, "name">> = {
    admin: {},
    reader: { role: "stats" },
    scraper: { role: "metrics" },
    "by uuid": { domains: [driver.uuid(1), driver.uuid(2)] },
    "by name": { domains: VISIBLE },
    "by pattern": { names: ["guest-0000[12]"] },
    "by group": { domains: VISIBLE, groups: ["state"] },
  };
  return new Map(Object.entries(rights).map(([name, members]) => [name, { name, ...members }]));
}
const NARROW = ["by uuid", "by name", "by pattern", "by group"];

async function stage(options: ServeOptions = {}) {
  const driver = new RecordingDriver(10);
  const known = principals(driver);
  const authenticate: Authenticate = (_, token) => known.get(token ?? "");
  const connection = own(new Connection(driver));
  const server = own(await serve(connection, { port: 0, authenticate, limits: LIMITS, ...options }));
  return { driver, known, server };
}

type Stage = Awaited<ReturnType<typeof stage>>;

/** The answer to a request for a page, whose path is sent as it is. */
function pageOf(server: VirstreamServer, path: string, headers: Record<string, string> = {}, method = "GET") {
  return answerAt(server.url.replace("ws:", "http:"), { path, method, headers });
}

/** The tokens of the clients that attempt. */
const tokens = new WeakMap<Intruder, string>();

/** Everything that a client may try that knows the whole protocol, and all names and uuids. */
interface Attempt {
  readonly what: string;
  /** It asks for a hidden domain by its uuid, which then comes back. */
  readonly names?: boolean;
  try(client: Intruder, stage: Stage, subprotocol: Subprotocol): Promise<unknown>;
}

/** What a client may put into a sweep and into a watch. */
const QUERIES: readonly { readonly what: string; readonly names?: boolean; of(driver: RecordingDriver): object[] }[] = [
  {
    what: "all domains, with each filter and flag",
    of: () => [0, 0x1, 0x2, 0x4, 0x10, 0x80, 0x20000000, 0x40000000].map((flags) => ({ flags })),
  },
  {
    what: "a hidden domain by its name, its uuid, and both",
    names: true,
    of: (driver) => [
      { domains: [{ name: driver.name(HIDDEN) }] },
      { domains: [{ uuid: driver.uuid(HIDDEN) }] },
      { domains: [{ uuid: driver.uuid(HIDDEN), name: driver.name(1) }] },
      { domains: [{ uuid: driver.uuid(1), name: driver.name(HIDDEN) }] },
      { domains: [{ name: driver.uuid(HIDDEN) }] },
      { domains: [{ uuid: driver.uuid(HIDDEN).toUpperCase().replaceAll("-", "") }] },
    ],
  },
  {
    what: "a hidden domain between visible ones",
    names: true,
    of: (driver) => [{ domains: [1, HIDDEN, 2].map((guest) => ({ uuid: driver.uuid(guest) })) }],
  },
  {
    what: "every guest's number as a name",
    of: () => [{ domains: Array.from({ length: 100 }, (_, i) => ({ name: String(i) })) }],
  },
  {
    what: "patterns that match all names and hosts",
    of: () => [
      { names: ["*"] },
      { names: ["?*", "[!a]*", "guest-0000[0-9]"] },
      { hosts: ["*"] },
      { names: ["*"], hosts: ["*"] },
    ],
  },
  {
    what: "members that the server itself has",
    of: () => [
      { role: "admin", view: "whole", restriction: {}, name: "admin", token: "admin" },
      JSON.parse('{"__proto__": {"domains": null}, "constructor": {"prototype": {}}}'),
    ],
  },
];

const ATTEMPTS: readonly Attempt[] = [
  ...QUERIES.map(({ what, names = false, of }) => ({
    what: `sweeps of ${what}`,
    names,
    async try(client: Intruder, { driver }: Stage) {
      for (const query of of(driver)) await client.get(query);
    },
  })),
  ...QUERIES.map(({ what, names = false, of }) => ({
    what: `watches of ${what}`,
    names,
    async try(client: Intruder, { driver }: Stage) {
      const ids = of(driver).map((query, i) => client.watch({ ...query, ...(i % 2 && { mode: "on-change" }) }));
      for (const id of ids) {
        await client.ticks(id);
        client.send({ type: "cancel", id });
        await client.end(id);
      }
    },
  })),
  {
    what: "resuming what a wider client watched, by its epoch, and guessing one's way to its channel",
    async try(client, { server }, subprotocol) {
      const wider = await Intruder.open(server.url, subprotocol, { token: "admin" });
      const watched = wider.watch();
      await wider.ticks(watched);
      wider.socket.terminate();
      expect(client.epoch).not.toBe(wider.epoch);
      for (const epoch of [wider.epoch, client.epoch]) {
        for (const channel of [1, 2, 3]) {
          const id = client.watch({ since: { epoch, channel, sequence: wider.heard.length } });
          await client.ticks(id);
          const begun = client.heard.filter(({ type, id: of }) => type === "begin" && of === id);
          expect(begun.map(({ resumed }) => resumed)).toEqual([false]);
        }
      }
    },
  },
  {
    what: "watching beside a wider client with the same query, whose channel it might share",
    async try(client, { server }, subprotocol) {
      const others = ["admin", "reader", "by name"].map((token) => Intruder.open(server.url, subprotocol, { token }));
      for (const other of await Promise.all(others)) await other.ticks(other.watch());
      await client.ticks(client.watch());
    },
  },
  {
    what: "credit and cancels for the ids of another connection",
    async try(client, { server }, subprotocol) {
      const other = await Intruder.open(server.url, subprotocol, { token: "admin" });
      const watched = other.watch();
      await other.ticks(watched);
      for (let id = 1; id <= 40; id++) {
        client.send({ type: "credit", id, bytes: 1_000_000 });
        client.send({ type: "cancel", id });
      }
      await client.settled();
      await other.moreTicks(watched);
      expect(other.heard.filter(({ type }) => type === "end")).toEqual([]);
    },
  },
  {
    what: "a second hello, with a wider token",
    async try(client) {
      client.send({ type: "hello", token: "admin" });
      client.send({ type: "get", id: 1_000 });
      expect(await client.closed).toBe(CLOSE_CODES["bad-message"]);
    },
  },
  {
    what: "messages that are none of a client: those of the server, and those that other protocols have",
    async try(client, { server }, subprotocol) {
      const types = [
        "welcome",
        "begin",
        "record",
        "records",
        "describe",
        "definitions",
        "pools",
        "stats",
        "list",
        "auth",
      ];
      for (const type of types) {
        const other = await Intruder.open(server.url, subprotocol, { token: tokens.get(client)! });
        other.send({ type, id: 1, epoch: client.epoch });
        expect(await other.closed).toBe(CLOSE_CODES["bad-message"]);
        expect(other.heard.map((message) => message.type)).toEqual(["welcome"]);
      }
    },
  },
  {
    what: "connections at the paths of pages and of the whole, and with a wider token in the address or a cookie",
    async try(client, { server }, subprotocol) {
      for (const path of ["/metrics", "/stats.json", "/admin", "/?token=admin", "/%2e%2e/", "//"]) {
        const token = tokens.get(client)!;
        const other = await Intruder.open(`${server.url}${path}`, subprotocol, { token });
        await other.get();
        expect(new Set(other.names)).toEqual(new Set(VISIBLE));
      }
      for (const path of ["/", "/?token=admin", "/metrics"]) {
        const nobody = await Intruder.open(`${server.url}${path}`, subprotocol, {});
        expect(await nobody.closed).toBe(CLOSE_CODES.unauthenticated);
      }
    },
  },
  {
    what: "the hello of a wider token after the request had its own",
    async try(client, { server }, subprotocol) {
      const token = tokens.get(client)!;
      const other = await Intruder.open(server.url, subprotocol, { header: token, token: "admin" });
      await other.get();
      expect(new Set(other.names)).toEqual(new Set(VISIBLE));
    },
  },
];

describe.each(SUBPROTOCOLS)("A client of %s that may see two of ten domains", (subprotocol) => {
  it.each(ATTEMPTS)("gets nothing of the hidden domains by $what", async (attempt) => {
    const staged = await stage();
    const { driver, server } = staged;
    for (const token of NARROW) {
      const client = await Intruder.open(server.url, subprotocol, { token });
      tokens.set(client, token);
      await attempt.try(client, staged, subprotocol);
      await client.close();
      // Without a value of any other domain, in a record or anywhere else.
      for (const name of client.names) expect(VISIBLE).toContain(name);
      for (const { uuid, name, status, keys, index } of client.seen) {
        if (!VISIBLE.includes(name)) expect([status, keys]).toEqual(["gone", []]);
        else if (token === "by group") expect(keys.filter((key) => !key.startsWith("state."))).toEqual([]);
        if (!attempt.names && status !== "gone") expect(index).toBeLessThan(VISIBLE.length);
        if (status !== "gone") expect([driver.uuid(1), driver.uuid(2)]).toContain(uuid);
      }
      const said = Buffer.concat(client.raw).toString("latin1");
      for (const guest of [0, 3, 4, 5, 6, HIDDEN, 8, 9]) {
        if (attempt.names && guest === HIDDEN) continue;
        const uuid = driver.uuid(guest);
        expect(said).not.toContain(uuid);
        expect(said).not.toContain(Buffer.from(uuid.replaceAll("-", ""), "hex").toString("latin1"));
      }
    }
  });

  it("cannot tell a hidden domain from one that does not exist: the same calls, and the same messages", async () => {
    const { driver, server } = await stage();
    for (const token of NARROW) {
      for (const [hidden, missing] of [
        [{ uuid: driver.uuid(HIDDEN) }, { uuid: STRANGER }],
        [{ name: driver.name(HIDDEN) }, { name: "guest-77777" }],
        [
          { uuid: driver.uuid(HIDDEN), name: driver.name(3) },
          { uuid: STRANGER, name: "guest-77777" },
        ],
      ]) {
        const work: unknown[] = [];
        for (const asked of [hidden!, missing!]) {
          for (const among of [[], [{ name: VISIBLE[0]! }]]) {
            const client = await Intruder.open(server.url, subprotocol, { token });
            driver.queries.splice(0);
            await client.get({ domains: [...among, asked], deadlineMs: 1_000 });
            await client.ticks(
              client.watch({ domains: [...among, asked], deadlineMs: 1_000, intervalMs: 3_600_000 }),
              1,
            );
            await client.close();
            const calls = driver.queries.map(({ deadlineMs, ...query }) => query);
            const lines = client.heard.filter(({ type }) => type !== "beat").map(({ type, id }) => [type, id]);
            const records = client.seen.map(({ uuid, name, ...rest }) => rest);
            const sizes = client.raw.length;
            work.push({ among: among.length, calls, lines, records, sizes });
            await until(() => server.stats().viewers.every(({ sampling }) => sampling.subscribers === 0));
          }
        }
        expect(work.slice(2)).toEqual(work.slice(0, 2));
      }
    }
  });
});

describe("Pages", () => {
  it("are shown only to the roles that may read them, however a request is written", async () => {
    const { server, known } = await stage();
    const bearer = (token: string) => ({ authorization: `Bearer ${token}` });
    for (const [token, metrics, stats] of [
      ["admin", 200, 200],
      ["scraper", 200, 403],
      ...["reader", ...NARROW].map((name) => [name, 403, 403] as const),
      ...["unknown", ""].map((name) => [name, 401, 401] as const),
    ] as const) {
      expect((await pageOf(server, "/metrics", bearer(token))).status).toBe(metrics);
      expect((await pageOf(server, "/stats.json", bearer(token))).status).toBe(stats);
      expect((await pageOf(server, "/stats.json", bearer(token), "HEAD")).status).toBe(stats);
    }
    const tricks: [path: string, headers?: Record<string, string>, method?: string][] = [
      ...["?token=admin", "?", "#", ";x", "/", "/.", "%00", "?Authorization=Bearer%20admin"].map((tail): [string] => [
        `/stats.json${tail}`,
      ]),
      ...["//stats.json", "/STATS.JSON", "/%73tats.json", "/./stats.json", "/x/../stats.json", "/\\stats.json"].map(
        (path): [string] => [path],
      ),
      ["/stats.json", { authorization: "Basic YWRtaW46YWRtaW4=" }],
      ["/stats.json", { authorization: "admin" }],
      ["/stats.json", { authorization: "Bearer  admin" }],
      ["/stats.json", { authorization: "Bearer reader, Bearer admin" }],
      ["/stats.json", { authorization: "Bearer reader", "proxy-authorization": "Bearer admin" }],
      ["/stats.json", { cookie: "token=admin; virstream=admin" }],
      ["/stats.json", { "x-forwarded-for": "127.0.0.1", "x-real-ip": "127.0.0.1", "x-forwarded-user": "admin" }],
      ["/healthz", { "x-original-url": "/stats.json", "x-rewrite-url": "/stats.json" }],
      ...["POST", "PUT", "OPTIONS", "PATCH"].map((method): [string, object, string] => ["/stats.json", {}, method]),
      ["/", {}],
    ].map((each) => each as [string, Record<string, string>?, string?]);
    for (const [path, headers, method] of tricks) {
      const { text: body } = await pageOf(server, path, headers, method);
      expect([path, /"eventLoopDelayMs"|libvirt_domain|guest-0/.exec(body)]).toEqual([path, null]);
    }
    known.delete("admin");
    expect((await pageOf(server, "/metrics", bearer("admin"))).status).toBe(401);
  });

  it("say what is wrong with a guest to a client that sees it, and to others not even that it exists", async () => {
    const explained: string[] = [];
    const { driver, known, server } = await stage({
      explain: async ({ name }) => {
        explained.push(name);
        known.delete("admin");
        server.disconnect("admin");
        return { domain: driver.simulation.domain(1), wrong: false, summary: "it is well", evidence: [], remedy: [] };
      },
    });
    const why = async (domain: string, token: string) => {
      driver.queries.splice(0);
      const query = new URLSearchParams({ domain });
      const { status, text: body } = await pageOf(server, `/why?${query}`, { authorization: `Bearer ${token}` });
      return { status, body, calls: driver.queries.map(({ deadlineMs, ...rest }) => rest) };
    };
    for (const token of ["by uuid", "by name", "by pattern"]) {
      for (const [hidden, missing] of [
        [driver.uuid(HIDDEN), STRANGER],
        [driver.name(HIDDEN), "guest-77777"],
      ] as const) {
        const answer = await why(hidden, token);
        expect(answer.status).toBe(404);
        expect(answer).toEqual(await why(missing, token));
      }
      expect((await why(VISIBLE[0]!, token)).status).toBe(200);
    }
    for (const token of ["by group", "scraper"]) expect((await why(VISIBLE[0]!, token)).status).toBe(403);
    for (const token of ["unknown", ""]) expect((await why(VISIBLE[0]!, token)).status).toBe(401);
    expect(new Set(explained)).toEqual(new Set([VISIBLE[0]]));
    // Its token is revoked while it waits for the answer.
    known.set("admin", { name: "admin" });
    expect((await why(VISIBLE[1]!, "admin")).status).toBe(401);
    expect(explained.at(-1)).toBe(VISIBLE[1]);
  });

  it("are all that a token of the role metrics opens: no WebSocket, with the token in the request or the hello", async () => {
    const { server } = await stage();
    for (const subprotocol of SUBPROTOCOLS) {
      for (const shown of [{ header: "scraper" }, { header: "scraper", token: "admin" }]) {
        expect(await (await Intruder.open(server.url, subprotocol, shown)).closed).toBe(401);
      }
      const client = await Intruder.open(server.url, subprotocol, { token: "scraper" });
      expect([await client.closed, client.heard]).toEqual([CLOSE_CODES.unauthenticated, []]);
    }
  });

  it("that need no token, such as /healthz, show no name", async () => {
    const { server } = await stage();
    const client = await Intruder.open(server.url, SUBPROTOCOLS[1], { token: "by name" });
    await client.ticks(client.watch());
    for (const path of ["/healthz", "/readyz", "/"]) {
      expect((await pageOf(server, path)).text).not.toMatch(/guest|by name|testhost|[0-9a-f]{8}-/);
    }
  });
});

describe("Several hosts as one, read with tokens that show two domains of each,", () => {
  async function fleet(subprotocol: Subprotocol) {
    const hosts = ["hv1", "hv2"].map((host) => new RecordingDriver(10, `&host=${host}`));
    const rights = new Map<string, Principal>();
    const below = await Promise.all(
      hosts.map(async (driver) => {
        const authenticate: Authenticate = () => rights.get(driver.host);
        rights.set(driver.host, {
          name: "fleet",
          domains: [driver.uuid(1), driver.uuid(2)],
          groups: ["state", "block"],
        });
        return own(await serve(own(new Connection(driver)), { port: 0, authenticate, limits: LIMITS }));
      }),
    );
    const connection = own(
      await connectAll(
        below.map(({ url }) => url),
        { token: "fleet" },
      ),
    );
    const principals: Record<string, Omit<Principal, "name">> = {
      all: {},
      patterns: { names: ["*"] },
      one: { domains: [hosts[0]!.uuid(1), hosts[1]!.uuid(HIDDEN)] },
    };
    const authenticate: Authenticate = (_, token) => ({ name: token!, ...principals[token!] });
    const server = own(await serve(connection, { port: 0, authenticate, limits: LIMITS }));
    const open = (token: string) => Intruder.open(server.url, subprotocol, { token });
    const shown = (client: Intruder) =>
      [
        ...new Set(client.seen.flatMap(({ host, name, keys }) => (keys.length === 0 ? [] : [`${host} ${name}`]))),
      ].sort();
    return { hosts, rights, below, open, shown };
  }
  const FOUR = ["hv1", "hv2"].flatMap((host) => VISIBLE.map((name) => `${host} ${name}`));

  it.each(SUBPROTOCOLS)(
    "shows no client more than its rights, whatever hosts, names and domains it combines, in %s",
    async (subprotocol) => {
      const { hosts, open, shown } = await fleet(subprotocol);
      const [hv1, hv2] = hosts as [RecordingDriver, RecordingDriver];
      const listed = [hv1.uuid(1), hv1.uuid(HIDDEN), hv2.uuid(2), hv2.uuid(HIDDEN)].map((uuid) => ({ uuid }));
      const queries = [
        ...[{}, { names: ["*"] }, { hosts: ["*"] }, { hosts: ["hv[12]"], names: ["guest-*"] }, { hosts: ["hv2"] }],
        ...[{ domains: listed }, { domains: [{ name: hv1.name(HIDDEN) }] }, { flags: 0x3 }],
      ];
      for (const token of ["all", "patterns", "one"]) {
        const client = await open(token);
        for (const query of queries) {
          await client.get(query);
          const id = client.watch(query);
          await client.ticks(id);
          client.send({ type: "cancel", id });
          await client.end(id);
        }
        expect(shown(client)).toEqual(token === "one" ? ["hv1 guest-00001"] : FOUR);
        const keys = new Set(client.seen.flatMap((record) => record.keys.map((key) => key.split(".")[0])));
        expect([...keys].sort()).toEqual(["block", "state"]);
        // Places are counted among the visible domains of a host.
        expect(Math.max(...client.seen.map(({ index }) => index % 2 ** 24))).toBeLessThan(listed.length);
        // A group that the hosts do not show comes from nowhere.
        await client.get({ groups: ["vcpu"] });
        expect(client.seen.flatMap((record) => record.keys).filter((key) => key.startsWith("vcpu"))).toEqual([]);
        await client.close();
      }
    },
  );

  it.each(SUBPROTOCOLS)("loses what a host no longer shows it, in a watch that goes on, in %s", async (subprotocol) => {
    const { hosts, rights, below, open } = await fleet(subprotocol);
    const client = await open("all");
    const id = client.watch();
    await client.ticks(id, 4);
    rights.set("hv1", { name: "fleet", domains: [hosts[0]!.uuid(1)], groups: ["state", "block"] });
    expect(below[0]!.disconnect("fleet")).toBe(1);
    await expect.poll(() => below[0]!.clients, PATIENCE).toBe(1);
    const other = await open("all");
    await expect
      .poll(async () => {
        other.seen.splice(0);
        await other.get({ hosts: ["hv1"] });
        return other.names;
      }, PATIENCE)
      .toEqual(["guest-00001"]);
    await client.moreTicks(id);
    client.seen.splice(0);
    // A tick is of one host. The watch of the host that has disconnected may begin again later.
    const later = () => client.seen.filter(({ host, status }) => host === "hv1" && status !== "gone");
    await until(() => later().length > 0);
    await client.moreTicks(id);
    expect([...new Set(later().map(({ name }) => name))]).toEqual(["guest-00001"]);
  });
});
