import { eventLoopTurn } from "../../driver/event-loop.ts";
import { hostNames } from "../../driver/matcher.ts";
import { DomainMap } from "../../model/domain-map.ts";
import { type Group, groupNames } from "../../model/group.ts";
import type { DomainStatsRecord } from "../../model/record.ts";
import type { GapEvent, GapReason, StatusEvent, SyncEvent } from "../../model/watch.ts";
import { type EventSink, Playback } from "./playback.ts";
import { type FilePiece, Recording } from "./recording.ts";

/** The most entries in each list of a survey: the list of gaps, of damaged places, and of hosts. */
const MOST_LISTED = 1_000;
/** The number of frames that a survey reads between two turns of the event loop. */
const FRAMES_PER_TURN = 256;

/** A period for which a recording lacks the records of one host, or of all hosts. */
export interface RecordingGap {
  readonly reason: GapReason;
  /** When the period begins and ends, in ms since 1970. */
  readonly from: number;
  readonly to: number;
  /** The number of sweeps that are missing; undefined: not known. */
  readonly skipped: number | undefined;
  /** The host without records; undefined: all hosts. */
  readonly host: string | undefined;
}

/** The content of a recording. `from` and `to` are the times of its first and its last frame, in ms since 1970. */
export interface RecordingSurvey {
  readonly path: string;
  /** The files of the recording, in order. */
  readonly files: readonly { readonly path: string; readonly bytes: number }[];
  readonly bytes: number;
  readonly from: number;
  readonly to: number;
  /** True if the last recorder ended in an orderly way. False if this recorder is still running, or was killed. */
  readonly ended: boolean;
  readonly hypervisor: string;
  /** The names of the first 1,000 hosts that occur in the recording. */
  readonly hosts: readonly string[];
  /** The number of domains of which the recording has records. */
  readonly domains: number;
  /** The groups that the recorder requested; empty: all that the hypervisor supports. */
  readonly groups: readonly Group[];
  readonly intervalMs: number;
  readonly records: number;
  /** The number of records of each status. */
  readonly statuses: { readonly ok: number; readonly partial: number; readonly failed: number; readonly gone: number };
  /** The number of completed sweeps. */
  readonly ticks: number;
  /** The bytes of all files divided by the number of records; undefined if there are no records. */
  readonly bytesPerRecord: number | undefined;
  readonly keyFrames: number;
  /** The first 1,000 gaps; `gapCount` is the number of all gaps. */
  readonly gaps: readonly RecordingGap[];
  readonly gapCount: number;
  /** The first 1,000 damaged places; `damagedBytes` is the sum of the bytes of all damaged places. */
  readonly damage: readonly { readonly path: string; readonly offset: number; readonly bytes: number }[];
  readonly damagedBytes: number;
  /** The number of frames whose checksum is valid but whose message is not: another program wrote these frames. */
  readonly invalidMessages: number;
  /** Bytes at the end of the newest file that are not a complete frame: the recorder was killed, or is writing. */
  readonly cutBytes: number;
}

/**
 * Reads a whole recording, and describes its content.
 *
 * @throws VirstreamError `invalid-argument` when it cannot be read, or is not a recording
 */
export async function surveyRecording(
  path: string,
  options: { readonly signal?: AbortSignal } = {},
): Promise<RecordingSurvey> {
  const recording = await Recording.open(path);
  await recording.ends();
  const surveyor = new Surveyor(recording);
  let frames = 0;
  for await (const piece of recording.pieces()) {
    options.signal?.throwIfAborted();
    surveyor.take(piece);
    if (++frames % FRAMES_PER_TURN === 0) await eventLoopTurn();
  }
  return surveyor.survey();
}

class Surveyor implements EventSink {
  readonly #recording: Recording;
  readonly #playback = new Playback(this, this);
  readonly #hosts = new Set<string>();
  readonly #domains = new DomainMap<true>();
  readonly #statuses = { ok: 0, partial: 0, failed: 0, gone: 0 };
  readonly #gaps: RecordingGap[] = [];
  readonly #damage: { path: string; offset: number; bytes: number }[] = [];
  /**
   * For each host that is reported as absent: when its absence began, in ms since 1970. The key `undefined` stands for
   * all hosts.
   */
  readonly #absentSince = new Map<string | undefined, number>();
  #gapCount = 0;
  #damagedBytes = 0;
  #cutBytes = 0;
  #records = 0;
  #ticks = 0;
  #keyFrames = 0;
  #ended = false;
  #from: number | undefined;
  /**
   * `#at`: the time of the frame that was read last, in ms since 1970. `#beforeKey`: the time of the frame before the
   * newest key frame that was read.
   */
  #at = 0;
  #beforeKey = 0;

  constructor(recording: Recording) {
    this.#recording = recording;
  }

  take(piece: FilePiece): void {
    if (piece.kind === "damage") {
      this.#playback.apply(piece);
      const isCut = piece.last && piece.path === this.#recording.path;
      if (isCut) this.#cutBytes = piece.bytes;
      else {
        this.#damagedBytes += piece.bytes;
        if (this.#damage.length < MOST_LISTED) {
          this.#damage.push({ path: piece.path, offset: piece.offset, bytes: piece.bytes });
        }
      }
      return;
    }
    this.#from ??= piece.at;
    if (piece.kind === "key") this.#beforeKey = this.#keyFrames++ === 0 ? piece.at : this.#at;
    this.#at = piece.at;
    this.#ended = piece.kind === "end";
    this.#playback.apply(piece);
  }

  record({ domain, status }: DomainStatsRecord): void {
    this.#records++;
    this.#statuses[status]++;
    this.#domains.set(domain, true);
    if (this.#hosts.size < MOST_LISTED && domain.host !== "") this.#hosts.add(domain.host);
  }

  gone(): void {}

  event(event: SyncEvent | GapEvent | StatusEvent): void {
    if (event.type === "sync") {
      this.#ticks++;
      for (const host of hostNames(event.host)) if (this.#hosts.size < MOST_LISTED) this.#hosts.add(host);
    } else if (event.type === "status") {
      if (event.state === "connected" || event.state === "removed") return;
      if (!this.#absentSince.has(event.host)) this.#absentSince.set(event.host, this.#at);
    } else {
      this.#gap(event);
    }
  }

  survey(): RecordingSurvey {
    const { path, files } = this.#recording;
    const { description, welcome, invalid } = this.#playback;
    const bytes = files.reduce((sum, { size }) => sum + size, 0);
    return {
      path,
      files: files.map((file) => ({ path: file.path, bytes: file.size })),
      ...{ bytes, from: this.#from ?? 0, to: this.#at, ended: this.#ended, hypervisor: welcome?.hypervisor ?? "" },
      hosts: [...this.#hosts],
      domains: this.#domains.size,
      groups: groupNames(description?.groups ?? 0),
      ...{
        intervalMs: description?.intervalMs ?? 0,
        records: this.#records,
        statuses: this.#statuses,
        ticks: this.#ticks,
      },
      bytesPerRecord: this.#records === 0 ? undefined : bytes / this.#records,
      ...{ keyFrames: this.#keyFrames, gaps: this.#gaps, gapCount: this.#gapCount, damage: this.#damage },
      ...{ damagedBytes: this.#damagedBytes, cutBytes: this.#cutBytes, invalidMessages: invalid },
    };
  }

  #gap({ reason, skipped, host }: GapEvent): void {
    this.#gapCount++;
    const from = this.#absentSince.get(host) ?? (reason === "not-recorded" ? this.#beforeKey : this.#at);
    this.#absentSince.delete(host);
    if (this.#gaps.length < MOST_LISTED) this.#gaps.push({ reason, from, to: this.#at, skipped, host });
  }
}
