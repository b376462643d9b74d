import { readdir, readFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";

/** The QEMU process of a guest on this machine. */
export interface GuestProcess {
  readonly pid: number;
  /** Its state, as ps shows it: `T` and `t` are stopped, `D` waits for storage. */
  readonly state: string;
}

/**
 * A healthy process is in state `D` only for moments. So a process in this state is checked again after this many ms.
 */
const AGAIN_MS = 300;
/**
 * At most this many processes are read at the same time. A host may have more processes than the number of files that
 * this process may open.
 */
const AT_ONCE = 64;

/**
 * Finds the QEMU processes of this machine by the uuid in their arguments. It asks no guest and no daemon. The result
 * lacks processes that this user may not see. It is empty if there is no /proc.
 */
export async function guestProcesses(): Promise<Map<string, GuestProcess>> {
  const found = new Map<string, GuestProcess>();
  const entries = await readdir("/proc").catch(() => []);
  const pids = entries.filter((name) => /^\d+$/.test(name)).map(Number);
  for (let i = 0; i < pids.length; i += AT_ONCE) {
    await Promise.all(
      pids.slice(i, i + AT_ONCE).map(async (pid) => {
        const uuid = /\0-uuid\0([^\0]+)/.exec(await read(`/proc/${pid}/cmdline`))?.[1];
        if (uuid !== undefined) found.set(uuid, { pid, state: await stateOf(pid) });
      }),
    );
  }
  const waiting = [...found].filter(([, { state }]) => state === "D");
  if (waiting.length > 0) await sleep(AGAIN_MS);
  for (const [uuid, { pid }] of waiting) found.set(uuid, { pid, state: await stateOf(pid) });
  return found;
}

/**
 * Reads the state of a process. In the file `stat`, the state follows the name of the program, which is in parentheses
 * and may itself contain parentheses.
 */
async function stateOf(pid: number): Promise<string> {
  return /\) (\S)[^)]*$/.exec(await read(`/proc/${pid}/stat`))?.[1] ?? "";
}

/**
 * Reads a file of a process. Returns an empty text if the process has ended, or if the system hides it from this user.
 */
function read(path: string): Promise<string> {
  return readFile(path, "utf8").catch(() => "");
}
