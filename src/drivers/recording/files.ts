import { type FileHandle, open, readdir, stat } from "node:fs/promises";
import { basename, dirname } from "node:path";
import { invalid } from "../../model/error.ts";
import { whyUnreadable } from "../unreadable.ts";

/** A file of a recording. A recorder may rename it while we read it. */
export interface RecordingFile {
  readonly path: string;
  readonly size: number;
  /** Its number in the file system, which stays when the file is renamed. */
  readonly inode: number;
}

/** The path to which a recorder renames its file, as rotated file number `n`, before it begins a new file. */
export function rotatedPath(path: string, n: number): string {
  return `${path}.${`${n}`.padStart(6, "0")}`;
}

/**
 * The numbers of the rotated files of a recording, in ascending order: the largest number belongs to the newest file.
 */
export async function rotatedNumbers(path: string): Promise<number[]> {
  const prefix = `${basename(path)}.`;
  const names = await readdir(dirname(path));
  return names
    .filter((name) => name.startsWith(prefix) && /^(\d{6}|[1-9]\d{6,11})$/.test(name.slice(prefix.length)))
    .map((name) => Number(name.slice(prefix.length)))
    .sort((one, other) => one - other);
}

/**
 * The files of a recording in the order of their contents: the rotated files, and then the file that has the
 * recording's own name.
 *
 * @throws VirstreamError `invalid-argument` when there is no file, or a file cannot be read
 */
export async function recordingFiles(path: string): Promise<RecordingFile[]> {
  try {
    const rotated = (await rotatedNumbers(path)).map((n) => rotatedPath(path, n));
    const files: RecordingFile[] = [];
    for (const each of [...rotated, path]) {
      // During a rotation, the newest file may not exist yet, or the oldest may just have been deleted.
      const found = await stat(each).catch((error: NodeJS.ErrnoException) => missing(error, rotated.length > 0));
      if (found?.isFile() === false) throw invalid(`${each} is not a file`);
      if (found !== undefined && !files.some(({ inode }) => inode === found.ino)) {
        files.push({ path: each, size: found.size, inode: found.ino });
      }
    }
    return files;
  } catch (cause) {
    throw unreadable(path, cause);
  }
}

function missing(error: NodeJS.ErrnoException, allowed: boolean): undefined {
  if (error.code !== "ENOENT" || !allowed) throw error;
}

/** Opens a file of a recording, also when it has been renamed since it was listed; undefined: it has been deleted. */
export async function openFile(path: string, { path: name, inode }: RecordingFile): Promise<FileHandle | undefined> {
  for (const each of [name, ...(await rotatedNumbers(path)).map((n) => rotatedPath(path, n))]) {
    const file = await open(each, "r").catch((error: NodeJS.ErrnoException) => {
      if (error.code !== "ENOENT") throw unreadable(each, error);
    });
    if (file === undefined) continue;
    if ((await file.stat()).ino === inode) return file;
    await file.close();
  }
  return undefined;
}

/** Converts an error of the file system to a VirstreamError. Returns any other error as it is. */
function unreadable(path: string, cause: unknown): unknown {
  const { code = "" } = cause as NodeJS.ErrnoException;
  return /^E[A-Z]+$/.test(code) ? invalid(`the recording ${path} cannot be read: ${whyUnreadable(cause)}`) : cause;
}
