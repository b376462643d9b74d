import { connect } from "../src/client/connect.ts";
import { RateMeter } from "../src/client/rates.ts";
import { registerDriver } from "../src/driver/registry.ts";
import { sameRecord } from "../src/driver/same-record.ts";
import { StatsReader } from "../src/drivers/libvirt/rpc/stats-reply.ts";
import { XdrReader } from "../src/drivers/libvirt/rpc/xdr.ts";
import { openRemote } from "../src/drivers/remote/node-driver.ts";
import type { TypedParams } from "../src/model/params.ts";
import { type Domain, DomainStatsRecord } from "../src/model/record.ts";
import { ParamType } from "../src/model/schema.ts";
import { StatsWriter } from "../test/drivers/libvirt/rpc/stats-writer.ts";
import { answerCalls, cpuMicros } from "./calls.ts";
import { GROUPS, type PlainRecord, plainRecord, simulatedHost } from "./records.ts";

/** The form of a record: virstream's, or the object that JSON.parse makes of the same record. */
export type Form = "ours" | "json";

/** The cost of one record in one form. */
export interface RecordFigures {
  /** Memory of a record that is kept, in bytes; its domain is shared with other records, as in a watch. */
  readonly bytes: number;
  /** CPU time of reading it from libvirt's reply, or from JSON text, in ns. */
  readonly decode: number;
  /** CPU time of finding that nothing has changed since the record before, in ns. */
  readonly compare: number;
  /** CPU time of computing its rates, in ns; 0 for JSON objects. */
  readonly rates: number;
}

const DOMAINS = 512;
/** The number of domains in one reply of the daemon. */
const BATCH = 8;
/** The number of ticks that are kept to measure their memory. */
const KEPT = 40;
const START_MS = 1_790_000_000_000;
const WARM_UP = 50;
const PASSES = 300;

registerDriver("ws", openRemote);

const calls = {
  async measure(form: Form): Promise<RecordFigures> {
    return form === "ours" ? measureOurs() : measureJson();
  },
  /** The memory that a record from a server takes in its client, together with the record's domain, in bytes. */
  async remote(url: string): Promise<number> {
    await using connection = await connect(url);
    // Warm-up: the memory of code and schemas must not count as a part of a record.
    await connection.stats({ groups: GROUPS }).forEach(() => {});
    let records = 0;
    const bytes = await memoryOf(async () => {
      const kept = await connection.getAllDomainStats({ groups: GROUPS });
      records = kept.length;
      return kept;
    });
    return bytes / records;
  },
};
export type RecordCalls = typeof calls;

async function measureOurs(): Promise<RecordFigures> {
  const { host, groups } = simulatedHost(DOMAINS);
  const domains = Array.from({ length: DOMAINS }, (_, index) => host.domain(index));
  const stats = new StatsReader();
  const ticks = [0, 1, 2, 3].map((tick) => {
    const now = START_MS + tick * 1_000;
    const replies: Buffer[] = [];
    for (let from = 0; from < DOMAINS; from += BATCH) {
      const batch = domains.slice(from, from + BATCH);
      replies.push(reply(batch, (domain) => host.sample(domains.indexOf(domain), groups, now)));
    }
    return { now, replies };
  });
  const decode = ({ now, replies }: { now: number; replies: readonly Buffer[] }): DomainStatsRecord[] => {
    const records: DomainStatsRecord[] = [];
    for (const bytes of replies) {
      for (const { params } of stats.read(new XdrReader(bytes))) {
        const index = records.length;
        const domain = domains[index]!;
        records.push(new DomainStatsRecord({ domain, params, status: "ok", sampledAt: now, tookMs: 0.3, index }));
      }
    }
    return records;
  };
  const records = ticks.map(decode);
  const again = decode(ticks[0]!);
  const meter = new RateMeter();
  let pass = 0;
  return {
    decode: nanos(() => decode(ticks[0]!).length),
    compare: nanos(() => records[0]!.filter((record, i) => sameRecord(record, again[i]!)).length),
    rates: nanos(() => {
      // Counters must only grow, so the meter starts again at the first tick of each round.
      if (pass % ticks.length === 0) meter.gap();
      return records[pass++ % ticks.length]!.filter((record) => meter.take(record).record === record).length;
    }),
    bytes: (await memoryOf(() => Array.from({ length: KEPT }, () => decode(ticks[0]!)))) / (KEPT * DOMAINS),
  };
}

async function measureJson(): Promise<RecordFigures> {
  const { host, groups } = simulatedHost(DOMAINS);
  const texts = Array.from({ length: DOMAINS }, (_, index) => {
    const params = host.sample(index, groups, START_MS);
    const init = { domain: host.domain(index), params, status: "ok", sampledAt: START_MS, tookMs: 0.3, index } as const;
    return JSON.stringify(plainRecord(new DomainStatsRecord(init)));
  });
  const decode = (): PlainRecord[] => texts.map((text) => JSON.parse(text));
  const records = decode();
  const again = decode();
  return {
    decode: nanos(() => decode().length),
    compare: nanos(() => records.filter((record, i) => samePlain(record, again[i]!)).length),
    rates: 0,
    bytes: (await memoryOf(() => Array.from({ length: KEPT }, decode))) / (KEPT * DOMAINS),
  };
}

/** The peer of `sameRecord`: a comparison of plain objects. */
function samePlain(one: PlainRecord, other: PlainRecord): boolean {
  for (const key in one.params) if (one.params[key] !== other.params[key]) return false;
  return one.status === other.status && one.domain.name === other.domain.name && one.domain.id === other.domain.id;
}

/** A statistics reply as libvirt's daemon sends it. */
function reply(domains: readonly Domain[], sample: (domain: Domain) => TypedParams): Buffer {
  const writer = new StatsWriter();
  writer.uint(domains.length);
  for (const domain of domains) {
    writer.string(domain.name);
    writer.uuid(domain.uuid);
    writer.int(domain.id);
    const params = sample(domain);
    writer.uint(params.size);
    for (const { key, type, value } of params.list()) {
      writer.string(key);
      writer.int(ParamType[type]);
      if (typeof value === "string") writer.string(value);
      else if (typeof value === "bigint") writer.hyper(value);
      else if (type === "uint") writer.uint(Number(value));
      else writer.int(Number(value));
    }
  }
  return writer.take();
}

/** CPU time per record of a pass over all domains, in ns, including the garbage collector. */
function nanos(pass: () => number): number {
  for (let i = 0; i < WARM_UP; i++) pass();
  const before = cpuMicros();
  for (let i = 0; i < PASSES; i++) {
    if (pass() !== DOMAINS) throw new Error("a pass left records out");
  }
  return ((cpuMicros() - before) * 1_000) / (PASSES * DOMAINS);
}

/** The growth of the heap by the objects that `make` returns, in bytes. Needs node's flag --expose-gc. */
async function memoryOf(make: () => unknown): Promise<number> {
  const heap = (): number => {
    for (let i = 0; i < 3; i++) globalThis.gc!();
    return process.memoryUsage().heapUsed;
  };
  const before = heap();
  const made = await make();
  const bytes = heap() - before;
  if (made === undefined) throw new Error("nothing was made");
  return bytes;
}

answerCalls(calls);
