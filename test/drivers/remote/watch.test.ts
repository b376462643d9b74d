import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Connection } from "../../../src/client/connection.ts";
import { type ErrorCode, VirstreamError } from "../../../src/model/error.ts";
import { checkQuery } from "../../../src/model/query.ts";
import { checkCadence, type WatchEvent } from "../../../src/model/watch.ts";
import { CLOSE_CODES, LIMITS } from "../../../src/wire/protocol.ts";
import { CollectingSink } from "../../sampling/collecting-sink.ts";
import { until } from "../../until.ts";
import { ScriptedChannel } from "./scripted-channel.ts";
import { ScriptedNetwork, type ScriptedSocket } from "./scripted-socket.ts";

beforeEach(() => {
  vi.useFakeTimers();
  vi.spyOn(Math, "random").mockReturnValue(1);
});

afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

/** What an event is, in a word or two. */
function word(event: WatchEvent): string {
  switch (event.type) {
    case "record":
      return `${event.record.domain.name}=${event.record.params.get("cpu.time")}`;
    case "gone":
      return `${event.domain.name} gone`;
    case "sync":
      return `tick ${event.tick}`;
    case "gap":
      return `gap ${event.reason} ${event.skipped}`;
    case "status":
      return event.error === undefined ? event.state : `${event.state} ${event.error.code}`;
  }
}

/** A watch, and what it has pushed. */
class Watching {
  readonly sink = new CollectingSink();
  /** All that it has pushed, also what was taken. */
  readonly events: WatchEvent[] = [];
  readonly stop: () => void;

  constructor({ driver }: ScriptedNetwork) {
    this.stop = driver.watch(checkQuery(), checkCadence({ intervalMs: 100 }), this.sink);
  }

  /** What it ended with; undefined: it has not. */
  get end(): string | undefined {
    return this.sink.error?.code;
  }

  /** The words since the last look. */
  take(): string[] {
    const events = this.sink.take();
    this.events.push(...events);
    return events.map(word);
  }
}

/** A watch that has had its first tick over its first connection. */
async function watching(options: { creditBytes?: number } = {}) {
  const network = await ScriptedNetwork.connected(options);
  const channel = new ScriptedChannel();
  channel.sweep();
  const watch = new Watching(network);
  channel.snapshot(network.last, 1);
  expect([watch.end, ...watch.take()]).toEqual([undefined, "domain-0=1", "tick 1"]);
  return { network, channel, watch };
}

/** Loses the connection, and makes the next one. */
async function reconnect(network: ScriptedNetwork, about?: { epoch: string }): Promise<ScriptedSocket> {
  const { length } = network.sockets;
  network.last.lose();
  while (network.sockets.length === length) await vi.advanceTimersByTimeAsync(250);
  network.last.welcome(about);
  await vi.advanceTimersByTimeAsync(0);
  return network.last;
}

function end(socket: ScriptedSocket, id: number, code?: ErrorCode): void {
  const error = code && new VirstreamError(code, "scripted").toJSON();
  socket.say(socket.end.say({ type: "end", id, ...(error && { error }) }));
}

describe("A watch at a server", () => {
  it("asks for what it was given, at once", async () => {
    const network = await ScriptedNetwork.connected({ creditBytes: 5_000 });
    const cadence = checkCadence({ intervalMs: 250, mode: "on-change", heartbeatMs: 1_000 });
    network.driver.watch(checkQuery({ groups: ["vcpu"] }), cadence, new CollectingSink());
    expect(network.last.ofType("watch")).toEqual([
      {
        ...{ type: "watch", id: 1, credit: 5_000, groups: 8, flags: 0, deadlineMs: 2_000 },
        ...{ intervalMs: 250, mode: "on-change", heartbeatMs: 1_000 },
      },
    ]);
    await network.driver.close();
  });

  it("flushes after each message, when all of it is in the sink", async () => {
    const { network, channel, watch } = await watching();
    const { flushes } = watch.sink;
    const seen: number[] = [];
    watch.sink.flush = () => void seen.push(watch.sink.events.length);
    channel.sweepTo(network.last, 3);
    expect([flushes > 0, seen]).toEqual([true, [3, 4]]);
    await network.driver.close();
  });

  it("delivers the state, and then each tick, of domains that are the driver's", async () => {
    const { network, channel, watch } = await watching();
    channel.sweepTo(network.last);
    channel.sweepTo(network.last, 2);
    expect(watch.take()).toEqual(["domain-0=2", "tick 2", "domain-1=3", "domain-0=3", "tick 3"]);
    const records = watch.events.flatMap((event) => (event.type === "record" ? [event.record] : []));
    expect(checkQuery({ domains: records.map(({ domain }) => domain) }, network.driver).domains).toHaveLength(2);
    await network.driver.close();
  });

  it("continues after a loss where it stood, by its since, and delivers every tick once", async () => {
    const { network, channel, watch } = await watching();
    const sequence = channel.sequence;
    channel.sweep();
    channel.sweep();
    const socket = await reconnect(network);
    expect(socket.ofType("watch")).toMatchObject([{ id: 1, since: { epoch: "e1", channel: 5, sequence } }]);
    channel.resume(socket, 1, sequence);
    channel.sweepTo(socket);
    expect(watch.take()).toEqual([
      ...["reconnecting connection-lost", "connected"],
      ...["domain-0=2", "tick 2", "domain-0=3", "tick 3", "domain-0=4", "tick 4"],
    ]);
    await network.driver.close();
  });

  it("tells how many ticks were skipped where the server remembers too little", async () => {
    const { network, channel, watch } = await watching();
    for (let i = 0; i < 4; i++) channel.sweep();
    channel.snapshot(await reconnect(network), 1);
    expect(watch.take()).toEqual([
      ...["reconnecting connection-lost", "connected", "gap reconnected 3", "domain-0=5", "tick 5"],
    ]);
    await network.driver.close();
  });

  it("leaves since out for a server that was started again, and does not know how many ticks were skipped", async () => {
    const { network, watch } = await watching();
    const socket = await reconnect(network, { epoch: "e2" });
    expect(socket.ofType("watch")[0]).not.toHaveProperty("since");
    const channel = new ScriptedChannel();
    channel.sweep(2);
    channel.snapshot(socket, 1);
    expect(watch.take()).toEqual([
      ...["reconnecting connection-lost", "connected", "gap reconnected undefined"],
      // The first domain's record is the one that was told: the scripted times are those of the tick.
      ...["domain-1=1", "tick 1"],
    ]);
    await network.driver.close();
  });

  it("does not take up the ticks of an epoch again that it has given up", async () => {
    const { network, channel, watch } = await watching();
    await reconnect(network, { epoch: "e2" });
    const socket = await reconnect(network, { epoch: "e1" });
    expect(socket.ofType("watch")[0]).not.toHaveProperty("since");
    channel.sweep();
    channel.snapshot(socket, 1);
    expect(watch.take()).toEqual([
      ...["reconnecting connection-lost", "connected", "gap reconnected undefined", "domain-0=2", "tick 2"],
    ]);
    await network.driver.close();
  });

  it("leaves since out when it was cut off in the middle of a snapshot", async () => {
    const network = await ScriptedNetwork.connected();
    new Watching(network);
    const begin = { type: "begin", id: 1, channel: 5, sequence: 0, resumed: false } as const;
    network.last.say(network.last.end.say({ ...begin, domains: 1, statuses: [], complete: false }));
    const socket = await reconnect(network);
    expect(socket.ofType("watch")[0]).not.toHaveProperty("since");
    await network.driver.close();
  });

  it("tells of an outage once, however often the connection comes and goes, until the server answers", async () => {
    const { network, channel, watch } = await watching();
    const { sequence } = channel;
    for (let i = 0; i < 20; i++) await reconnect(network);
    expect(watch.take()).toEqual(["reconnecting connection-lost"]);
    channel.resume(network.last, 1, sequence);
    expect(watch.take()).toEqual(["connected"]);
    await network.driver.close();
  });

  it("tells that there is no connection when it begins without one", async () => {
    const network = await ScriptedNetwork.connected();
    network.last.lose();
    const watch = new Watching(network);
    expect(watch.take()).toEqual(["reconnecting connection-lost"]);
    await vi.advanceTimersByTimeAsync(250);
    network.last.welcome();
    await vi.advanceTimersByTimeAsync(0);
    const channel = new ScriptedChannel();
    channel.sweep();
    channel.snapshot(network.last, 1);
    expect(watch.take()).toEqual(["connected", "domain-0=1", "tick 1"]);
    await network.driver.close();
  });
});

describe("The credit of a watch", () => {
  it("goes back as its messages are applied", async () => {
    const network = await ScriptedNetwork.connected({ creditBytes: 100 });
    const channel = new ScriptedChannel();
    new Watching(network);
    const given = () => network.last.ofType("credit").reduce((sum, { bytes }) => sum + (bytes as number), 0);
    expect(given()).toBe(0);
    channel.snapshot(network.last, 1);
    for (let i = 0; i < 10; i++) {
      channel.sweepTo(network.last, 3);
      const taken = channel.messages.reduce((sum, { bytes }) => sum + bytes, 0);
      expect(given()).toBeGreaterThan(taken - 50);
      expect(given()).toBeLessThanOrEqual(taken);
    }
    expect(network.last.ofType("credit").every(({ id }) => id === 1)).toBe(true);
    await network.driver.close();
  });

  it("of one connection is not given back over the next", async () => {
    const { network, channel } = await watching({ creditBytes: 10 });
    const { sequence } = channel;
    const socket = await reconnect(network);
    expect(socket.ofType("credit")).toEqual([]);
    channel.resume(socket, 1, sequence);
    expect(socket.ofType("credit")).toEqual([]);
    await network.driver.close();
  });

  it("is not what bounds the queue of a consumer that does not pull: it gets a gap, and the newest state", async () => {
    for (const domains of [0, 2]) {
      const network = await ScriptedNetwork.connected();
      const connection = new Connection(network.driver);
      const events = connection.watch().events.chunks()[Symbol.asyncIterator]();
      const first = events.next();
      await until(() => network.last.ofType("watch").length > 0);
      const channel = new ScriptedChannel();
      channel.sweep(domains);
      channel.snapshot(network.last, 1);
      await first;
      for (let i = 0; i < 6_000; i++) channel.sweepTo(network.last, domains);
      const { sequence } = channel;
      channel.resume(await reconnect(network), 1, sequence);
      const { value } = await events.next();
      const records = domains === 0 ? [] : ["domain-0=6001", "domain-1=6001"];
      expect(value.map(word)).toEqual(["gap slow-consumer 5999", "connected", ...records, "tick 6001"]);
      await connection.close();
    }
  });
});

describe("The end of a watch", () => {
  it.each(["invalid-argument", "unsupported", "denied", "internal"] as const)("by %s is the sink's", async (code) => {
    const { network, watch } = await watching();
    end(network.last, 1, code);
    expect([watch.end, watch.take()]).toEqual([code, []]);
    expect(vi.getTimerCount()).toBe(1);
    await network.driver.close();
    expect(vi.getTimerCount()).toBe(0);
  });

  it.each(["server-shutdown", "limit-exceeded", "hypervisor-error", undefined] as const)(
    "by %s is followed by further requests, each after a longer wait, and by one status event",
    async (code) => {
      const { network, channel, watch } = await watching();
      const { sequence } = channel;
      for (const [attempt, wait] of [250, 500, 1_000].entries()) {
        end(network.last, attempt + 1, code);
        await vi.advanceTimersByTimeAsync(wait - 1);
        expect(network.last.ofType("watch")).toHaveLength(attempt + 1);
        await vi.advanceTimersByTimeAsync(1);
        expect(network.last.ofType("watch")).toHaveLength(attempt + 2);
      }
      expect(network.last.ofType("watch").at(-1)).toMatchObject({ id: 4, since: { sequence } });
      channel.sweep();
      channel.resume(network.last, 4, sequence);
      expect(watch.take()).toEqual([`reconnecting ${code ?? "server-shutdown"}`, "connected", "domain-0=2", "tick 2"]);
      await network.driver.close();
    },
  );

  it("by slow-consumer is followed by another request at once, and the subscriber gets only the gap", async () => {
    const { network, channel, watch } = await watching();
    end(network.last, 1, "slow-consumer");
    const [, again] = network.last.ofType("watch");
    expect(again).toMatchObject({ id: 2, since: { sequence: channel.sequence } });
    for (let i = 0; i < 3; i++) channel.sweep();
    channel.snapshot(network.last, 2);
    expect(watch.take()).toEqual(["gap slow-consumer 2", "domain-0=4", "tick 4"]);
    await network.driver.close();
  });

  it("by slow-consumer, again and again without anything between, is not answered in a loop", async () => {
    const { network } = await watching();
    end(network.last, 1, "slow-consumer");
    end(network.last, 2, "slow-consumer");
    expect(network.last.ofType("watch")).toHaveLength(2);
    await vi.advanceTimersByTimeAsync(250);
    expect(network.last.ofType("watch")).toHaveLength(3);
    await network.driver.close();
  });

  it("comes after what was sent before it", async () => {
    const network = await ScriptedNetwork.connected();
    const channel = new ScriptedChannel();
    const watch = new Watching(network);
    channel.snapshot(network.last, 1);
    channel.sweepTo(network.last);
    network.last.lose(CLOSE_CODES.unauthenticated);
    expect([watch.end, watch.take()]).toEqual(["unauthenticated", ["domain-0=1", "tick 1"]]);
    await network.driver.close();
  });

  it("by the driver's close is connection-closed", async () => {
    const { network, watch } = await watching();
    await network.driver.close();
    expect(watch.end).toBe("connection-closed");
    expect(vi.getTimerCount()).toBe(0);
  });

  it("by its stop cancels it once, and what is still under way means nothing", async () => {
    const { network, channel, watch } = await watching();
    watch.stop();
    watch.stop();
    channel.sweepTo(network.last);
    end(network.last, 1);
    expect(network.last.ofType("cancel")).toEqual([{ type: "cancel", id: 1 }]);
    expect([watch.end, watch.take(), network.last.ended]).toEqual([undefined, [], false]);
    await network.driver.close();
    expect(watch.end).toBeUndefined();
  });

  it("by its stop within a call drops the rest of the message", async () => {
    const { network, channel, watch } = await watching();
    const { flushes } = watch.sink;
    watch.sink.record = (record) => {
      watch.sink.event({ type: "record", record });
      watch.stop();
    };
    channel.sweepTo(network.last, 3);
    expect([watch.take(), watch.sink.flushes]).toEqual([["domain-1=2"], flushes]);
    expect(network.last.ofType("cancel")).toEqual([{ type: "cancel", id: 1 }]);
    await network.driver.close();
  });

  it.each([
    ["during an outage", async (network: ScriptedNetwork) => network.last.lose()],
    ["during a wait of its own", async (network: ScriptedNetwork) => end(network.last, 1, "limit-exceeded")],
  ])("by its stop %s leaves nothing behind, and is sent nowhere", async (_, outage) => {
    const { network, watch } = await watching();
    await outage(network);
    watch.stop();
    await vi.advanceTimersByTimeAsync(250);
    if (network.sockets.length > 1) network.last.welcome();
    await vi.advanceTimersByTimeAsync(60_000);
    expect(network.sockets.flatMap((socket) => socket.ofType("watch"))).toHaveLength(1);
    await network.driver.close();
    expect(vi.getTimerCount()).toBe(0);
  });

  it("comes at once for one whose signal was aborted before it began", async () => {
    const network = await ScriptedNetwork.connected();
    const connection = new Connection(network.driver);
    expect(await connection.watch({}, { signal: AbortSignal.abort() }).toArray()).toEqual([]);
    expect(network.last.ofType("watch")).toEqual([]);
    await connection.close();
  });

  it("is message-too-big for a query that is larger than the protocol carries", async () => {
    const network = await ScriptedNetwork.connected();
    const domains = Array.from({ length: 10_000 }, (_, i) => `${i}`.padEnd(LIMITS.request / 10_000, "x"));
    const sink = new CollectingSink();
    network.driver.watch(checkQuery({ domains }), checkCadence(), sink);
    expect(sink.error?.code).toBe("message-too-big");
    await network.driver.close();
  });
});
