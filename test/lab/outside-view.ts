import { setTimeout as sleep } from "node:timers/promises";
import { runCommand } from "./command.ts";
import type { Guest } from "./guest.ts";
import type { Libvirtd } from "./libvirtd.ts";
import { workerPool } from "./workers.ts";

const INTERVAL_MS = 500;
const LIMIT_MS = 10_000;

/** What everybody else sees of a daemon, at its worst. Times are in ms and include virsh's start, about 30. */
export interface OutsideFigures {
  /** Looks so far. */
  readonly looks: number;
  /** The most workers that hung. */
  readonly busiest: number;
  /** The most calls that waited for a worker. */
  readonly queued: number;
  /** The slowest `virsh domstats --state` of all domains. */
  readonly stateMs: number;
  /** The slowest `virsh dumpxml` of one domain. */
  readonly xmlMs: number;
  /** What other clients were told when they failed, or that they hung. */
  readonly failures: readonly string[];
}

/**
 * Looks at a daemon from outside, twice a second: how many workers hang, and how long other clients wait for what no
 * frozen guest should delay. Workers are counted while the other clients do not ask, so it is not them that are counted.
 */
export class OutsideView implements AsyncDisposable {
  readonly #libvirtd: Libvirtd;
  readonly #guest: Guest;
  readonly #failures: string[] = [];
  #looks = 0;
  #busiest = 0;
  #queued = 0;
  #stateMs = 0;
  #xmlMs = 0;
  #closed = false;
  readonly #ended: Promise<void>;

  /** @param guest whose description the other client reads */
  constructor(libvirtd: Libvirtd, guest: Guest) {
    this.#libvirtd = libvirtd;
    this.#guest = guest;
    this.#ended = this.#watch();
    this.#ended.catch(() => {});
  }

  get figures(): OutsideFigures {
    return {
      looks: this.#looks,
      busiest: this.#busiest,
      queued: this.#queued,
      stateMs: this.#stateMs,
      xmlMs: this.#xmlMs,
      failures: this.#failures,
    };
  }

  /** Ends after the look in progress, and rejects if looking failed. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    await this.#ended;
  }

  async #watch(): Promise<void> {
    while (!this.#closed) {
      const began = performance.now();
      const { busy, queued } = await workerPool(this.#libvirtd);
      this.#busiest = Math.max(this.#busiest, busy);
      this.#queued = Math.max(this.#queued, queued);
      this.#stateMs = Math.max(this.#stateMs, await this.#virsh("domstats", "--state"));
      this.#xmlMs = Math.max(this.#xmlMs, await this.#virsh("dumpxml", this.#guest.uuid));
      this.#looks++;
      await sleep(Math.max(0, INTERVAL_MS - (performance.now() - began)));
    }
  }

  async #virsh(...args: string[]): Promise<number> {
    const env = { ...process.env, LC_ALL: "C.UTF-8" };
    const began = performance.now();
    const { code, stderr } = await runCommand("virsh", ["-c", this.#libvirtd.readWriteUri, ...args], {
      env,
      timeout: LIMIT_MS,
    });
    const took = performance.now() - began;
    if (code !== 0) this.#failures.push(`virsh ${args.join(" ")}: ${stderr.trim() || `killed after ${LIMIT_MS} ms`}`);
    return took;
  }
}
