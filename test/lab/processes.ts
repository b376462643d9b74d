import { readdir, readFile, readlink } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";

/** One process of a private namespace: its id as seen from here, its id inside, and its name. */
export interface ProcessEntry {
  readonly pid: number;
  readonly inner: number;
  readonly name: string;
}

/**
 * The processes of the process namespace whose first process is the child of `parent`; none when `parent` has no child.
 * Zombies are left out: they run no more.
 */
export async function listProcesses(parent: number): Promise<ProcessEntry[]> {
  const all = (
    await Promise.all((await readdir("/proc")).filter((name) => /^\d+$/.test(name)).map(readProcess))
  ).filter((entry) => entry !== undefined);
  const first = all.find((entry) => entry.parent === parent && entry.inner === 1);
  if (first === undefined) return [];
  const namespace = await namespaceOf(first.pid);
  const members: ProcessEntry[] = [];
  for (const { pid, inner, name, nested } of all) {
    if (nested && (await namespaceOf(pid)) === namespace) members.push({ pid, inner, name });
  }
  return members;
}

/** True while a process with this id exists and is no zombie. */
export function isAlive(pid: number): boolean {
  if (pid <= 0) return false;
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

/** Resolves when the process has ended; rejects after `timeout` milliseconds. */
export async function processGone(pid: number, timeout = 60_000): Promise<void> {
  const deadline = Date.now() + timeout;
  while (isAlive(pid)) {
    if (Date.now() > deadline) throw new Error(`process ${pid} still runs after ${timeout} ms`);
    await sleep(10);
  }
}

async function readProcess(name: string) {
  const status = await readFile(`/proc/${name}/status`, "utf8").catch(() => "");
  const field = (key: string) => new RegExp(`^${key}:\\t(.*)$`, "m").exec(status)?.[1] ?? "";
  if (status === "" || field("State").startsWith("Z")) return undefined;
  // One id per namespace, from the outermost that is visible here to the process's own.
  const ids = field("NSpid").split("\t");
  return {
    pid: Number(name),
    parent: Number(field("PPid")),
    inner: Number(ids.at(-1)),
    nested: ids.length > 1,
    name: field("Name"),
  };
}

function namespaceOf(pid: number): Promise<string | undefined> {
  return readlink(`/proc/${pid}/ns/pid`).catch(() => undefined);
}
