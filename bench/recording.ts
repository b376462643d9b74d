import { once } from "node:events";
import {
  copyFileSync,
  createReadStream,
  createWriteStream,
  mkdtempSync,
  rmSync,
  statSync,
  truncateSync,
} from "node:fs";
import { open } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { createGunzip, createGzip } from "node:zlib";
import { Connection } from "../src/client/connection.ts";
import type { Frame } from "../src/drivers/recording/frame.ts";
import { type Piece, pieces } from "../src/drivers/recording/frame-reader.ts";
import { connect } from "../src/index.ts";
import type { DomainStatsRecord } from "../src/model/record.ts";
import { record, surveyRecording } from "../src/outlets/recording/index.ts";
import { plainRecord } from "./records.ts";
import { medianOf, medianRatio, pairedRounds } from "./rounds.ts";
import type { Benchmark } from "./row.ts";
import { TickingDriver } from "./tick-source.ts";

/** How many ticks of 512 records are recorded. */
const TICKS = 100;
/** A recording is cut at places in its last CUT_BYTES bytes, CUT_STEP bytes apart. */
const CUT_BYTES = 1_048_576;
const CUT_STEP = 4_999;

interface Figures {
  readonly bytes: number;
  readonly writeMicros: number;
  readonly readMicros: number;
}

/**
 * A recording of a watch in which a third of the parameters changes, against a file of JSON objects, one per line,
 * compressed by gzip with its default level: the CPU time of all threads per record, and the bytes. Both run in the
 * same process, one after the other. Both files are on the same file system, and are read to plain records in memory.
 */
export const benchRecording: Benchmark = async ({ rounds = 5 } = {}) => {
  const folder = mkdtempSync(join(tmpdir(), "virstream-bench-"));
  try {
    const ours = join(folder, "ours.rec");
    const { ours: recorded, json } = await pairedRounds("recording", ["ours", "json"] as const, rounds, (form) =>
      form === "ours" ? measureOurs(ours) : measureJson(join(folder, "peer.gz")),
    );
    const offMs = await timing(join(folder, "timing.rec"));
    const cuts = await cutsOf(ours, join(folder, "cut.rec"));
    const compare = (what: string, unit: string, of: (figures: Figures) => number) => ({
      what: `${what}, against lines of JSON in gzip`,
      ours: `${medianOf(recorded, of).toFixed(1)} ${unit}`,
      peer: `${medianOf(json, of).toFixed(1)} ${unit}`,
      ratio: medianRatio(recorded, json, of, of),
    });
    return [
      compare("bytes of a record", "B", ({ bytes }) => bytes),
      compare("CPU of recording a record", "µs", ({ writeMicros }) => writeMicros),
      compare("CPU of replaying a record", "µs", ({ readMicros }) => readMicros),
      {
        what: "timing of a replay at speed 1, largest error",
        ours: `${offMs.toFixed(1)} ms`,
        peer: "50 ms",
        ratio: offMs / 50,
        target: 1,
      },
      {
        what: `cuts in the last MiB, of which failed`,
        ours: `${cuts.failed}`,
        peer: `${cuts.all}`,
        ratio: cuts.failed / cuts.all,
      },
    ];
  } finally {
    rmSync(folder, { recursive: true });
  }
};

/** Cuts a recording at each byte of its last MiB. It takes minutes. */
export const benchTruncation: Benchmark = async () => {
  const folder = mkdtempSync(join(tmpdir(), "virstream-bench-"));
  try {
    const path = join(folder, "whole.rec");
    await measureOurs(path);
    const { all, failed } = await cutsEverywhere(path, join(folder, "cut.rec"));
    const what = "cuts at each byte of the last MiB, of which failed";
    return [{ what, ours: `${failed}`, peer: `${all}`, ratio: failed / all, target: 0 }];
  } finally {
    rmSync(folder, { recursive: true });
  }
};

async function cpuMicros(work: () => Promise<unknown>): Promise<number> {
  const before = process.cpuUsage();
  await work();
  const { user, system } = process.cpuUsage(before);
  return user + system;
}

async function measureOurs(path: string): Promise<Figures> {
  rmSync(path, { force: true });
  const driver = new TickingDriver();
  const connection = new Connection(driver);
  let count = 0;
  const write = await cpuMicros(async () => {
    const recording = await record(connection, path);
    for (let confirmed = 0; recording.figures.ticks < TICKS; ) {
      driver.confirm(recording.figures.ticks - confirmed);
      confirmed = recording.figures.ticks;
      await new Promise((resolve) => setImmediate(resolve));
    }
    await recording.close();
    count = recording.figures.records;
  });
  await connection.close();
  let replayed = 0;
  const read = await cpuMicros(async () => {
    await using replay = await connect(`file://${path}?speed=max`);
    await replay.watch().forEach(() => void replayed++);
  });
  if (replayed !== count) throw new Error(`${replayed} of ${count} records were replayed`);
  return { bytes: statSync(path).size / count, writeMicros: write / count, readMicros: read / count };
}

async function measureJson(path: string): Promise<Figures> {
  const driver = new TickingDriver();
  let count = 0;
  const gzip = createGzip();
  const file = createWriteStream(path);
  gzip.pipe(file);
  const plain: object[][] = [];
  // The peer's objects are made before the measurement, because making them is not the peer's work.
  await new Promise<void>((resolve) => {
    let tick: object[] = [];
    const stop = driver.watch({} as never, {} as never, {
      record: (each: DomainStatsRecord) => void tick.push(plainRecord(each)),
      gone: () => {},
      event: () => {
        plain.push(tick);
        tick = [];
        driver.confirm(1);
        if (plain.length < 4) return;
        stop();
        resolve();
      },
      flush: () => {},
      end: () => {},
    });
  });
  const write = await cpuMicros(async () => {
    for (let tick = 0; tick < TICKS; tick++) {
      const lines = plain[tick % plain.length]!.map((each) => `${JSON.stringify(each)}\n`);
      count += lines.length;
      if (!gzip.write(lines.join(""))) await once(gzip, "drain");
    }
    gzip.end();
    await once(file, "close");
  });
  let read = 0;
  const micros = await cpuMicros(async () => {
    const lines = createInterface({ input: createReadStream(path).pipe(createGunzip()) });
    for await (const line of lines) if (JSON.parse(line).status === "ok") read++;
  });
  if (read !== count) throw new Error(`${read} of ${count} lines were read`);
  return { bytes: statSync(path).size / count, writeMicros: write / count, readMicros: micros / count };
}

/**
 * The largest difference between the times of a watch's ticks and those of its replay at speed 1, each counted from its
 * own first tick, in ms.
 */
async function timing(path: string): Promise<number> {
  const times: number[] = [];
  {
    await using host = await connect("test:///default?domains=50");
    await using _recording = await record(host, path, { intervalMs: 200 });
    for await (const event of host.watch({}, { intervalMs: 200 }).events) {
      if (event.type === "sync" && times.push(performance.now()) === 25) break;
    }
  }
  await using replay = await connect(`file://${path}`);
  const replayed: number[] = [];
  await replay.watch().events.forEach((event) => void (event.type === "sync" && replayed.push(performance.now())));
  return Math.max(...times.map((time, i) => Math.abs(time - times[0]! - (replayed[i]! - replayed[0]!))));
}

/**
 * Cuts a recording in its last MiB again and again. After each cut, the recording must have all records of the frames
 * before the cut.
 */
async function cutsOf(path: string, cut: string): Promise<{ readonly all: number; readonly failed: number }> {
  copyFileSync(path, cut);
  const { size } = statSync(path);
  let [all, failed] = [0, 0];
  let before = await surveyRecording(cut);
  for (let at = size - CUT_STEP; at > size - CUT_BYTES && at > 0; at -= CUT_STEP) {
    truncateSync(cut, at);
    const survey = await surveyRecording(cut);
    all++;
    const isWhole = survey.damagedBytes === 0 && survey.invalidMessages === 0 && survey.gapCount === 0;
    // Nothing but the cut frame is missing.
    const isRight =
      isWhole && survey.cutBytes < CUT_BYTES / 4 && survey.records <= before.records && survey.bytes === at;
    if (!isRight) failed++;
    before = survey;
  }
  return { all, failed };
}

/**
 * Cuts a recording at each byte of its last MiB, and reads it from the frame before the frame that is cut. The reader
 * must find that earlier frame, and report that the file ends in a part of a frame. A reader never goes back, so it
 * reads everything before that earlier frame as without the cut.
 */
async function cutsEverywhere(path: string, cut: string): Promise<{ readonly all: number; readonly failed: number }> {
  copyFileSync(path, cut);
  const { size } = statSync(path);
  const file = await open(cut, "r+");
  try {
    const frames: Frame[] = [];
    for await (const piece of pieces(file, 0)) if (piece.kind !== "damage") frames.push(piece);
    let [all, failed, last] = [0, 0, frames.length - 1];
    for (let at = size - 1; at > size - CUT_BYTES && at > 0; at--) {
      await file.truncate(at);
      while (frames[last]!.offset >= at) last--;
      const [whole, broken] = [frames[last - 1]!, frames[last]!];
      const found: Piece[] = [];
      for await (const piece of pieces(file, whole.offset)) found.push(piece);
      const [first, rest] = found;
      all++;
      const isRight =
        found.length === 2 &&
        first!.kind === whole.kind &&
        (first as Frame).end === whole.end &&
        (broken.end === at ? rest!.kind === broken.kind : isCut(rest!, broken.offset, at));
      if (!isRight) failed++;
    }
    return { all, failed };
  } finally {
    await file.close();
  }
}

function isCut(piece: Piece, offset: number, end: number): boolean {
  return piece.kind === "damage" && piece.last && piece.offset === offset && piece.bytes === end - offset;
}
