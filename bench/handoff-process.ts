import { Stream } from "../src/client/stream.ts";
import type { DomainStatsRecord } from "../src/model/record.ts";
import { answerCalls, cpuMicros } from "./calls.ts";
import { simulatedRecords } from "./records.ts";
import { inChunks } from "./wire-source.ts";

/** The ways in which an application can read records. */
export type Consumption = "callback" | "observable" | "for-await" | "forEach" | "chunks";

/** The approximate number of records in a message of 64 KiB. */
const CHUNK = 128;
const CHUNKS = 16;
/** How often each run repeats the prepared chunks: about a million records for the warm-up, then three million. */
const WARM_UP = 500;
const PASSES = 1_500;

const calls = {
  /** The CPU time to pass on one record in this way, in ns. */
  async measure(consumption: Consumption): Promise<number> {
    const chunks = inChunks(await simulatedRecords(CHUNK * CHUNKS), CHUNK);
    const consume = consumers[consumption];
    await run(consume, chunks, WARM_UP);
    const before = cpuMicros();
    await run(consume, chunks, PASSES);
    return ((cpuMicros() - before) * 1000) / (PASSES * CHUNKS * CHUNK);
  },
};
export type HandoffCalls = typeof calls;

type Chunks = readonly (readonly DomainStatsRecord[])[];
type Source = () => AsyncGenerator<readonly DomainStatsRecord[]>;
type Touch = (record: DomainStatsRecord) => void;

/** All consumers do the same small work with each record, so that the figures show the cost of the hand-over. */
async function run(consume: (source: Source, touch: Touch) => Promise<void>, chunks: Chunks, passes: number) {
  let records = 0;
  let sum = 0;
  const source = async function* () {
    for (let pass = 0; pass < passes; pass++) yield* chunks;
  };
  await consume(source, (record) => {
    records++;
    sum += record.index;
  });
  if (records !== passes * CHUNKS * CHUNK || sum === 0) throw new Error(`${records} records came`);
}

const consumers: Record<Consumption, (source: Source, touch: Touch) => Promise<void>> = {
  /** A hand-written loop, the fastest way. */
  async callback(source, touch) {
    for await (const chunk of source()) {
      for (let i = 0; i < chunk.length; i++) touch(chunk[i]!);
    }
  },
  observable: (source, touch) =>
    new Promise((complete, error) => new Stream(source).subscribe({ next: touch, complete, error })),
  async "for-await"(source, touch) {
    for await (const record of new Stream(source)) touch(record);
  },
  forEach: (source, touch) => new Stream(source).forEach(touch),
  async chunks(source, touch) {
    for await (const chunk of new Stream(source).chunks()) for (const record of chunk) touch(record);
  },
};

answerCalls(calls);
