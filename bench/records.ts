import { connect } from "../src/client/connect.ts";
import { registerDriver } from "../src/driver/registry.ts";
import { openSimulated } from "../src/drivers/simulated/driver.ts";
import { SimulatedHost } from "../src/drivers/simulated/host.ts";
import { parseSimulatedUri } from "../src/drivers/simulated/parameters.ts";
import { groupMask } from "../src/model/group.ts";
import type { DomainStatsRecord } from "../src/model/record.ts";

/** The devices of a domain in the benchmarks. */
export const SHAPE = "vcpus=2&disks=2&nics=2";

/** The groups that have 79 parameters with these devices, like libvirt's statistics of an ordinary guest. */
export const GROUPS = ["state", "cpu-total", "balloon", "vcpu", "interface", "block"] as const;

/** The number of parameters of a record. */
const PARAMETERS = 79;

/** A record as a plain object with keys and values, like those of JSON interfaces. */
export interface PlainRecord {
  readonly domain: { readonly uuid: string; readonly name: string; readonly id: number; readonly host: string };
  readonly status: string;
  readonly sampledAt: number;
  readonly tookMs: number;
  readonly params: Record<string, number | boolean | string>;
}

/** The simulated host itself, and GROUPS as a mask, for callers that make records of any time. */
export function simulatedHost(domains: number): { readonly host: SimulatedHost; readonly groups: number } {
  const host = new SimulatedHost(parseSimulatedUri(`test:///default?domains=${domains}&${SHAPE}`));
  return { host, groups: groupMask(GROUPS) };
}

/** Records of this number of different domains of the simulated host. */
export async function simulatedRecords(domains: number): Promise<DomainStatsRecord[]> {
  registerDriver("test", openSimulated);
  await using connection = await connect(`test:///default?domains=${domains}&${SHAPE}`);
  const records = await connection.getAllDomainStats({ groups: GROUPS });
  for (const { params, status } of records) {
    if (status !== "ok" || params.size !== PARAMETERS) throw new Error(`a record is ${status} with ${params.size}`);
  }
  return records;
}

/**
 * A record as a plain object, in the form in which engines are fastest with it: made by JSON.parse, so that all records
 * share one hidden class.
 */
export function plainRecord({ domain, status, sampledAt, tookMs, params }: DomainStatsRecord): PlainRecord {
  const { uuid, name, id, host } = domain;
  return JSON.parse(JSON.stringify({ domain: { uuid, name, id, host }, status, sampledAt, tookMs, params }));
}
