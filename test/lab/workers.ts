import { join } from "node:path";
import { mustRun } from "./command.ts";
import type { Libvirtd } from "./libvirtd.ts";

/** libvirtd's ordinary workers, those that every statistics call of every client needs; 20 at most by default. */
export interface WorkerPool {
  /** Those that make a call at this moment. */
  readonly busy: number;
  /** Those that were started; they are started when they are needed. */
  readonly started: number;
  /** Calls that wait for a worker. */
  readonly queued: number;
}

/** So many looks make one answer: a call that hangs is there in all of them, a short one is not. */
const LOOKS = 3;

/**
 * How many of the daemon's workers hang, as its administration interface counts them: the fewest of three looks in a
 * row, so that a call of a millisecond is not taken for one that hangs. Needs virt-admin; the question has a socket and a
 * thread of its own, so it is answered also when every worker hangs.
 */
export async function workerPool(libvirtd: Libvirtd): Promise<WorkerPool> {
  const look = "srv-threadpool-info libvirtd";
  const stdout = await virtAdmin(libvirtd, Array.from({ length: LOOKS }, () => look).join("; "));
  const numbers = (name: string): number[] =>
    [...stdout.matchAll(new RegExp(`^${name}\\s*: (\\d+)$`, "gm"))].map(([, digits]) => Number(digits));
  const started = numbers("nWorkers");
  const free = numbers("freeWorkers");
  if (started.length !== LOOKS || free.length !== LOOKS) throw new Error(`virt-admin says something else: ${stdout}`);
  return {
    busy: Math.min(...started.map((all, look) => all - free[look]!)),
    started: Math.max(...started),
    queued: Math.min(...numbers("jobQueueDepth")),
  };
}

/** The numbers that the daemon gave the connections that are open now. A connection made anew has another number. */
export async function connectionIds(libvirtd: Libvirtd): Promise<number[]> {
  const stdout = await virtAdmin(libvirtd, "srv-clients-list libvirtd");
  return [...stdout.matchAll(/^ *(\d+) +unix/gm)].map(([, id]) => Number(id));
}

async function virtAdmin(libvirtd: Libvirtd, commands: string): Promise<string> {
  const uri = `libvirtd:///system?socket=${join(libvirtd.directory, "run/libvirt/libvirt-admin-sock")}`;
  const env = { ...process.env, LC_ALL: "C.UTF-8" };
  return (await mustRun("virt-admin", ["-c", uri, commands], { env, timeout: 10_000 })).stdout;
}
