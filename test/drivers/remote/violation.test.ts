import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Connection } from "../../../src/client/connection.ts";
import { VirstreamError } from "../../../src/model/error.ts";
import { DomainStatsRecord } from "../../../src/model/record.ts";
import type { WireSummary } from "../../../src/wire/messages.ts";
import { DEFAULT_CREDIT } from "../../../src/wire/protocol.ts";
import { sample } from "../../sampling/sample.ts";
import { ScriptedNetwork } from "./scripted-socket.ts";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

const codeOf = (work: Promise<unknown>): Promise<string> =>
  work.then(
    () => "none",
    (error) => VirstreamError.from(error).code,
  );

const summaryOf = (domains: number): WireSummary => ({
  ...{ domains, ok: domains, partial: 0, failed: 0, gone: 0 },
  ...{ startedAt: 0, tookMs: 1 },
});

/** The record of a name that no host has. */
const missing = (name: string) => sample({ uuid: 0, name, status: "gone", reason: "unknown" });

/** A client with a sweep, whose id is 1. */
async function sweeping(creditBytes?: number) {
  const network = await ScriptedNetwork.connected(creditBytes === undefined ? {} : { creditBytes });
  const connection = new Connection(network.driver);
  const sweep = codeOf(connection.getAllDomainStats());
  await vi.advanceTimersByTimeAsync(0);
  const { last: server } = network;
  return {
    ...{ network, connection, sweep, server },
    begin: () => server.say(server.end.say({ type: "begin", id: 1, domains: 1 })),
    records: (...records: DomainStatsRecord[]) => server.say(server.end.rows(1, records).messages),
    finish: (domains: number, id = 1) => server.say(server.end.say({ type: "end", id, summary: summaryOf(domains) })),
  };
}

describe("a client", () => {
  it("ends a sweep that the server carried out as the protocol says", async () => {
    const { begin, records, finish, sweep, connection } = await sweeping();
    begin();
    records(sample());
    finish(1);
    expect(await sweep).toBe("none");
    await connection.close();
  });

  it.each<[string, (client: Awaited<ReturnType<typeof sweeping>>) => void]>([
    ["text in the binary profile", ({ server }) => server.onmessage?.({ data: '{"type":"beat"}' })],
    ["a second welcome", ({ server }) => server.welcome()],
    ["a second begin of a sweep", ({ begin }) => [begin(), begin()]],
    ["records of an id that is not in use", ({ server }) => server.say(server.end.rows(7, [sample()]).messages)],
    ["an end of an id that is not in use", ({ finish }) => finish(0, 7)],
    ["a second end of a sweep", ({ finish }) => [finish(0), finish(0)]],
    ["an end whose summary counts other records than came", ({ records, finish }) => [records(sample()), finish(2)]],
    [
      "a second record of a domain",
      ({ records }) => [records(sample({ uuid: 1 })), records(sample({ uuid: 1, index: 1 }))],
    ],
    ["a second record of a name that no host has", ({ records }) => records(missing("a"), missing("b"), missing("a"))],
    ["an end with neither a summary nor an error", ({ server }) => server.say(server.end.say({ type: "end", id: 1 }))],
  ])("calls %s a protocol-error, and closes the connection", async (_, violate) => {
    const client = await sweeping();
    violate(client);
    await client.sweep;
    expect(client.network.heard).toEqual(["closed: protocol-error"]);
    expect(await codeOf(client.connection.getAllDomainStats())).toBe("protocol-error");
    await client.connection.close();
  });

  it("calls a message before the welcome a protocol-error", async () => {
    const network = new ScriptedNetwork();
    const opened = codeOf(network.driver.opened());
    network.last.onopen?.({} as never);
    network.last.say(network.last.end.say({ type: "beat" }));
    expect(await opened).toBe("protocol-error");
    await network.driver.close();
  });

  it("takes no more bytes of records than its credit and one more message while its application does not read", async () => {
    const { network, server, connection } = await sweeping(1_000);
    // A consumer that does not pull.
    const iterator = connection.stats().chunks()[Symbol.asyncIterator]();
    const first = codeOf(iterator.next());
    await vi.advanceTimersByTimeAsync(0);
    const batch = server.end.rows(
      2,
      Array.from({ length: 3 }, (_, i) => sample({ uuid: i + 1 })),
    ).messages;
    let sent = 0;
    while (network.heard.length === 0 && sent < 100_000) {
      server.say(batch);
      sent += batch.at(-1)!.length;
    }
    expect(network.heard).toEqual(["closed: protocol-error"]);
    expect(sent).toBeLessThanOrEqual(1_000 + 2 * batch.at(-1)!.length);
    await first;
    await connection.close();
  });

  it("keeps a bounded amount of records that wait, however far the server's small messages expand", async () => {
    const { network, server, connection } = await sweeping();
    // A consumer that does not pull.
    const iterator = connection.stats().chunks()[Symbol.asyncIterator]();
    const first = codeOf(iterator.next());
    await vi.advanceTimersByTimeAsync(0);
    const keys = Array.from({ length: 10_000 }, (_, i) => `k${i}`);
    const alike = sample({ cells: keys.map(() => 0), types: keys.map(() => 4) });
    const records = Array.from({ length: 100 }, (_, i) => new DomainStatsRecord({ ...alike, index: i }));
    const messages = server.end.rows(2, records).messages;
    let sent = 0;
    for (let i = 0; i < 1_000 && network.heard.length === 0; i++) {
      server.say(i === 0 ? messages : messages.slice(-1));
      sent += messages.at(-1)!.length;
    }
    expect(network.heard).toEqual(["closed: protocol-error"]);
    expect(sent).toBeLessThan(DEFAULT_CREDIT);
    await first;
    await connection.close();
  });

  it("takes records of two hosts that have a domain of one uuid, and of two names that no host has", async () => {
    const { records, finish, sweep, connection } = await sweeping();
    records(sample(), sample({ host: "hv2", index: 2 }), missing("a"), missing("b"));
    finish(4);
    expect(await sweep).toBe("none");
    await connection.close();
  });

  it("gives up a sweep for which the server sends nothing but beats, and keeps the connection", async () => {
    const { network, server, sweep, connection } = await sweeping();
    let ended = "";
    void sweep.then((code) => {
      ended = code;
    });
    for (let hour = 0; hour < 2; hour++) {
      await vi.advanceTimersByTimeAsync(1_800_000);
      server.say(server.end.say({ type: "beat" }));
      await vi.advanceTimersByTimeAsync(1_800_000);
    }
    expect(ended).toBe("connection-lost");
    expect(server.ofType("cancel")).toEqual([{ type: "cancel", id: 1 }]);
    expect(network.heard).toEqual([]);
    await connection.close();
  });

  it("waits for a sweep whose own consumer holds it up, however long that takes", async () => {
    const { network, server, sweep, connection, finish } = await sweeping(1_000);
    finish(0);
    await sweep;
    const iterator = connection.stats().chunks()[Symbol.asyncIterator]();
    const first = iterator.next();
    await vi.advanceTimersByTimeAsync(0);
    server.say(server.end.rows(2, [sample()]).messages);
    expect((await first).value).toHaveLength(1);
    for (let i = 0; i < 8; i++) {
      const { messages } = server.end.rows(2, [sample({ uuid: i + 2 })]);
      if (i === 0) server.say(messages);
      await vi.advanceTimersByTimeAsync(900_000);
      server.say(server.end.say({ type: "beat" }));
    }
    expect((await iterator.next()).value).toHaveLength(1);
    expect(network.heard).toEqual([]);
    await iterator.return?.();
    await connection.close();
  });
});
