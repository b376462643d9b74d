import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { checkQuery } from "../../../src/model/query.ts";
import { checkCadence } from "../../../src/model/watch.ts";
import { CLOSE_CODES } from "../../../src/wire/protocol.ts";
import { codeOf } from "../../code-of.ts";
import { CollectingSink } from "../../sampling/collecting-sink.ts";
import { ScriptedNetwork } from "./scripted-socket.ts";

beforeEach(() => {
  vi.useFakeTimers();
  // The dice's upper end: each wait is as long as its limit.
  vi.spyOn(Math, "random").mockReturnValue(1);
});

afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
});

/** The context of a sweep that is not aborted. */
const context = () => ({ signal: new AbortController().signal, expect: () => {} });

function sweep({ driver }: ScriptedNetwork, deadlineMs = 2_000): Promise<unknown> {
  return driver.sweep(checkQuery({ deadlineMs }), context())[Symbol.asyncIterator]().next();
}

/** A watch to its end, which it rejects with. */
function watch({ driver }: ScriptedNetwork): Promise<never> {
  return new Promise((_, reject) => {
    const sink = Object.assign(new CollectingSink(), { end: reject });
    driver.watch(checkQuery(), checkCadence(), sink);
  });
}

describe("A remote driver that lost its connection", () => {
  it("tries again after waits whose limit doubles from 250 ms to 30 s", async () => {
    const network = await ScriptedNetwork.connected();
    network.last.lose();
    for (const [attempt, wait] of [250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000].entries()) {
      await vi.advanceTimersByTimeAsync(wait - 1);
      expect([attempt, network.sockets.length]).toEqual([attempt, attempt + 1]);
      await vi.advanceTimersByTimeAsync(1);
      expect([attempt, network.sockets.length]).toEqual([attempt, attempt + 2]);
      network.last.refuse();
    }
    await network.driver.close();
  });

  it("makes one attempt at a time, and gives each the time that opening has", async () => {
    const network = await ScriptedNetwork.connected({ connectTimeoutMs: 3_000 });
    network.last.lose();
    await vi.advanceTimersByTimeAsync(250);
    expect(network.sockets).toHaveLength(2);
    await vi.advanceTimersByTimeAsync(3_499);
    expect([network.sockets.length, network.last.ended]).toEqual([2, true]);
    await vi.advanceTimersByTimeAsync(1);
    expect(network.sockets).toHaveLength(3);
    await network.driver.close();
  });

  it("continues to lengthen its waits while connections do not last, and begins with the shortest after one that did", async () => {
    const network = await ScriptedNetwork.connected();
    for (const wait of [250, 500, 1_000]) {
      network.last.lose();
      await vi.advanceTimersByTimeAsync(wait);
      network.last.welcome();
      await vi.advanceTimersByTimeAsync(0);
    }
    expect(network.sockets).toHaveLength(4);
    await vi.advanceTimersByTimeAsync(30_000);
    network.last.lose();
    await vi.advanceTimersByTimeAsync(250);
    expect(network.sockets).toHaveLength(5);
    await network.driver.close();
  });

  it("tells of the loss and of the new connection once each, however many attempts it takes", async () => {
    const network = await ScriptedNetwork.connected();
    network.last.lose();
    for (const wait of [250, 500, 1_000]) {
      await vi.advanceTimersByTimeAsync(wait);
      network.last.refuse();
    }
    await vi.advanceTimersByTimeAsync(2_000);
    network.last.welcome();
    await vi.advanceTimersByTimeAsync(0);
    expect(network.heard).toEqual(["reconnecting: connection-lost", "connected"]);
    await network.driver.close();
    expect(network.heard.slice(2)).toEqual(["closed: connection-closed"]);
  });

  it("is of the host that the last welcome names", async () => {
    const network = await ScriptedNetwork.connected();
    network.last.lose();
    expect(network.driver.host).toBe("script");
    await vi.advanceTimersByTimeAsync(250);
    network.last.welcome({ epoch: "e2", host: "other", hypervisor: "qemu" });
    await vi.advanceTimersByTimeAsync(0);
    const { host, hypervisor } = network.driver;
    expect([host, hypervisor]).toEqual(["other", "qemu"]);
    await network.driver.close();
  });

  it("takes a server that welcomes it and closes at once for lost again", async () => {
    const network = await ScriptedNetwork.connected();
    network.last.lose();
    await vi.advanceTimersByTimeAsync(250);
    network.last.welcome();
    network.last.lose(CLOSE_CODES["going-away"]);
    const failure = codeOf(sweep(network, 100));
    await vi.advanceTimersByTimeAsync(500);
    expect(await failure).toBe("connection-lost");
    expect(network.sockets).toHaveLength(3);
    await network.driver.close();
  });

  it("stops waiting when a browser says that it is on line again", async () => {
    const page = new EventTarget();
    vi.stubGlobal("addEventListener", page.addEventListener.bind(page));
    vi.stubGlobal("removeEventListener", page.removeEventListener.bind(page));
    const network = await ScriptedNetwork.connected();
    network.last.lose();
    page.dispatchEvent(new Event("online"));
    await vi.advanceTimersByTimeAsync(0);
    expect(network.sockets).toHaveLength(2);
    // An attempt is under way: that the network is there is nothing new to it.
    page.dispatchEvent(new Event("online"));
    await vi.advanceTimersByTimeAsync(9_000);
    expect(network.sockets).toHaveLength(2);
    await network.driver.close();
    page.dispatchEvent(new Event("online"));
    await vi.advanceTimersByTimeAsync(60_000);
    expect(network.sockets).toHaveLength(2);
  });

  it.each([
    ["bad-message", "protocol-error"],
    ["unauthenticated", "unauthenticated"],
    ["wrong-subprotocol", "wrong-subprotocol"],
    ["too-big", "message-too-big"],
    ["server-error", "internal"],
  ] as const)("does not try again after a close with %s: everything ends with %s", async (reason, code) => {
    const network = await ScriptedNetwork.connected();
    const underWay = [codeOf(sweep(network)), codeOf(watch(network))];
    network.last.lose(CLOSE_CODES[reason]);
    expect(await Promise.all(underWay)).toEqual([code, code]);
    expect(await codeOf(sweep(network))).toBe(code);
    expect(await codeOf(watch(network))).toBe(code);
    expect(vi.getTimerCount()).toBe(0);
    expect([network.sockets.length, network.heard]).toEqual([1, [`closed: ${code}`]]);
    await network.driver.close();
  });

  it("stops trying after an error that waiting cannot fix, and rejects the sweeps that wait", async () => {
    const network = await ScriptedNetwork.connected();
    network.last.lose();
    const waiting = [codeOf(sweep(network)), codeOf(watch(network))];
    await vi.advanceTimersByTimeAsync(250);
    network.last.refuse(401);
    expect(await Promise.all(waiting)).toEqual(["unauthenticated", "unauthenticated"]);
    expect(vi.getTimerCount()).toBe(0);
    expect(network.heard).toEqual(["reconnecting: connection-lost", "closed: unauthenticated"]);
    await network.driver.close();
  });

  it("tries again after any HTTP status but 401 and 403, as of a proxy whose server is being restarted", async () => {
    for (const status of [400, 404, 426, 429, 500, 502, 503]) {
      const network = await ScriptedNetwork.connected();
      network.last.lose();
      await vi.advanceTimersByTimeAsync(250);
      network.last.refuse(status);
      await vi.advanceTimersByTimeAsync(500);
      network.last.welcome();
      await vi.advanceTimersByTimeAsync(0);
      expect([status, ...network.heard]).toEqual([status, "reconnecting: connection-lost", "connected"]);
      await network.driver.close();
    }
    const network = await ScriptedNetwork.connected();
    network.last.lose();
    await vi.advanceTimersByTimeAsync(250);
    network.last.refuse(403);
    await vi.advanceTimersByTimeAsync(0);
    expect(network.heard).toEqual(["reconnecting: connection-lost", "closed: denied"]);
    await network.driver.close();
  });

  it.each([
    ["between two attempts", 100],
    ["in the middle of one", 250],
  ])("leaves no timer and no socket when it is closed %s", async (_, after) => {
    const network = await ScriptedNetwork.connected();
    network.last.lose();
    const waiting = [codeOf(sweep(network)), codeOf(watch(network))];
    await vi.advanceTimersByTimeAsync(after);
    await network.driver.close();
    expect(await Promise.all(waiting)).toEqual(["connection-closed", "connection-closed"]);
    expect(vi.getTimerCount()).toBe(0);
    expect(network.sockets.every((socket) => socket.ended)).toBe(true);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(network.sockets.length).toBe(after < 250 ? 1 : 2);
    expect(await codeOf(sweep(network))).toBe("connection-closed");
    expect(network.heard).toEqual(["reconnecting: connection-lost", "closed: connection-closed"]);
  });

  it("lets a sweep wait as long as its deadline allows, and gives the server what is left of it", async () => {
    const network = await ScriptedNetwork.connected();
    network.last.lose();
    const late = sweep(network, 249);
    const failure = expect(late).rejects.toMatchObject({
      code: "connection-lost",
      retryable: true,
      message: expect.stringMatching(/server\.example cannot be reached: .*connection broke/),
      cause: { code: "connection-lost" },
    });
    const patient = codeOf(sweep(network, 1_000));
    await vi.advanceTimersByTimeAsync(250);
    await failure;
    network.last.welcome();
    await vi.advanceTimersByTimeAsync(0);
    expect(network.last.ofType("get")).toMatchObject([{ id: 1, deadlineMs: 750 }]);
    await network.driver.close();
    expect(await patient).toBe("connection-closed");
  });

  it("forgets a sweep that is aborted while it waits", async () => {
    const network = await ScriptedNetwork.connected();
    network.last.lose();
    const abort = new AbortController();
    const waiting = network.driver
      .sweep(checkQuery(), { signal: abort.signal, expect: () => {} })
      [Symbol.asyncIterator]()
      .next();
    abort.abort();
    expect(await waiting).toEqual({ done: true, value: undefined });
    await vi.advanceTimersByTimeAsync(250);
    network.last.welcome();
    await vi.advanceTimersByTimeAsync(0);
    expect(network.last.ofType("get")).toEqual([]);
    await network.driver.close();
  });
});

describe("A remote driver that never had a connection", () => {
  it("does not try again", async () => {
    const network = new ScriptedNetwork();
    const failure = codeOf(network.driver.opened());
    network.last.refuse();
    expect(await failure).toBe("connection-refused");
    await vi.advanceTimersByTimeAsync(60_000);
    expect([network.sockets.length, vi.getTimerCount()]).toEqual([1, 0]);
  });

  it("opens nothing when it is aborted before", async () => {
    const reason = new Error("changed my mind");
    const network = new ScriptedNetwork({ signal: AbortSignal.abort(reason) });
    await expect(network.driver.opened()).rejects.toBe(reason);
    expect(network.sockets).toEqual([]);
  });
});
