import { invalid } from "../../model/error.ts";
import { mapOf, textOf, wholeOf } from "../../wire/messages.ts";
import { unpack } from "../../wire/unpack.ts";
import { openFile, type RecordingFile, recordingFiles } from "./files.ts";
import type { Frame } from "./frame.ts";
import { keyBefore, keyFrom, type Piece, pieces } from "./frame-reader.ts";

/** The version of the format of recordings. A reader refuses a recording of a later version. */
export const FORMAT_VERSION = 1;

/** What the first part of each key frame says about the recording. */
export interface Description {
  /** A text that is different for each start of a recorder. */
  readonly epoch: string;
  /** The groups that were recorded, as a bit mask like that of a query; 0: all that the hypervisor supports. */
  readonly groups: number;
  readonly intervalMs: number;
  /** When the recorder started, in ms since 1970. */
  readonly wallMs: number;
  /** When the recorder started, in ms on the steady clock that the records' steady times use. */
  readonly steadyMs: number;
}

/** A piece of a recording, with the path of its file. */
export type FilePiece = Piece & { readonly path: string };

/** The files of a recording, which are read as if they were one file. */
export class Recording {
  readonly path: string;
  readonly files: readonly RecordingFile[];

  private constructor(path: string, files: readonly RecordingFile[]) {
    this.path = path;
    this.files = files;
  }

  /** @throws VirstreamError `invalid-argument` when the recording has no file, or a file cannot be read */
  static async open(path: string): Promise<Recording> {
    return new Recording(path, await recordingFiles(path));
  }

  /** True if another Recording object, opened earlier or later, has the same files with the same sizes. */
  isSame({ files }: Recording): boolean {
    return (
      files.length === this.files.length &&
      files.every(({ inode, size }, i) => inode === this.files[i]!.inode && size === this.files[i]!.size)
    );
  }

  /**
   * Yields the pieces in order, from the last key frame at or before a time to the end of the newest file.
   *
   * @param time in ms since 1970; default: from the beginning
   */
  async *pieces(time = Number.NEGATIVE_INFINITY): AsyncGenerator<FilePiece> {
    const { path } = this;
    let isFirst = true;
    for (const each of this.files.slice(await this.#fileOf(time))) {
      const file = await openFile(path, each);
      if (file === undefined) {
        yield { kind: "damage", offset: 0, bytes: each.size, last: false, path: each.path };
        continue;
      }
      try {
        const from = isFirst && time > Number.NEGATIVE_INFINITY ? await keyBefore(file, each.size, time) : 0;
        isFirst = false;
        for await (const piece of pieces(file, from)) yield { ...piece, path: each.path };
      } finally {
        await file.close();
      }
    }
  }

  /**
   * Reads the first key frame and the last frame of the recording. @throws VirstreamError `invalid-argument` when it
   * has no such frames
   */
  async ends(): Promise<{ readonly first: Frame; readonly last: Frame }> {
    let first: Frame | undefined;
    let last: Frame | undefined;
    for (const each of this.files) {
      first ??= await this.#firstKey(each);
    }
    for await (const piece of this.pieces(Number.POSITIVE_INFINITY)) if (piece.kind !== "damage") last = piece;
    if (first === undefined || last === undefined) {
      const sizes = this.files.reduce((sum, { size }) => sum + size, 0);
      throw invalid(
        `${this.path} ${sizes === 0 ? "is empty: nothing was recorded" : "is not a recording of virstream"}`,
      );
    }
    return { first, last };
  }

  /**
   * The index in `files` of the last file whose first key frame was written at or before a time; 0 if there is none.
   */
  async #fileOf(time: number): Promise<number> {
    if (time === Number.NEGATIVE_INFINITY) return 0;
    for (let i = this.files.length - 1; i > 0; i--) {
      const key = await this.#firstKey(this.files[i]!);
      if (key !== undefined && key.at <= time) return i;
    }
    return 0;
  }

  async #firstKey(each: RecordingFile): Promise<Frame | undefined> {
    const file = await openFile(this.path, each);
    try {
      return file === undefined ? undefined : await keyFrom(file, 0, each.size);
    } finally {
      await file?.close();
    }
  }
}

/**
 * Reads the description in a key frame. @throws VirstreamError `protocol-error` if the description is malformed;
 * `invalid-argument` for a later version of the format
 */
export function descriptionOf({ payload }: Frame): Description {
  const map = mapOf(unpack(payload), "a recording's description");
  const version = wholeOf(map, "version");
  if (version > FORMAT_VERSION) {
    throw invalid(`the recording has the format ${version}, and this version reads ${FORMAT_VERSION}: use a newer one`);
  }
  return {
    epoch: textOf(map, "epoch"),
    groups: wholeOf(map, "groups", 0xffffffff),
    intervalMs: wholeOf(map, "intervalMs"),
    wallMs: wholeOf(map, "wallMs"),
    steadyMs: wholeOf(map, "steadyMs"),
  };
}
