import { Packr } from "msgpackr";
import { RowBatch } from "../src/wire/columns/row-batch.ts";
import { Coalescer } from "../src/wire/flow-control.ts";
import { MessageDecoder } from "../src/wire/message-decoder.ts";
import { pack, recycle } from "../src/wire/pack.ts";
import { profileOf, type WireMessage } from "../src/wire/profile.ts";
import { ServerClock } from "../src/wire/server-clock.ts";
import { answerCalls, cpuMicros } from "./calls.ts";
import { plainRecord, simulatedRecords } from "./records.ts";

/** How a record becomes bytes. `by N`: in messages of at most N records. */
export type Codec = "v1" | "v1 by 1" | "v1 by 4" | "v1 by 16" | "json" | "msgpackr";

/** The figures of one codec, per record. */
export interface CodecFigures {
  readonly bytes: number;
  readonly encodeMicros: number;
  readonly decodeMicros: number;
}

const RECORDS = 2_048;
/** The warm-up before the measured passes, in ms: servers run for months, so uncompiled code must not count. */
const WARM_UP_MS = 3_000;
const PASSES = 40;

/** A codec under test. Each call is one pass: it encodes all records, or decodes all messages. */
interface Contender {
  /** @param sent called with each message, if given; the caller does not keep the messages then */
  encode(sent?: (message: WireMessage) => void): readonly Uint8Array[];
  decode(messages: readonly Uint8Array[]): number;
}

const calls = {
  async measure(codec: Codec): Promise<CodecFigures> {
    const contender = await contenders[codec]();
    const messages = contender.encode();
    const bytes = messages.reduce((sum, message) => sum + message.length, 0) / RECORDS;
    // A server uses the buffer of a message again when the system has taken its bytes.
    const encodeMicros = micros(() => contender.encode(recycle).length);
    const decodeMicros = micros(() => contender.decode(messages));
    return { bytes, encodeMicros, decodeMicros };
  },
};
export type CodecCalls = typeof calls;

/** CPU time per record. It includes the garbage collector, and depends little on other programs on the machine. */
function micros(pass: () => number): number {
  const warmAt = performance.now() + WARM_UP_MS;
  while (performance.now() < warmAt) pass();
  const before = cpuMicros();
  for (let i = 0; i < PASSES; i++) pass();
  return (cpuMicros() - before) / (PASSES * RECORDS);
}

const contenders: Record<Codec, () => Promise<Contender>> = {
  v1: () => ours(),
  "v1 by 1": () => ours(1),
  "v1 by 4": () => ours(4),
  "v1 by 16": () => ours(16),
  /** One JSON text per record, the most common encoding. */
  async json() {
    const records = (await simulatedRecords(RECORDS)).map(plainRecord);
    return {
      encode: () => records.map((record) => Buffer.from(JSON.stringify(record))),
      decode(messages) {
        for (const message of messages) JSON.parse(message.toString());
        return messages.length;
      },
    };
  },
  /** One msgpack map per record, with its keys. msgpackr's own record structures are several times slower with dotted keys. */
  async msgpackr() {
    const records = (await simulatedRecords(RECORDS)).map(plainRecord);
    const packr = new Packr({ useRecords: false });
    return {
      encode: () => records.map((record) => packr.pack(record)),
      decode(messages) {
        for (const message of messages) packr.unpack(message);
        return messages.length;
      },
    };
  },
};

/**
 * Full rows in messages of 64 KiB, as in a sweep, or of at most `perMessage` records, on a connection that already has
 * the schema.
 */
async function ours(perMessage = Number.POSITIVE_INFINITY): Promise<Contender> {
  const records = await simulatedRecords(RECORDS);
  const profile = profileOf("virstream.v1");
  const decoder = new MessageDecoder({}, new ServerClock(() => 0));
  const batch = new RowBatch();
  const encode = (sent?: (message: WireMessage) => void): WireMessage[] => {
    const messages: WireMessage[] = [];
    for (const [i, record] of records.entries()) {
      batch.add(undefined, record);
      const last = i === records.length - 1;
      if (!last && batch.rows < perMessage && batch.length < Coalescer.FULL) continue;
      const rows = profile.rows({ id: 1 }, batch);
      batch.clear(rows.bytes);
      messages.push(...rows.messages);
      if (sent !== undefined) rows.messages.forEach(sent);
    }
    return messages;
  };
  const { keys, types } = records[0]!.params.schema;
  decoder.decode(pack({ type: "schema", slot: 0, keys, types: [...types] }));
  return {
    encode: (sent) => encode(sent) as Uint8Array[],
    decode(messages) {
      let rows = 0;
      for (const message of messages) {
        const decoded = decoder.decode(message);
        if (decoded.type === "records") rows += decoded.records.length;
      }
      if (rows !== RECORDS) throw new Error(`${rows} of ${RECORDS} records came out`);
      return rows;
    },
  };
}

answerCalls(calls);
