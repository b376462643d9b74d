import type { DiskRates, DomainRates } from "../client/rates.ts";
import { meanSteal } from "./figure.ts";

/**
 * A guest counts as slow when its vCPUs, on average, wait at least this percentage of the time for processors of the
 * host.
 */
const STEAL_PERCENT = 10;
/**
 * A disk is slow when its reads, its writes or its flushes take at least this long on average, in ms. A hard disk that
 * is not overloaded takes about 10.
 */
const SLOW_MS = 50;

/** A resource of the host for which a running guest waits, and how long it waits. */
export interface Slowness {
  readonly kind: "disk" | "steal";
  /** The words for the guest's status: `SLOW DISK`, `STEAL 48%`. */
  readonly words: string;
  /** What a sentence about the guest says, with the figure: `its disk vda took 812 ms for each write`. */
  readonly sentence: string;
  readonly disk?: DiskRates;
}

/** Everything for which a guest waits: first the processors, then its slow disks in their order. */
export function slownessOf(rates: DomainRates): Slowness[] {
  const found: Slowness[] = [];
  const steal = meanSteal(rates);
  if (steal !== undefined && steal >= STEAL_PERCENT) {
    const text = steal.toFixed(0);
    found.push({
      kind: "steal",
      words: `STEAL ${text}%`,
      sentence: `its vCPUs waited ${text} % of the time for a processor of the host (steal)`,
    });
  }
  for (const disk of rates.disks) {
    const latency = slowestOf(disk);
    if (latency === undefined || latency[1] < SLOW_MS) continue;
    found.push({
      kind: "disk",
      words: "SLOW DISK",
      sentence: `its disk ${disk.name} took ${latency[1].toFixed(0)} ms for each ${latency[0]}`,
      disk,
    });
  }
  return found;
}

/**
 * The slowest kind of a disk's requests, with the mean time of such a request in ms; undefined if there was no request.
 */
export function slowestOf({
  readLatencyMs,
  writeLatencyMs,
  flushLatencyMs,
}: DiskRates): [kind: string, ms: number] | undefined {
  let slowest: [string, number] | undefined;
  const take = (kind: string, ms: number | undefined): void => {
    if (ms !== undefined && ms > (slowest?.[1] ?? -1)) slowest = [kind, ms];
  };
  take("read", readLatencyMs);
  take("write", writeLatencyMs);
  take("flush", flushLatencyMs);
  return slowest;
}
