import { describe, expect, it } from "vitest";
import { type Connection, connect, connectAll, type WatchEvent } from "../../src/index.ts";
import { serve } from "../../src/server/index.ts";
import { codeOf } from "../code-of.ts";
import { own } from "../owned.ts";
import { until } from "../until.ts";

/** Each domain takes long enough that a sweep is under way for a while. */
const SLOW = "test:///default?domains=20&latency=100";

/** The same host in this process, behind a server, and as one of several. */
const ways: [string, (uri: string) => Promise<Connection>][] = [
  ["in this process", async (uri) => own(await connect(uri))],
  [
    "over a server",
    async (uri) => {
      const server = own(await serve(own(await connect(uri)), { port: 0, limits: { minIntervalMs: 10 } }));
      return own(await connect(server.url));
    },
  ],
  ["as one of several hosts", async (uri) => own(await connectAll([uri, "test:///default?host=other&domains=2"]))],
];

describe.each(ways)("A connection %s that is drained", (_, open) => {
  it("lets sweeps under way end whole, and refuses new ones at once", async () => {
    const connection = await open(SLOW);
    const whole = await connection.getAllDomainStats();
    let begun = 0;
    const stream = connection.stats();
    const sweep = stream.forEach(() => void begun++);
    await until(() => begun > 0);
    const closing = connection.close({ drain: true });
    expect(await codeOf(connection.getAllDomainStats())).toBe("connection-closed");
    expect(await codeOf(() => connection.watch())).toBe("connection-closed");
    expect(await codeOf(stream.toArray())).toBe("connection-closed");
    await sweep;
    expect(begun).toBe(whole.length);
    await closing;
    expect(await connection.closed).toBe(undefined);
  });

  it("delivers the rest of the sweep that a watch is in, up to its sync, and completes the watch", async () => {
    const connection = await open(SLOW);
    const events: WatchEvent[] = [];
    const watch = connection.watch({}, { intervalMs: 200 }).events.forEach((event) => void events.push(event));
    const syncs = () => events.filter(({ type }) => type === "sync").length;
    const halfway = () => {
      const last = events.at(-1);
      return syncs() >= 2 && last?.type === "record" && last.record.domain.host !== "other";
    };
    await until(halfway);
    await connection.close({ drain: true });
    await watch;
    const last = events.findLastIndex(({ type }) => type === "sync");
    const after = events.slice(last + 1);
    expect(after).toEqual([]);
  });

  it("is closed at once by a second close() without drain", async () => {
    const connection = await open("test:///default?domains=20&latency=600000");
    const sweep = codeOf(connection.getAllDomainStats({ deadlineMs: 600_000 }));
    const closing = connection.close({ drain: true });
    await connection.close();
    await closing;
    expect(await sweep).toBe("connection-closed");
  });
});

describe("Draining a connection", () => {
  it("ends at the deadlines although a consumer does not read", async () => {
    const connection = own(await connect("test:///default?domains=5"));
    const reader = connection.stats({ deadlineMs: 10 })[Symbol.asyncIterator]();
    await reader.next();
    await connection.close({ drain: true });
    expect(await connection.closed).toBe(undefined);
  });

  it("takes nothing but true and false", async () => {
    const connection = own(await connect("test:///default"));
    expect(await codeOf(connection.close({ drain: "yes" } as never))).toBe("invalid-argument");
    expect(await codeOf(connection.close({ drian: true } as never))).toBe("invalid-argument");
    expect(await connection.getAllDomainStats()).not.toEqual([]);
  });
});
