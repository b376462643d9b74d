import { connect } from "../src/client/connect.ts";
import type { Connection } from "../src/client/connection.ts";
import { registerDriver } from "../src/driver/registry.ts";
import { openRemote } from "../src/drivers/remote/node-driver.ts";
import type { DomainStatsRecord } from "../src/model/record.ts";
import { MessageDecoder } from "../src/wire/message-decoder.ts";
import { ServerClock } from "../src/wire/server-clock.ts";
import { unpack } from "../src/wire/unpack.ts";
import { answerCalls, peakMemory } from "./calls.ts";
import { connectPlain } from "./plain-socket.ts";
import { GROUPS } from "./records.ts";

/** Ways to read a large sweep: two that keep no record, one that collects all, and the peer's single answer. */
export type Reading = "for-await" | "observable" | "collect" | "batch";

export interface LargeFigures {
  /** The time from the request until the application has the first record, in ms. */
  readonly firstMs: number;
  readonly totalMs: number;
  readonly peakMemory: number;
}

interface ReadRequest {
  readonly reading: Reading;
  readonly url: string;
  readonly domains: number;
  /** How many sweeps the client reads, one after the other; a batch is always one sweep. */
  readonly sweeps: number;
}

registerDriver("ws", openRemote);

const calls = {
  async read({ reading, url, domains, sweeps }: ReadRequest): Promise<LargeFigures> {
    if (reading === "batch") return readBatch(url, domains);
    await using connection = await connect(url);
    const start = performance.now();
    let first = 0;
    let records = 0;
    const touch = ({ params }: DomainStatsRecord): void => {
      if (records++ === 0) first = performance.now();
      if (params.number("cpu.time") === undefined) throw new Error("a record has no cpu.time");
    };
    for (let sweep = 0; sweep < sweeps; sweep++) await readers[reading](connection, touch);
    const end = performance.now();
    if (records !== sweeps * domains) throw new Error(`${records} of ${sweeps * domains} records came`);
    return { firstMs: first - start, totalMs: end - start, peakMemory: peakMemory() };
  },
};
export type LargeClientCalls = typeof calls;

type Reader = (connection: Connection, touch: (record: DomainStatsRecord) => void) => Promise<void>;

const readers: Record<Exclude<Reading, "batch">, Reader> = {
  async "for-await"(connection, touch) {
    for await (const record of connection.stats({ groups: GROUPS })) touch(record);
  },
  observable: (connection, touch) =>
    new Promise((complete, error) => connection.stats({ groups: GROUPS }).subscribe({ next: touch, complete, error })),
  async collect(connection, touch) {
    for (const record of await connection.getAllDomainStats({ groups: GROUPS })) touch(record);
  },
};

/** The peer: the client can read the first record only when it has the whole answer. */
async function readBatch(url: string, domains: number): Promise<LargeFigures> {
  const socket = await connectPlain(Number(new URL(url).port));
  const decoder = new MessageDecoder({}, new ServerClock(() => 0));
  const start = performance.now();
  const records = await new Promise<DomainStatsRecord[]>((resolve) => {
    socket.on("message", (data: Buffer) => {
      const records: DomainStatsRecord[] = [];
      for (const part of unpack(data) as Uint8Array[]) {
        const message = decoder.decode(part);
        if (message.type === "records") for (const record of message.records) records.push(record);
      }
      resolve(records);
    });
    socket.send("all");
  });
  const end = performance.now();
  for (const { params } of records) if (params.number("cpu.time") === undefined) throw new Error("no cpu.time");
  if (records.length !== domains) throw new Error(`${records.length} of ${domains} records came`);
  socket.terminate();
  return { firstMs: end - start, totalMs: end - start, peakMemory: peakMemory() };
}

answerCalls(calls);
