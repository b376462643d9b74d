import { once } from "node:events";
import { setImmediate as turn } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { WebSocket, WebSocketServer } from "ws";
import { PacedSocket } from "../../src/server/bounds/paced-socket.ts";
import { own, owned } from "../owned.ts";
import { until } from "../until.ts";

/** A pair of sockets, of which the first is a PacedSocket. */
async function pair(): Promise<{ paced: PacedSocket; other: WebSocket }> {
  const server = own(new WebSocketServer({ port: 0, host: "127.0.0.1", WebSocket: PacedSocket, autoPong: false }));
  await once(server, "listening");
  const other = new WebSocket(`ws://127.0.0.1:${(server.address() as { port: number }).port}`);
  owned.push(() => other.terminate());
  const [[paced]] = (await Promise.all([once(server, "connection"), once(other, "open")])) as [[PacedSocket], unknown];
  return { paced, other };
}

/** Counts how often something happens in a turn of the event loop. */
class Turns implements Disposable {
  most = 0;
  #inTurn = 0;
  #next = setImmediate(() => this.#begin());

  use(): void {
    this.most = Math.max(this.most, ++this.#inTurn);
  }

  [Symbol.dispose](): void {
    clearImmediate(this.#next);
  }

  #begin(): void {
    this.#inTurn = 0;
    this.#next = setImmediate(() => this.#begin());
  }
}

describe("a paced socket", () => {
  it("emits messages in turns of their own, in their order, and its close after them", async () => {
    const { paced, other } = await pair();
    const heard: string[] = [];
    using turns = new Turns();
    paced.on("message", (data) => {
      turns.use();
      heard.push(String(data));
    });
    paced.on("close", () => heard.push("close"));
    const sent = Array.from({ length: 500 }, (_, i) => String(i));
    for (const text of sent) other.send(text);
    other.close();
    await until(() => heard.at(-1) === "close");
    expect(heard).toEqual([...sent, "close"]);
    expect(turns.most).toBe(1);
  });

  it("stays paused when it was paused while messages wait, until it is resumed", async () => {
    const { paced, other } = await pair();
    let heard = 0;
    paced.on("message", () => {
      if (++heard === 1) paced.pause();
    });
    for (let i = 0; i < 5; i++) other.send("x");
    await until(() => heard > 0);
    for (let i = 0; i < 50; i++) other.send("x".repeat(10_000));
    for (let turns = 0; turns < 200; turns++) await turn();
    expect(heard).toBeLessThan(55);
    paced.resume();
    await until(() => heard === 55);
  });

  it("answers pings as long as the other end reads the answers, and keeps few that wait", async () => {
    const { paced, other } = await pair();
    const pong = once(other, "pong");
    other.ping("x");
    expect(String((await pong)[0])).toBe("x");
    other.pause();
    let [pings, most] = [0, 0];
    paced.on("ping", () => {
      pings++;
      most = Math.max(most, paced.bufferedAmount);
    });
    const payload = "x".repeat(125);
    for (let i = 0; i < 100_000; i++) other.ping(payload);
    await until(() => pings === 100_000);
    expect(most).toBeLessThan(100_000);
  });
});
