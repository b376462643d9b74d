/** @module-tag any-node */

import { once } from "node:events";
import { setImmediate as turn } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { CLOSE_CODES, LIMITS } from "../../src/wire/protocol.ts";
import { own } from "../owned.ts";
import { until } from "../until.ts";
import { decoderOf } from "../wire/decoding.ts";
import { connectTo, HELLO, plenty, rawClient, startServer } from "./serving.ts";
import { TickingHost } from "./ticking-host.ts";
import { WatchClient } from "./watch-client.ts";

const TIMEOUT_MS = 300;
/** The process stands still, as after SIGSTOP, until all its timeouts are over. What was sent before is in its sockets. */
const pause = () => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2_500);

describe("after a pause of the whole process, a server", () => {
  it("does not end a sweep whose client gave credit in time", async () => {
    const driver = plenty(3_000);
    const server = await startServer(driver, { limits: { progressTimeoutMs: TIMEOUT_MS } });
    const { socket } = await rawClient(server);
    const decoder = decoderOf();
    const ends: (string | undefined)[] = [];
    let records = 0;
    socket.on("message", (data: Buffer) => {
      const message = decoder.decode(data);
      if (message.type === "records") records++;
      if (message.type === "end") ends.push(message.error?.code);
    });
    socket.send(HELLO);
    socket.send('{"type":"get","id":1,"credit":1}');
    await until(() => records > 0);
    // The sweep fills its next message, and then waits for credit.
    for (let before = -1; before !== driver.pulled; ) {
      before = driver.pulled;
      for (let i = 0; i < 50; i++) await turn();
    }
    socket.send(JSON.stringify({ type: "credit", id: 1, bytes: LIMITS.credit / 2 }));
    pause();
    await until(() => ends.length > 0);
    expect(ends).toEqual([undefined]);
  });

  it("does not end a watch whose client gave credit in time", async () => {
    const host = own(new TickingHost());
    const server = await host.serve({ limits: { progressTimeoutMs: TIMEOUT_MS, minIntervalMs: 10 } });
    const client = await WatchClient.connect(server);
    own({ close: () => client.socket.terminate() });
    const watch = client.watch(1, { credit: 1, gives: false, intervalMs: 10 });
    await client.settled();
    await host.tick(3, 10);
    await client.settled();
    client.grant(watch, LIMITS.credit / 2);
    pause();
    await until(() => watch.ended || watch.ticks.includes(3));
    expect(watch.error).toBeUndefined();
  });

  it("does not close a connection whose hello came in time", async () => {
    const server = await startServer(plenty(1), { limits: { helloTimeoutMs: TIMEOUT_MS } });
    const { socket, closed } = await rawClient(server);
    socket.send(HELLO);
    pause();
    const first = await Promise.race([once(socket, "message"), closed]);
    expect(first[0]).not.toBe(CLOSE_CODES["hello-timeout"]);
  });
});

describe("after a pause of the whole process, a client", () => {
  it("does not lose its connection to a server that was not silent", async () => {
    const server = await startServer(plenty(1), { limits: { beatMs: 400 } });
    const connection = await connectTo(server.url);
    const states: string[] = [];
    connection.driver.onStatus?.(({ state }) => states.push(state));
    await connection.getAllDomainStats();
    pause();
    const { bytesSent } = server.stats();
    await until(() => server.stats().bytesSent > bytesSent + 100);
    expect(states).toEqual([]);
    expect(server.stats().clientsAccepted).toBe(1);
  });
});
