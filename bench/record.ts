import type { LargeServerCalls } from "./large-server.ts";
import { BenchProcess } from "./process.ts";
import type { Form, RecordCalls, RecordFigures } from "./record-process.ts";
import { medianOf, medianRatio, pairedRounds } from "./rounds.ts";
import type { Benchmark, BenchRow } from "./row.ts";

const FORMS = ["ours", "json"] as const satisfies Form[];

/** The limit for the memory of a kept record of 79 parameters, in bytes. */
const MOST_BYTES = 1_300;
const REMOTE_DOMAINS = 20_000;

/**
 * One record in memory, in a process that does nothing else: its memory, and the CPU time to read it from a reply of libvirt, to
 * compare it, and to compute its rates. The peers are the objects that JSON.parse makes of the same records, compared by a loop
 * over their keys.
 */
export const benchRecord: Benchmark = async ({ rounds = 7 } = {}) => {
  const measured = await pairedRounds("record", FORMS, rounds, async (form) => {
    await using process = await BenchProcess.start<RecordCalls>("record-process.ts", ["--expose-gc"]);
    return await process.call("measure", form);
  });
  const bytes = medianOf(measured.ours, (figures) => figures.bytes);
  const remote = await remoteBytes();
  const limit = (what: string, ours: number): BenchRow => ({
    what: `memory of a kept record${what}, against the limit`,
    ours: `${Math.round(ours)} B`,
    peer: `${MOST_BYTES} B`,
    ratio: ours / MOST_BYTES,
    target: 1,
  });
  const compare = (what: string, unit: string, figure: (figures: RecordFigures) => number): BenchRow => ({
    what: `${what}, against JSON objects`,
    ours: `${Math.round(medianOf(measured.ours, figure))} ${unit}`,
    peer: `${Math.round(medianOf(measured.json, figure))} ${unit}`,
    ratio: medianRatio(measured.ours, measured.json, figure, figure),
  });
  const nanos = (figure: (figures: RecordFigures) => number): string =>
    `${Math.round(medianOf(measured.ours, figure))} ns`;
  return [
    limit("", bytes),
    limit(" with its domain, from a server", remote),
    compare("memory of a kept record", "B", (figures) => figures.bytes),
    compare("reading a record", "ns", (figures) => figures.decode),
    compare("finding a record unchanged", "ns", (figures) => figures.compare),
    {
      what: "rates of a record, against reading it",
      ours: nanos((figures) => figures.rates),
      peer: nanos((figures) => figures.decode),
      ratio: medianOf(measured.ours, ({ rates, decode }) => rates / decode),
    },
  ];
};

async function remoteBytes(): Promise<number> {
  await using server = await BenchProcess.start<LargeServerCalls>("large-server.ts");
  await using process = await BenchProcess.start<RecordCalls>("record-process.ts", ["--expose-gc"]);
  return await process.call("remote", await server.call("stream", REMOTE_DOMAINS));
}
