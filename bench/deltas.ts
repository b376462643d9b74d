import type { DeltasClientCalls } from "./deltas-client.ts";
import type { DeltasServerCalls } from "./deltas-server.ts";
import { BenchProcess } from "./process.ts";
import { medianOf, medianRatio, pairedRounds } from "./rounds.ts";
import type { Benchmark, BenchRow } from "./row.ts";
import { CHANGING } from "./tick-source.ts";
import { measureWire } from "./wire.ts";

const CONTENDERS = ["deltas", "virstream", "json"] as const;

/** The number of measured ticks, of 512 domains each: a million records, which take about a second. */
const TICKS = 1_954;
const WARM_UP_TICKS = 4_000;

interface Figures {
  readonly micros: number;
  readonly serverMicros: number;
  readonly clientMicros: number;
  /** Bytes of messages per record; 0 for the peers, of which they are not measured. */
  readonly bytes: number;
}

/**
 * A watch of 512 domains from one process to another over loopback. In each tick a third of each record's 79 parameters
 * changes. It measures the whole path: compare, encode, send, receive, decode, make records, and pass them to an
 * application. The peers send the same records as full rows of single sweeps, and as JSON objects, one per message. Each
 * contender runs in fresh processes, with the same warm-up.
 */
export const benchDeltas: Benchmark = async ({ rounds = 5 } = {}) => {
  const measured = await pairedRounds<(typeof CONTENDERS)[number], Figures>(
    "deltas",
    CONTENDERS,
    rounds,
    (contender) =>
      contender === "deltas" ? measureDeltas() : measureWire(contender).then((figures) => ({ ...figures, bytes: 0 })),
  );
  const { deltas, virstream, json } = measured;
  const perSecond = (micros: number): string => `${Math.round(1000 / micros)}k/s`;
  const cpu = (micros: number): string => `${micros.toFixed(2)} µs`;
  const rows: BenchRow[] = [];
  const compare = (label: string, peer: readonly Figures[], target?: number): void => {
    const row = (what: string, figure: (figures: Figures) => number, show: (micros: number) => string): void => {
      rows.push({
        what: `${what}, deltas against ${label}`,
        ours: show(medianOf(deltas, figure)),
        peer: show(medianOf(peer, figure)),
        ratio: medianRatio(deltas, peer, figure, figure),
        ...(what === "time per record" && target !== undefined ? { target } : {}),
      });
    };
    row("time per record", (figures) => figures.micros, perSecond);
    row("server CPU per record", (figures) => figures.serverMicros, cpu);
    row("client CPU per record", (figures) => figures.clientMicros, cpu);
  };
  compare("JSON objects, one per message", json, 1 / 28);
  compare("full rows", virstream);
  const bytes = medianOf(deltas, (figures) => figures.bytes);
  rows.push({
    what: `bytes per record, ${CHANGING} of 79 parameters changing, against the target`,
    ours: `${bytes.toFixed(1)} B`,
    peer: "100 B",
    ratio: bytes / 100,
    target: 1,
  });
  return rows;
};

async function measureDeltas(): Promise<Figures> {
  await using server = await BenchProcess.start<DeltasServerCalls>("deltas-server.ts");
  await using client = await BenchProcess.start<DeltasClientCalls>("deltas-client.ts");
  await client.call("watch", await server.call("listen"));
  await client.call("ticks", WARM_UP_TICKS);
  const before = await server.call("spent");
  const { seconds, cpuMicros, records } = await client.call("ticks", TICKS);
  const after = await server.call("spent");
  if (after.conflated > 0) throw new Error("ticks were conflated: this is no measure");
  return {
    micros: (seconds * 1e6) / records,
    serverMicros: (after.cpu - before.cpu) / records,
    clientMicros: cpuMicros / records,
    bytes: (after.bytes - before.bytes) / records,
  };
}
