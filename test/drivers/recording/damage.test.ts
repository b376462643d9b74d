/** @module-tag any-node */

import { copyFileSync, mkdirSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { openFile, recordingFiles } from "../../../src/drivers/recording/files.ts";
import { encodeFrame, type Frame } from "../../../src/drivers/recording/frame.ts";
import { pieces } from "../../../src/drivers/recording/frame-reader.ts";
import { VirstreamError } from "../../../src/model/error.ts";
import { surveyRecording } from "../../../src/outlets/recording/index.ts";
import { pack } from "../../../src/wire/pack.ts";
import { unpack } from "../../../src/wire/unpack.ts";
import { folder, open, RecordedHost, replayed, word } from "../../outlets/recording/recorded.ts";

/** The frames of a recording of one file. */
async function framesOf(path: string): Promise<Frame[]> {
  const [found] = await recordingFiles(path);
  const file = (await openFile(path, found!))!;
  try {
    const frames: Frame[] = [];
    for await (const piece of pieces(file, 0)) if (piece.kind !== "damage") frames.push(piece);
    return frames;
  } finally {
    await file.close();
  }
}

/** How many events a frame has: a message of changes has the records of all domains. */
function eventsOf({ kind, payload }: Frame, domains: number): number {
  const { type } = kind === "event" ? (unpack(payload) as { type: string }) : { type: "" };
  return type === "changes" ? domains : type === "sync" ? 1 : 0;
}

async function recorded(ticks: number, domains = 3): Promise<string> {
  const host = await RecordedHost.recorded(ticks, { domains });
  return host.path;
}

describe("A recording that is cut", () => {
  it("replays every event before the cut, wherever it is cut in its last 300 bytes", async () => {
    const path = await recorded(6);
    const frames = await framesOf(path);
    const all = await replayed(path);
    const cut = join(folder(), "cut.rec");
    copyFileSync(path, cut);
    const { bytes } = await surveyRecording(path);
    for (let size = bytes; size >= bytes - 300; size--) {
      truncateSync(cut, size);
      const whole = frames.filter(({ end }) => end <= size);
      const count = whole.reduce((sum, frame) => sum + eventsOf(frame, 3), 0);
      expect(await replayed(cut)).toEqual(all.slice(0, count));
    }
  });
});

describe("A recording that is damaged", () => {
  it("replays what is before the damage and from the next key frame on, and reports how many sweeps are missing", async () => {
    const path = await recorded(150);
    const all = await replayed(path);
    const damaged = join(folder(), "damaged.rec");
    const bytes = readFileSync(path);
    const frames = await framesOf(path);
    const keys = frames.filter(({ kind }) => kind === "key").map(({ offset }) => offset);
    for (let at = keys[2]! + 3_000; at < keys[3]!; at += 511) {
      const changed = Buffer.from(bytes);
      changed[at]! ^= 0x10;
      writeFileSync(damaged, changed);
      const events = await replayed(damaged);
      // The next key frame has the tick before it: where only that was lost, nothing is missing.
      const gap = events.findIndex((event) => event.startsWith("gap"));
      const [, reason, skipped] = (events[gap] ?? "gap not-recorded 0").split(" ");
      expect(reason).toBe("not-recorded");
      expect(events.slice(0, Math.max(0, gap))).toEqual(all.slice(0, Math.max(0, gap)));
      const values = (words: string[]) => words.filter((each) => each.includes("=")).slice(-60);
      expect(values(events)).toEqual(values(all));
      const ticks = events.filter((event) => event.startsWith("tick")).length;
      expect(ticks + Number(skipped)).toBe(150);
      const survey = await surveyRecording(damaged);
      expect(survey.damage).toHaveLength(1);
      expect(survey.damagedBytes).toBeLessThan(keys[3]! - keys[2]!);
    }
  });

  it("never fails otherwise than by a VirstreamError, and always ends, whatever its bytes are", async () => {
    const path = await recorded(30);
    const bytes = readFileSync(path);
    const hostile = join(folder(), "hostile.rec");
    const mutation = fc.record({ at: fc.nat(bytes.length - 1), value: fc.nat(255), length: fc.nat(40) });
    await fc.assert(
      fc.asyncProperty(fc.array(mutation, { minLength: 1, maxLength: 6 }), async (mutations) => {
        const changed = Buffer.from(bytes);
        for (const { at, value, length } of mutations) changed.fill(value, at, Math.min(at + length, bytes.length));
        writeFileSync(hostile, changed);
        const survey = await surveyRecording(hostile).catch((error) => error);
        if (survey instanceof Error) expect(survey).toBeInstanceOf(VirstreamError);
        else expect((await replayed(hostile)).length).toBeGreaterThanOrEqual(survey.records);
      }),
      { numRuns: 60 },
    );
  });

  it("with valid checksums and hostile messages skips them with a gap", async () => {
    const path = await recorded(3);
    const before = readFileSync(path);
    const frames = [
      encodeFrame(
        "event",
        pack({ type: "changes", channel: 1, sequence: 1e9, at: [0, 0], gone: [], full: [], changed: [] }),
        0,
        0,
      ),
      encodeFrame("event", Buffer.from([0xc1]), 0, 0),
      encodeFrame("state", pack({ type: "begin", id: 1 }), 0, 0),
      encodeFrame("key", pack({ type: "recording" }), 0, 0),
    ];
    const hostile = join(folder(), "hostile.rec");
    writeFileSync(hostile, Buffer.concat([before, ...frames, before]));
    expect((await surveyRecording(hostile)).invalidMessages).toBe(2);
    const events = await replayed(hostile);
    expect(events.filter((event) => event.startsWith("gap"))).toContain("gap not-recorded undefined");
    expect(events.at(-2)).toBe("domain-2=3002");
  });

  it("of a later format, or that is none, or is missing, is refused with a clear error", async () => {
    const later = join(folder(), "later.rec");
    writeFileSync(later, encodeFrame("key", pack({ type: "recording", version: 2 }), Date.now(), 0));
    await expect(open(later)).rejects.toMatchObject({ code: "invalid-argument", message: /format 2.*use a newer one/ });
    const other = join(folder(), "notes.txt");
    writeFileSync(other, "milk, eggs");
    await expect(open(other)).rejects.toMatchObject({ code: "invalid-argument", message: /is not a recording/ });
    writeFileSync(other, "");
    await expect(open(other)).rejects.toMatchObject({ message: /is empty/ });
    await expect(open(`${other}.missing`)).rejects.toMatchObject({ code: "invalid-argument", message: /ENOENT/ });
    mkdirSync(`${other}.folder`);
    await expect(open(`${other}.folder`)).rejects.toMatchObject({ message: /is not a file/ });
  });

  it("is read although it is renamed, and reported as a gap where a file was deleted", async () => {
    const host = new RecordedHost({ domains: 20 });
    await host.start({ rotateBytes: 20_000, keep: 2 });
    await host.tick(10);
    await host.written();
    const replay = await open(host.path);
    const events: string[] = [];
    const reading = replay.watch().events[Symbol.asyncIterator]();
    events.push(word((await reading.next()).value!));
    await host.tick(60);
    for await (const event of { [Symbol.asyncIterator]: () => reading }) events.push(word(event));
    expect(events.filter((event) => event.startsWith("tick")).length).toBeGreaterThanOrEqual(10);
    await host.stop();
  });
});
