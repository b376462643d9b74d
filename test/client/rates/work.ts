import type { DomainRates } from "../../../src/client/rates.ts";
import { VirstreamError } from "../../../src/model/error.ts";
import { type ParamValue, TypedParams } from "../../../src/model/params.ts";
import { Domain, DomainStatsRecord, type RecordInit } from "../../../src/model/record.ts";
import type { ParamTypeName } from "../../../src/model/schema.ts";

/** When the first record is sampled, in ms since 1970. */
export const START = 1_790_000_000_000;
/** The domain, unless a test says otherwise. */
export const UUID = "11111111-2222-3333-4444-555555555555";

/** A text as the key's name says; a number of 64 bits otherwise. */
export type Values = Record<string, bigint | number | string>;

/** What a record may have that others do not. */
export interface RecordOptions extends Partial<RecordInit> {
  readonly id?: number;
  readonly host?: string;
  readonly uuid?: string;
}

function paramsOf(values: Values): TypedParams {
  return TypedParams.from(
    Object.entries(values).map(([key, value]): [string, ParamTypeName, ParamValue] =>
      typeof value === "string" ? [key, "string", value] : [key, "ullong", BigInt(value)],
    ),
  );
}

/** A record that was sampled so many ms after the start. */
export function recordAt(ms: number, values: Values, options: RecordOptions = {}): DomainStatsRecord {
  const { id = 7, host = "host", uuid = UUID, ...init } = options;
  return new DomainStatsRecord({
    domain: new Domain(uuid, "guest", id, host),
    params: paramsOf(values),
    status: "ok",
    sampledAt: START + ms,
    tookMs: 1,
    index: 0,
    ...init,
  });
}

/** A record that has failed. */
export const failure = {
  status: "failed",
  reason: "timeout",
  error: new VirstreamError("deadline-exceeded", "late"),
} as const;

/** A disk that did so much. */
export function disk(number: number, name: string, path: string, work: number): Values {
  return {
    [`block.${number}.name`]: name,
    [`block.${number}.path`]: path,
    [`block.${number}.rd.reqs`]: work,
    [`block.${number}.rd.bytes`]: work * 4096,
    [`block.${number}.rd.times`]: work * 1_000_000,
  };
}

/** What a domain reports that does everything at the same pace: its processor, a vCPU, a disk and an interface. */
export function allOf(work: number): Values {
  return {
    "cpu.time": work * 1_000_000,
    "vcpu.0.time": work * 1_000_000,
    "net.0.name": "vnet0",
    "net.0.rx.bytes": work,
    ...disk(0, "vda", "/a", work),
  };
}

/** Each kind of rate that `allOf` gives; equal at one unit of work per ms. */
export function figures({ cpu, vcpus, disks, interfaces }: DomainRates): (number | undefined)[] {
  return [cpu.percent, vcpus[0]?.percent, disks[0]?.readsPerSecond, interfaces[0]?.receivedBytesPerSecond];
}

/** The figures of a domain that does one unit of work per ms. */
export const STEADY = [100, 100, 1000, 1000];
/** The figures of a domain of which nothing can be told. */
export const NOTHING = [undefined, undefined, undefined, undefined];
