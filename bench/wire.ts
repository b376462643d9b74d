import { BenchProcess } from "./process.ts";
import { medianOf, medianRatio, pairedRounds } from "./rounds.ts";
import type { Benchmark, BenchRow } from "./row.ts";
import type { WireClientCalls } from "./wire-client.ts";
import type { Transport, WireServerCalls } from "./wire-server.ts";

const TRANSPORTS = [
  "virstream",
  "grpc",
  "grpc-number",
  "grpc-tuned",
  "json",
  "pipe",
] as const satisfies readonly Transport[];

const RECORDS = 200_000;
/** The warm-up before the measured sweep, in ms: servers run for months, so their first seconds must not count. */
const WARM_UP_MS = 3_000;

/** The figures of one sweep, per record. */
export interface WireFigures {
  readonly micros: number;
  readonly serverMicros: number;
  readonly clientMicros: number;
}

/**
 * 200,000 full rows of 79 parameters from one process to another over loopback, end to end: encode, send with
 * back-pressure, receive, decode, and read a value of each record. The records are prepared before the measurement, so
 * that the figures do not include the cost of making them. Server and client are fresh processes in each round, and run
 * such sweeps for three seconds as a warm-up.
 *
 * virstream does everything that a real sweep does: it groups records into messages, keeps to the client's credit, counts
 * the records by status, checks each value, and, in the client, makes records with their domains. The peers decode to plain objects and check nothing.
 *
 * gRPC runs in three variants (see GrpcCodec): with exact 64-bit values, as virstream promises; with floats, from
 * prepared messages; and tuned by hand. Of these, only the exact variant has a target. The other two do not keep the
 * promise of exact values. They show how much of the difference between virstream and gRPC comes from this promise.
 */
export const benchWire: Benchmark = async ({ rounds = 7 } = {}) => {
  const measured = await pairedRounds("wire", TRANSPORTS, rounds, measureWire);
  const rows: BenchRow[] = [];
  const compare = (peer: Transport, label: string, target?: number): void => {
    const row = (
      what: string,
      figure: (figures: WireFigures) => number,
      show: (micros: number) => string,
      most?: number,
    ): void => {
      rows.push({
        what: `${what}, against ${label}`,
        ours: show(medianOf(measured.virstream, figure)),
        peer: show(medianOf(measured[peer], figure)),
        ratio: medianRatio(measured.virstream, measured[peer], figure, figure),
        ...(most === undefined ? {} : { target: most }),
      });
    };
    const perSecond = (micros: number): string => `${Math.round(1000 / micros)}k/s`;
    const cpu = (micros: number): string => `${micros.toFixed(1)} µs`;
    row("time per record", (figures) => figures.micros, perSecond, target);
    row("server CPU per record", (figures) => figures.serverMicros, cpu);
    row("client CPU per record", (figures) => figures.clientMicros, cpu);
  };
  compare("grpc", "gRPC in chunks of 64 KiB, exact", 1 / 6);
  compare("grpc-number", "the same with floats, prepared");
  compare("grpc-tuned", "gRPC tuned by hand, floats, prepared");
  compare("json", "JSON, a record per message");
  compare("pipe", "a raw WebSocket with the same bytes, prepared", 1 / 0.3);
  return rows;
};

/**
 * One sweep by this transport, in fresh processes.
 *
 * @param checkout the folder of another checkout of this project, whose code it measures instead
 */
export async function measureWire(transport: Transport, checkout?: string): Promise<WireFigures> {
  await using server = await BenchProcess.start<WireServerCalls>("wire-server.ts", [], checkout);
  await using client = await BenchProcess.start<WireClientCalls>("wire-client.ts", [], checkout);
  const port = await server.call("listen", transport);
  await client.call("connect", { transport, port });
  await server.call("domains", RECORDS);
  const warmAt = performance.now() + WARM_UP_MS;
  while (performance.now() < warmAt) await client.call("sweep", RECORDS);
  const before = await server.call("cpu");
  const { seconds, cpuMicros } = await client.call("sweep", RECORDS);
  const serverMicros = (await server.call("cpu")) - before;
  return {
    micros: (seconds * 1e6) / RECORDS,
    serverMicros: serverMicros / RECORDS,
    clientMicros: cpuMicros / RECORDS,
  };
}
