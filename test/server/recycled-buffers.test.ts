import { once } from "node:events";
import { expect, it } from "vitest";
import type { DomainStatsRecord } from "../../src/model/record.ts";
import { MessageDecoder } from "../../src/wire/message-decoder.ts";
import { ServerClock } from "../../src/wire/server-clock.ts";
import { until } from "../until.ts";
import { distinctText } from "./distinct-text.ts";
import { connectTo, HELLO, plenty, rawClient, startServer } from "./serving.ts";

const DOMAINS = 5_000;

/** The records whose text is not the one that their domain has. */
const wrong = (records: readonly DomainStatsRecord[]) =>
  records.filter(({ index, params }) => params.get("block.0.path") !== distinctText(index, 1_000));

it("A sweep's messages that wait for a reader stay as they are while the server sends other sweeps", async () => {
  const server = await startServer(plenty(DOMAINS), { limits: { sweepsPerSecond: 1_000 } });
  const slow = await rawClient(server);
  const decoder = new MessageDecoder({}, new ServerClock(() => 0));
  const records: DomainStatsRecord[] = [];
  let [received, ended] = [0, false];
  slow.socket.on("message", (data: Buffer) => {
    received++;
    const message = decoder.decode(data);
    if (message.type === "records") records.push(...message.records);
    if (message.type === "end") ended = true;
  });
  slow.socket.send(HELLO);
  await once(slow.socket, "message");
  slow.socket.send(JSON.stringify({ type: "get", id: 1, query: {}, credit: 100_000_000 }));
  await until(() => received >= 4);
  slow.socket.pause();
  const connection = await connectTo(server.url);
  for (let sweep = 0; sweep < 5; sweep++) {
    const others = await connection.getAllDomainStats();
    expect([others.length, wrong(others)]).toEqual([DOMAINS, []]);
  }
  expect(records.length).toBeLessThan(DOMAINS);
  slow.socket.resume();
  await until(() => ended);
  expect([records.length, wrong(records)]).toEqual([DOMAINS, []]);
});
