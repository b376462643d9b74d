import type { Codec, CodecCalls, CodecFigures } from "./codec-process.ts";
import { BenchProcess } from "./process.ts";
import { medianOf, medianRatio, pairedRounds } from "./rounds.ts";
import type { Benchmark, BenchRow } from "./row.ts";

const CODECS = ["v1", "json", "v1.json", "msgpackr"] as const satisfies readonly Codec[];
const LABELS: Record<Codec, string> = {
  v1: "v1",
  "v1.json": "v1.json",
  json: "JSON objects",
  msgpackr: "msgpackr maps",
};

/** A record of 79 parameters may take so many bytes in a stream of full rows. */
const MOST_BYTES = 520;

/**
 * One record, to bytes and back: size and CPU time of our two encodings, as sweeps use them, against objects that carry
 * their keys, as JSON and as msgpack. The same 2,048 domains for all; 40 passes over them in a process that does nothing
 * else. The peers are given ready-made objects of one hidden class and give such objects back; ours begin and end with
 * the records that an application holds.
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
  const compare = (ours: Codec, peer: Codec): void => {
    const against = `${LABELS[ours]} against ${LABELS[peer]}`;
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
  compare("v1", "json");
  compare("v1", "msgpackr");
  compare("v1.json", "json");
  return rows;
};
