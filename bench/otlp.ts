import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import type { OtlpCalls, OtlpRun, Pusher } from "./otlp-process.ts";
import { BenchProcess } from "./process.ts";
import { medianOf, medianRatio, pairedRounds } from "./rounds.ts";
import type { Benchmark } from "./row.ts";

const PUSHERS = ["virstream", "sdk"] as const satisfies Pusher[];

/**
 * A push of 10,000 domains to a collector that reads requests and discards them. The peer is OpenTelemetry's own SDK: a
 * MeterProvider with observable instruments that have the same series.
 */
export const benchOtlp: Benchmark = async ({ rounds = 3 } = {}) => {
  const server = createServer((request, response) => {
    request.resume();
    request.on("end", () => response.writeHead(200, { "Content-Type": "application/x-protobuf" }).end());
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  try {
    const measured = await pairedRounds("otlp", PUSHERS, rounds, async (pusher) => {
      await using process = await BenchProcess.start<OtlpCalls>("otlp-process.ts", ["--max-old-space-size=8192"]);
      return await process.call("measure", { pusher, url });
    });
    const row = (what: string, of: (run: OtlpRun) => number, unit: string, factor = 1) => ({
      what,
      ours: `${(medianOf(measured.virstream, of) / factor).toFixed(unit === "s" ? 2 : 0)} ${unit}`,
      peer: `${(medianOf(measured.sdk, of) / factor).toFixed(unit === "s" ? 2 : 0)} ${unit}`,
      ratio: medianRatio(measured.virstream, measured.sdk, of, of),
    });
    return [
      row("a push of 10,000 domains over OTLP, against OpenTelemetry's SDK", ({ ms }) => ms, "s", 1_000),
      row("… its CPU time", ({ cpuMs }) => cpuMs, "s", 1_000),
      row("… the longest delay of the event loop", ({ delayMs }) => delayMs, "ms"),
      row("… bytes sent, before compression", ({ bytes }) => bytes, "MiB", 2 ** 20),
      row("… memory of the process at most", ({ rss }) => rss, "MiB", 2 ** 20),
    ];
  } finally {
    server.closeAllConnections();
    server.close();
  }
};
