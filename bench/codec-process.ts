import { Packr } from "msgpackr";
import { Coalescer } from "../src/wire/coalescer.ts";
import { MessageDecoder } from "../src/wire/message-decoder.ts";
import { MessageEncoder, type WireMessage } from "../src/wire/message-encoder.ts";
import type { Subprotocol } from "../src/wire/protocol.ts";
import { answerCalls, cpuMicros } from "./calls.ts";
import { plainRecord, simulatedRecords } from "./records.ts";

/** How a record becomes bytes. */
export type Codec = "v1" | "v1.json" | "json" | "msgpackr";

/** What one codec came to, per record. */
export interface CodecFigures {
  readonly bytes: number;
  readonly encodeMicros: number;
  readonly decodeMicros: number;
}

const RECORDS = 2_048;
/** Passes over the records: the first ones are for the compiler. */
const WARM_UP = 8;
const PASSES = 40;

/** One pass: encodes all records, or decodes all of what that gave. */
interface Contender {
  encode(): readonly Uint8Array[];
  decode(messages: readonly Uint8Array[]): number;
}

const calls = {
  async measure(codec: Codec): Promise<CodecFigures> {
    const contender = await contenders[codec]();
    const messages = contender.encode();
    const bytes = messages.reduce((sum, message) => sum + message.length, 0) / RECORDS;
    const encodeMicros = micros(() => contender.encode().length);
    const decodeMicros = micros(() => contender.decode(messages));
    return { bytes, encodeMicros, decodeMicros };
  },
};
export type CodecCalls = typeof calls;

/** CPU time per record: what else runs on the machine counts for little, the collector's work counts. */
function micros(pass: () => number): number {
  for (let i = 0; i < WARM_UP; i++) pass();
  const before = cpuMicros();
  for (let i = 0; i < PASSES; i++) pass();
  return (cpuMicros() - before) / (PASSES * RECORDS);
}

const contenders: Record<Codec, () => Promise<Contender>> = {
  v1: () => ours("virstream.v1"),
  "v1.json": () => ours("virstream.v1.json"),
  /** One JSON text per record: what everybody writes first. */
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
  /** One msgpack map per record, with the keys in it; its own record structures are several times slower on dotted keys. */
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

/** Full rows in frames of 64 KiB, on a connection that has told its schema: as a sweep is sent. */
async function ours(subprotocol: Subprotocol): Promise<Contender> {
  const records = await simulatedRecords(RECORDS);
  const encoder = new MessageEncoder(subprotocol);
  const decoder = new MessageDecoder({});
  const startedAt = records[0]!.sampledAt;
  const frame = encoder.frame(1, startedAt);
  const encode = (): WireMessage[] => {
    const messages: WireMessage[] = [];
    for (const record of records) {
      frame.add(record);
      if (frame.length >= Coalescer.FULL) messages.push(...encoder.records(frame).messages);
    }
    messages.push(...encoder.records(frame).messages);
    return messages;
  };
  // The first pass tells host and schema too.
  for (const message of [...encoder.sweep(1, startedAt, RECORDS), ...encode()]) decoder.decode(message);
  const text = subprotocol === "virstream.v1.json";
  return {
    // Text counts until it is the bytes that a socket takes, as it does for the peers.
    encode: () => encode().map((message) => (typeof message === "string" ? Buffer.from(message) : message)),
    decode(messages) {
      let rows = 0;
      for (const message of messages) {
        const decoded = decoder.decode(text ? message.toString() : message);
        if (decoded.type === "records") rows += decoded.records.length;
      }
      if (rows !== RECORDS) throw new Error(`${rows} of ${RECORDS} records came out`);
      return rows;
    },
  };
}

answerCalls(calls);
