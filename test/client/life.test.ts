import { once } from "node:events";
import { createServer, type Server } from "node:net";
import { describe, expect, it } from "vitest";
import { type ConnectionStatus, connect, connectAll, type OpenOptions, type VirstreamError } from "../../src/index.ts";
import { serve, type VirstreamServer } from "../../src/server/index.ts";
import { codeOf } from "../code-of.ts";
import { turn } from "../drivers/simulated/manual-clock.ts";
import { startLibvirtd } from "../lab/libvirtd.ts";
import { freePort } from "../lab/port.ts";
import { describeWith, labRequirements } from "../lab/requirement.ts";
import { ServedProcess } from "../lab/served-process.ts";
import { own, owned } from "../owned.ts";
import { until } from "../until.ts";

/** Attempts follow each other quickly. */
const QUICK = { initialMs: 1, maxMs: 10 };

/** A server of a simulated host of its own. */
async function startServer(port = 0, token?: string, host = "hv1"): Promise<VirstreamServer> {
  const source = own(await connect(`test:///default?domains=2&host=${host}`));
  const limits = { minIntervalMs: 10 };
  return own(await serve(source, { port, limits, ...(token !== undefined && { token }) }));
}

/** A port that refuses every connection in the way of a proxy whose server is down, and counts them. */
async function refusingPort(): Promise<{ port: number; refused: () => number; server: Server }> {
  let refused = 0;
  const server = createServer((socket) => {
    refused++;
    socket.on("error", () => {}).resetAndDestroy();
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  own(server);
  return { port: (server.address() as { port: number }).port, refused: () => refused, server };
}

/** Counts the errors that decide about a further attempt. */
function counting(decide: (error: VirstreamError, count: number) => boolean = () => true) {
  const errors: VirstreamError[] = [];
  const shouldRetry = (error: VirstreamError): boolean => {
    errors.push(error);
    return decide(error, errors.length);
  };
  return { errors, shouldRetry };
}

const portOf = (server: VirstreamServer): number => Number(new URL(server.url).port);
const url = (port: number): string => `ws://127.0.0.1:${port}`;
const inShort = ({ state, host }: ConnectionStatus): string => `${host} ${state}`;

describe("The states of a connection", () => {
  it("begin with the present one, have each change, and complete after closed, in all three ways of reading", async () => {
    const server = await ServedProcess.start({ uri: "test:///default?domains=2&host=hv1" });
    owned.push(() => server[Symbol.asyncDispose]());
    const connection = own(await connect(server.url, { reconnect: QUICK }));
    const read: Record<string, string[]> = { observed: [], called: [], iterated: [] };
    const completed = new Promise<void>((resolve) => {
      connection.status.subscribe({ next: (status) => read["observed"]!.push(inShort(status)), complete: resolve });
    });
    const called = connection.status.forEach((status) => void read["called"]!.push(inShort(status)));
    const iterated = (async () => {
      for await (const status of connection.status) read["iterated"]!.push(inShort(status));
    })();
    const all = (count: number) => until(() => Object.values(read).every(({ length }) => length === count));
    await all(1);
    await server.kill();
    await all(2);
    const late: string[] = [];
    const joined = connection.status.forEach((status) => void late.push(inShort(status)));
    await server.restart();
    await all(3);
    await connection.close();
    await Promise.all([completed, called, iterated, joined]);
    const states = ["hv1 connected", "hv1 reconnecting", "hv1 connected", "hv1 closed"];
    expect(read).toEqual({ observed: states, called: states, iterated: states });
    expect(late).toEqual(states.slice(1));
    expect((await connection.status.toArray()).map(inShort)).toEqual(["hv1 closed"]);
  });

  it("cost a reader who does not read no more than the newest state of each host", async () => {
    let server = await startServer();
    const port = portOf(server);
    const connection = own(await connect(server.url, { reconnect: QUICK }));
    const slow = connection.status[Symbol.asyncIterator]();
    expect((await slow.next()).value.state).toBe("connected");
    const seen: string[] = [];
    connection.status.subscribe(({ state }) => seen.push(state));
    for (let i = 1; i <= 3; i++) {
      await server.close();
      server = await startServer(port);
      await until(() => seen.length === 1 + 2 * i);
    }
    expect((await slow.next()).value.state).toBe("connected");
    const next = slow.next();
    await connection.close();
    expect((await next).value).toMatchObject({ state: "closed", error: { code: "connection-closed" } });
    expect(await slow.next()).toEqual({ done: true, value: undefined });
  });

  it("of several hosts name each by its URI, also before it has answered", async () => {
    const port = await freePort();
    const first = await startServer();
    const connection = own(await connectAll([first.url, url(port)], { reconnect: QUICK }));
    const states: (readonly [string, string, string | undefined])[] = [];
    const completed = connection.status.forEach(({ state, host, uri }) => void states.push([state, host, uri]));
    await until(() => states.length === 2);
    await startServer(port, undefined, "hv2");
    await until(() => states.length === 3);
    await connection.close();
    await completed;
    expect(states).toEqual([
      ["connected", "hv1", first.url],
      ["degraded", url(port), url(port)],
      ["connected", "hv2", url(port)],
      ["closed", "hv1,hv2", undefined],
    ]);
  });

  it("of the simulated host are connected and, in the end, closed", async () => {
    const connection = await connect("test:///default");
    const states = connection.status.toArray();
    await turn();
    await connection.close();
    expect((await states).map(inShort)).toEqual(["simulated connected", "simulated closed"]);
  });
});

describe("The end of a connection", () => {
  it("is without an error after close()", async () => {
    const server = await startServer();
    for (const uri of [server.url, "test:///default"]) {
      const connection = await connect(uri);
      await connection.close();
      expect(await connection.closed).toBe(undefined);
    }
  });

  it("has the error of the server that does not take the token any more", async () => {
    const server = await startServer(0, "first");
    const connection = own(await connect(server.url, { token: "first", reconnect: QUICK }));
    const port = portOf(server);
    await server.close();
    await startServer(port, "second");
    expect(await connection.closed).toMatchObject({ code: "unauthenticated" });
    await connection.close();
    expect(await connection.closed).toMatchObject({ code: "unauthenticated" });
  });

  it("comes after as many failed attempts in a row as it is allowed, and ends watches with the last error", async () => {
    const server = await startServer();
    const { errors, shouldRetry } = counting();
    const connection = own(await connect(server.url, { reconnect: { ...QUICK, attempts: 3, shouldRetry } }));
    const watched = codeOf(connection.watch({}, { intervalMs: 10 }).forEach(() => {}));
    await server.close();
    const error = await connection.closed;
    expect(error).toMatchObject({ code: "connection-refused", retryable: false });
    expect(errors.map(({ code }) => code)).toEqual(["server-shutdown", ...Array(3).fill("connection-refused")]);
    expect(await watched).toBe("connection-refused");
    expect(await codeOf(connection.getAllDomainStats())).toBe("connection-refused");
  });

  it("comes with the loss where no attempt is allowed", async () => {
    const server = await startServer();
    const connection = own(await connect(server.url, { reconnect: { attempts: 0 } }));
    await server.close();
    expect(await connection.closed).toMatchObject({ code: "server-shutdown" });
  });

  it("comes when the program does not want to retry, or cannot say", async () => {
    const fault = new Error("a fault in shouldRetry");
    const endings = [
      [() => false, { code: "server-shutdown" }],
      [
        () => {
          throw fault;
        },
        { code: "internal", cause: fault },
      ],
      [async () => true, { code: "invalid-argument", message: expect.stringMatching(/shouldRetry must return true/) }],
    ] as const;
    for (const [shouldRetry, end] of endings) {
      const server = await startServer();
      const reconnect = { ...QUICK, shouldRetry: shouldRetry as () => boolean };
      const connection = own(await connect(server.url, { reconnect }));
      await server.close();
      expect(await connection.closed).toMatchObject(end);
    }
  });

  it("does not come by an error that the program wants to retry, such as another token", async () => {
    const server = await startServer(0, "first");
    const { errors, shouldRetry } = counting();
    const connection = own(await connect(server.url, { token: "first", reconnect: { ...QUICK, shouldRetry } }));
    const port = portOf(server);
    await server.close();
    const other = await startServer(port, "second");
    await until(() => errors.filter(({ code }) => code === "unauthenticated").length >= 2);
    await other.close();
    await startServer(port, "first");
    expect(await connection.getAllDomainStats({ deadlineMs: 60_000 })).toHaveLength(2);
  });

  it("of several hosts comes when all are given up; until then, one that is given up does not harm the others", async () => {
    const [one, two] = [await startServer(), await startServer(0, undefined, "hv2")];
    const reconnect = {
      ...QUICK,
      attempts: 2,
      shouldRetry: ({ code }: VirstreamError) => code !== "connection-refused",
    };
    const connection = own(await connectAll([one.url, two.url], { reconnect }));
    const states: string[] = [];
    const completed = connection.status.forEach((status) => void states.push(inShort(status)));
    const watch = codeOf(connection.watch({}, { intervalMs: 10 }).forEach(() => {}));
    expect(await connection.getAllDomainStats()).toHaveLength(4);
    const port = portOf(two);
    await two.close();
    await until(() => states.at(-1) === "hv2 closed");
    await startServer(port, undefined, "hv2");
    const records = await connection.getAllDomainStats();
    expect(records.map(({ status, domain }) => `${domain.host} ${status}`).sort()).toEqual([
      "hv1 ok",
      "hv1 ok",
      "hv2 failed",
      "hv2 failed",
    ]);
    await one.close();
    expect(await connection.closed).toMatchObject({ code: "connection-refused", retryable: false });
    expect(await watch).toBe("connection-refused");
    await completed;
    expect(states.at(-1)).toBe("hv1,hv2 closed");
  });
});

describe("A program that waits for its first connection", () => {
  it("has it when the server starts, however late", async () => {
    const port = await freePort();
    const { errors, shouldRetry } = counting();
    const opening = connect(url(port), { waitForFirstConnection: true, reconnect: { ...QUICK, shouldRetry } });
    await until(() => errors.length >= 3);
    await startServer(port);
    await using connection = await opening;
    expect(await connection.getAllDomainStats()).toHaveLength(2);
    expect(new Set(errors.map(({ code }) => code))).toEqual(new Set(["connection-refused"]));
  });

  it("gets the signal's reason when it gives up, and no further attempt is made", async () => {
    const { port, refused } = await refusingPort();
    const abort = new AbortController();
    const opening = connect(url(port), { waitForFirstConnection: true, reconnect: QUICK, signal: abort.signal });
    await until(() => refused() >= 3);
    const reason = new Error("enough");
    abort.abort(reason);
    await expect(opening).rejects.toBe(reason);
    const before = refused();
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(refused()).toBe(before);
  });

  it("gets the last error when its attempts are used up", async () => {
    const { port, refused } = await refusingPort();
    const options: OpenOptions = { waitForFirstConnection: true, reconnect: { ...QUICK, attempts: 4 } };
    await expect(connect(url(port), options)).rejects.toMatchObject({ code: "connection-lost", retryable: true });
    expect(refused()).toBe(4);
  });

  it("gets an error that a retry cannot repair at once", async () => {
    const server = await startServer(0, "secret");
    const wait = { waitForFirstConnection: true };
    expect(await codeOf(connect(server.url, { ...wait, token: "guess" }))).toBe("unauthenticated");
    expect(await codeOf(connect("ws://me:secret@localhost", wait))).toBe("invalid-uri");
    expect(await codeOf(connect("nonsense:///", wait))).toBe("unknown-scheme");
    expect(server.stats().clientsAccepted).toBe(1);
  });

  it("of several hosts has a connection although none answers yet, and the hosts as they come", async () => {
    const ports = [await freePort(), await freePort()];
    const options = { waitForFirstConnection: true, reconnect: QUICK };
    await using connection = await connectAll(ports.map(url), options);
    const states: string[] = [];
    connection.status.subscribe((status) => states.push(inShort(status)));
    expect(await codeOf(connection.getAllDomainStats())).toBe("connection-lost");
    await startServer(ports[1]!, undefined, "hv2");
    await until(() => states.includes("hv2 connected"));
    expect((await connection.getAllDomainStats()).map(({ domain }) => domain.host)).toEqual(["hv2", "hv2"]);
    const refused = connectAll(["nonsense:///", url(ports[0]!)], options);
    expect(await codeOf(refused)).toBe("unknown-scheme");
  });

  it("learns which option it has misspelt, or which value is not valid", async () => {
    const faults: [object, RegExp][] = [
      [{ waitForFirstConnection: "yes" }, /waitForFirstConnection must be true or false/],
      [{ reconnect: 5 }, /reconnect must be an object/],
      [{ reconnect: { tries: 5 } }, /reconnect has no member "tries": it has initialMs, maxMs, attempts, shouldRetry/],
      [{ reconnect: { initialMs: 0 } }, /initialMs must be a whole number from 1/],
      [{ reconnect: { initialMs: 10, maxMs: 5 } }, /maxMs must be a whole number from 10/],
      [{ reconnect: { attempts: -1 } }, /attempts must be a whole number from 0/],
      [{ reconnect: { shouldRetry: true } }, /shouldRetry must be a function/],
    ];
    for (const [options, message] of faults) {
      for (const opening of [connect("test:///default", options), connectAll(["test:///default"], options)]) {
        await expect(opening).rejects.toMatchObject({
          code: "invalid-argument",
          message: expect.stringMatching(message),
        });
      }
    }
  });
});

describeWith(labRequirements, "A connection to libvirt", () => {
  it("opens when the daemon starts, reports its loss, and ends when its attempts are used up", async () => {
    await using libvirtd = await startLibvirtd();
    await libvirtd.kill();
    const { errors, shouldRetry } = counting();
    const opening = connect(libvirtd.uri, {
      waitForFirstConnection: true,
      reconnect: { ...QUICK, attempts: 1_000_000, shouldRetry },
    });
    await until(() => errors.length >= 2);
    await libvirtd.restart();
    await using waited = await opening;
    const states: string[] = [];
    waited.status.subscribe(({ state }) => states.push(state));
    await using brief = await connect(libvirtd.uri, { reconnect: { ...QUICK, attempts: 2 } });
    const watch = codeOf(brief.watch({}, { intervalMs: 10 }).forEach(() => {}));
    await libvirtd.kill();
    const error = await brief.closed;
    expect(["connection-refused", "socket-missing"]).toContain(error?.code);
    expect(await watch).toBe(error?.code);
    await libvirtd.restart();
    await until(() => states.length >= 3);
    expect(states).toEqual(["connected", "reconnecting", "connected"]);
    expect(await waited.getAllDomainStats()).toEqual([]);
  });
});
