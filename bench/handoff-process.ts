import { Stream } from "../src/client/stream.ts";
import type { DomainStatsRecord } from "../src/model/record.ts";
import { answerCalls, cpuMicros } from "./calls.ts";
import { simulatedRecords } from "./records.ts";
import { inChunks } from "./wire-source.ts";

/** Ways in which an application can take records. */
export type Consumption = "callback" | "observable" | "for-await" | "forEach" | "chunks";

/** A message of 64 KiB holds about so many records. */
const CHUNK = 128;
const CHUNKS = 16;
/** Times round the prepared chunks: about a million records for a warm-up, then three million. */
const WARM_UP = 500;
const PASSES = 1_500;

const calls = {
  /** CPU time of one record, in ns. */
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

/** Every consumer does the same with each record, so little that the way there is what counts. */
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
  /** What one would write by hand where nothing else matters. */
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
