import type { Codec, CodecCalls, CodecFigures } from "./codec-process.ts";
import { BenchProcess } from "./process.ts";
import { medianOf, medianRatio, pairedRounds } from "./rounds.ts";
import type { Benchmark, BenchRow } from "./row.ts";

const CODECS = ["v1", "v1 by 1", "v1 by 4", "v1 by 16", "json", "msgpackr"] as const satisfies readonly Codec[];
const LABELS = { json: "JSON objects", msgpackr: "msgpackr maps" } as const;

/** The limit for a record of 79 parameters in a stream of full rows, in bytes. */
const MOST_BYTES = 420;
/** The limit for the encoding of a message of few records, in µs. The server sends such a message at most every 5 ms. */
const MOST_MICROS = 30;

/**
 * Measures the size of a record, and the CPU time to encode and decode it: in the binary profile, as sweeps use it,
 * against objects with keys, as JSON and as msgpack. It also measures messages of few records. All contenders make 40
 * passes over the same 2,048 domains, in a process that does nothing else. The peers encode and decode plain objects of
 * one hidden class; virstream encodes and decodes the records of its API.
 */
export const benchCodec: Benchmark = async ({ rounds = 7 } = {}) => {
  const measured = await pairedRounds("codec", CODECS, rounds, async (codec) => {
    await using process = await BenchProcess.start<CodecCalls>("codec-process.ts");
    return await process.call("measure", codec);
  });
  const bytes = (codec: Codec): number => Math.round(medianOf(measured[codec], (figures) => figures.bytes));
  const rows: BenchRow[] = [
    {
      what: "bytes of a record, v1, against the limit",
      ours: `${bytes("v1")}`,
      peer: `${MOST_BYTES}`,
      ratio: bytes("v1") / MOST_BYTES,
      target: 1,
    },
  ];
  for (const records of [1, 4, 16] as const) {
    const micros = medianOf(measured[`v1 by ${records}`], (figures) => figures.encodeMicros * records);
    rows.push({
      what: `encode a message of ${records} ${records === 1 ? "record" : "records"}, against the limit`,
      ours: `${micros.toFixed(1)} µs`,
      peer: `${MOST_MICROS} µs`,
      ratio: micros / MOST_MICROS,
      target: 1,
    });
  }
  const compare = (peer: keyof typeof LABELS): void => {
    const ours = "v1";
    const against = `against ${LABELS[peer]}`;
    rows.push({
      what: `bytes of a record, ${against}`,
      ours: `${bytes(ours)}`,
      peer: `${bytes(peer)}`,
      ratio: bytes(ours) / bytes(peer),
    });
    const cpu = (what: string, figure: (figures: CodecFigures) => number): void => {
      const micros = (codec: Codec): string => `${medianOf(measured[codec], figure).toFixed(1)} µs`;
      const ratio = medianRatio(measured[ours], measured[peer], figure, figure);
      rows.push({ what: `${what}, ${against}`, ours: micros(ours), peer: micros(peer), ratio });
    };
    cpu("encode", (figures) => figures.encodeMicros);
    cpu("decode", (figures) => figures.decodeMicros);
  };
  compare("json");
  compare("msgpackr");
  return rows;
};
