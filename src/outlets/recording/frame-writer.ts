import { constants } from "node:fs";
import { type FileHandle, open, rename, rm } from "node:fs/promises";
import { rotatedNumbers, rotatedPath } from "../../drivers/recording/files.ts";
import { frameAt, HEADER_BYTES } from "../../drivers/recording/frame.ts";
import { keyBefore, keyFrom, pieces } from "../../drivers/recording/frame-reader.ts";
import { VirstreamError } from "../../model/error.ts";

/** Says when a recording continues in another file, and how many earlier files are kept. */
export interface Rotation {
  /** The file is rotated when it has this size, in bytes; undefined: no limit. */
  readonly bytes: number | undefined;
  /** The file is rotated at this age, in ms, counted from its first frame; undefined: no limit. */
  readonly ageMs: number | undefined;
  /** How many rotated files are kept; undefined: all. */
  readonly keep: number | undefined;
}

/** The most bytes that may wait for the disk. A tick that comes while more bytes wait is not recorded. */
const MOST_WAITING_BYTES = 67_108_864;

/**
 * Appends frames to a file, in the background and in order. When a write fails, it removes the cut frame from the file.
 * If an earlier crash has left a cut frame at the end of the file, it removes this frame before it writes the first new
 * frame. After `rotate`, it continues in a new file.
 */
export class FrameWriter {
  readonly #path: string;
  readonly #rotation: Rotation;
  #file: FileHandle;
  /** The size of the file in bytes, which is also the position of the next frame. */
  #size: number;
  /** The time of the file's first frame, in ms since 1970; undefined: it has none. */
  #begunAt: number | undefined;
  /** The frames that wait. At an undefined item, the file is rotated. */
  #waiting: (Buffer | undefined)[] = [];
  #waitingBytes = 0;
  /** The size of the file after everything that waits is written. */
  #nextSize: number;
  #writing: Promise<void> | undefined;
  #error: VirstreamError | undefined;
  readonly #onError: (error: VirstreamError) => void;

  private constructor(path: string, rotation: Rotation, onError: (error: VirstreamError) => void, file: OpenedFile) {
    this.#path = path;
    this.#rotation = rotation;
    this.#onError = onError;
    this.#file = file.file;
    this.#size = file.size;
    this.#nextSize = file.size;
    this.#begunAt = file.begunAt;
  }

  /**
   * Opens a recording to append to it, or begins a new recording.
   *
   * @param onError called once, when a write fails
   * @throws VirstreamError `output-failed` when the file cannot be written, or is not a recording
   */
  static async open(path: string, rotation: Rotation, onError: (error: VirstreamError) => void): Promise<FrameWriter> {
    try {
      return new FrameWriter(path, rotation, onError, await openToAppend(path));
    } catch (cause) {
      throw failure(path, cause);
    }
  }

  /** True if more than MOST_WAITING_BYTES wait for the disk: then no further frame should be added. */
  get isBehind(): boolean {
    return this.#waitingBytes > MOST_WAITING_BYTES;
  }

  /** The error after which nothing more is written; undefined if nothing failed. */
  get error(): VirstreamError | undefined {
    return this.#error;
  }

  /** True if no frame waits for the disk. */
  get isIdle(): boolean {
    return this.#writing === undefined;
  }

  /** True if the file has reached the size or the age at which it is rotated. @param now in ms since 1970 */
  mustRotate(now: number): boolean {
    const { bytes = Number.POSITIVE_INFINITY, ageMs = Number.POSITIVE_INFINITY } = this.#rotation;
    return this.#nextSize >= bytes || now - (this.#begunAt ?? now) >= ageMs;
  }

  /** Adds a frame that was made at the time `at`, in ms since 1970. */
  write(frame: Buffer, at: number): void {
    if (this.#error !== undefined) return;
    this.#begunAt ??= at;
    this.#waiting.push(frame);
    this.#waitingBytes += frame.length;
    this.#nextSize += frame.length;
    this.#start();
  }

  /** Frames that are added from now on go into a new file. */
  rotate(): void {
    if (this.#error !== undefined) return;
    this.#waiting.push(undefined);
    this.#nextSize = 0;
    this.#begunAt = undefined;
    this.#start();
  }

  /**
   * Writes the frames that wait, and closes the file. Never rejects: `onError` gets the error of a write that fails.
   */
  async close(): Promise<void> {
    while (this.#writing !== undefined) await this.#writing;
    await this.#file.datasync().catch((cause) => this.#fail(cause));
    await this.#file.close().catch(() => {});
  }

  #start(): void {
    this.#writing ??= this.#drain()
      .catch((cause) => this.#fail(cause))
      .finally(() => {
        this.#writing = undefined;
        if (this.#waiting.length > 0) this.#start();
      });
  }

  async #drain(): Promise<void> {
    // Frames that are added in the same turn of the event loop share a write.
    await Promise.resolve();
    while (this.#waiting.length > 0) {
      const end = this.#waiting.indexOf(undefined);
      const frames = this.#waiting.splice(0, end < 0 ? this.#waiting.length : end) as Buffer[];
      if (frames.length > 0) await this.#append(Buffer.concat(frames));
      if (end < 0) continue;
      this.#waiting.shift();
      await this.#replace();
    }
  }

  async #append(bytes: Buffer): Promise<void> {
    const { size } = await this.#file.stat();
    if (size !== this.#size) {
      throw new VirstreamError(
        "output-failed",
        `another process writes to the recording ${this.#path}: end one of them`,
      );
    }
    // writeFile of a handle continues until everything is written, or fails.
    await this.#file.writeFile(bytes);
    this.#size += bytes.length;
    this.#waitingBytes -= bytes.length;
  }

  async #replace(): Promise<void> {
    await this.#file.datasync();
    await this.#file.close();
    const numbers = await rotatedNumbers(this.#path);
    const number = (numbers.at(-1) ?? 0) + 1;
    await rename(this.#path, rotatedPath(this.#path, number));
    const { keep = Number.POSITIVE_INFINITY } = this.#rotation;
    const all = [...numbers, number];
    for (const old of all.slice(0, Math.max(0, all.length - keep)))
      await rm(rotatedPath(this.#path, old), { force: true });
    const { file } = await openToAppend(this.#path);
    this.#file = file;
    this.#size = 0;
  }

  async #fail(cause: unknown): Promise<void> {
    if (this.#error !== undefined) return;
    this.#error = failure(this.#path, cause);
    this.#waiting = [];
    this.#waitingBytes = 0;
    // A part of a frame may have been written. Truncating the file works on a full disk, too. A VirstreamError means
    // that another process has written to the file. The bytes of that process stay.
    if (!(cause instanceof VirstreamError)) await this.#file.truncate(this.#size).catch(() => {});
    this.#onError(this.#error);
  }
}

interface OpenedFile {
  readonly file: FileHandle;
  readonly size: number;
  readonly begunAt: number | undefined;
}

async function openToAppend(path: string): Promise<OpenedFile> {
  const file = await open(path, constants.O_RDWR | constants.O_CREAT | constants.O_APPEND, 0o640);
  try {
    const { size } = await file.stat();
    if (size === 0) return { file, size, begunAt: undefined };
    const first = await keyFrom(file, 0, size);
    if (first === undefined && !(await isCut(file))) {
      throw new VirstreamError("output-failed", `${path} exists and is not a recording: choose another file`);
    }
    let end = size;
    for await (const piece of pieces(file, await keyBefore(file, size, Number.POSITIVE_INFINITY))) {
      if (piece.kind === "damage" && piece.last) end = piece.offset;
    }
    if (end < size) await file.truncate(end);
    return { file, size: end, begunAt: first?.at };
  } catch (error) {
    await file.close();
    throw error;
  }
}

/** True if a file contains only a part of its first frame. */
async function isCut(file: FileHandle): Promise<boolean> {
  const buffer = Buffer.alloc(2 * HEADER_BYTES);
  const { bytesRead } = await file.read(buffer, 0, buffer.length, 0);
  return typeof frameAt(buffer.subarray(0, bytesRead), 0, 0) === "number";
}

const FIXES: Readonly<Record<string, string>> = {
  ENOSPC: ": make room on its disk",
  EDQUOT: ": make room on its disk",
  EACCES: ": allow this user to write there",
  ENOENT: ": make its folder first",
};

function failure(path: string, cause: unknown): VirstreamError {
  if (cause instanceof VirstreamError) return cause;
  const { code = "" } = cause as NodeJS.ErrnoException;
  if (code === "") return VirstreamError.from(cause);
  const message = `the recording ${path} cannot be written (${code})${FIXES[code] ?? ""}`;
  return new VirstreamError("output-failed", message, { cause });
}
