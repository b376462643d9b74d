import { type Clock, withTimeout } from "../../driver/clock.ts";
import type { PoolUsage, StoragePool, StoragePools } from "../../driver/storage-pools.ts";
import { VirstreamError } from "../../model/error.ts";
import { PROCEDURES } from "./rpc/procedures.ts";
import { isNoStoragePool } from "./rpc/remote-error.ts";
import type { RemotePool } from "./rpc/remote-pool.ts";
import type { CallSubject, SideCalls } from "./side-calls.ts";

/** The least time between the starts of two reads of all pools, in ms. */
const INTERVAL_MS = 60_000;
/** The reader does not return a pool's usage that was read longer ago than this, in ms. */
const MAX_AGE_MS = 2 * INTERVAL_MS;
/**
 * How long the reader pauses after a connection was lost while a call about a pool was unanswered, in ms. The pause
 * doubles each time that this happens again, up to MAX_PAUSE_MS. The unanswered call still occupies a worker of the
 * daemon, and nothing shows when the call ends.
 */
const PAUSE_MS = 600_000;
const MAX_PAUSE_MS = 24 * 3_600_000;

/** The host whose pools are read, and the way to call its daemon. */
export interface PoolHost {
  host(): string;
  /** Returns the object that makes the present session's calls about pools. Throws while there is no session. */
  calls(): Pick<SideCalls, "ask" | "unanswered" | "full" | "isUnanswered" | "lost">;
}

interface Entry {
  readonly pool: RemotePool;
  usage: PoolUsage | undefined;
  timedOut: boolean;
  readAt: number;
}

const LIST: CallSubject = { key: "storage pools", name: "the list of storage pools", kind: "monitor" };

/**
 * Reads the storage pools of a host, at most once per minute, and only when a caller asks for them. It never asks
 * libvirt to refresh a pool, because a refresh is a change.
 *
 * While libvirt refreshes a pool, calls about this pool wait, and so do calls that list all pools. If the storage
 * hangs, these calls do not end. So each call needs a permit, like a call that may hang in a guest. The reader reads
 * the pools that it knows one by one, and lists the pools again only when all of them have answered. So if one pool
 * hangs, only the call about this pool stays unanswered, and the other pools are still read.
 */
export class PoolReader implements StoragePools {
  readonly #host: PoolHost;
  readonly #clock: Pick<Clock, "now">;
  readonly #known = new Map<string, Entry>();
  #calls: ReturnType<PoolHost["calls"]> | undefined;
  #reading: Promise<void> | undefined;
  #beganAt = Number.NEGATIVE_INFINITY;
  #pausedUntil = Number.NEGATIVE_INFINITY;
  #pauseMs = PAUSE_MS;
  #error: VirstreamError | undefined;

  constructor(host: PoolHost, clock: Pick<Clock, "now">) {
    this.#host = host;
    this.#clock = clock;
  }

  get error(): VirstreamError | undefined {
    return this.#error;
  }

  async read(timeoutMs: number): Promise<readonly StoragePool[]> {
    const now = this.#clock.now();
    if (this.#reading === undefined && now - this.#beganAt >= INTERVAL_MS) {
      this.#beganAt = now;
      this.#reading = this.#readAll().finally(() => {
        this.#reading = undefined;
      });
    }
    // Waits only for a read that began less than `timeoutMs` ago. So a pool that hangs delays the first callers, and no
    // later callers.
    const leftMs = timeoutMs - (now - this.#beganAt);
    if (this.#reading !== undefined && leftMs > 0) await withTimeout(this.#reading, leftMs, () => {});
    return this.#present();
  }

  #present(): StoragePool[] {
    const host = this.#host.host();
    const since = this.#clock.now() - MAX_AGE_MS;
    return Array.from(this.#known.values(), ({ pool, usage, timedOut, readAt }) => {
      const old = usage !== undefined && readAt < since;
      return { host, name: pool.name, usage: old ? undefined : usage, timedOut: timedOut || old };
    });
  }

  async #readAll(): Promise<void> {
    try {
      const calls = this.#presentCalls();
      for (const entry of [...this.#known.values()]) await this.#readOne(calls, entry);
      // While a pool hangs, the list would hang as well.
      if (calls.unanswered > 0) return;
      const listed = await calls.ask(PROCEDURES.listPools, undefined, LIST);
      this.#error = undefined;
      const uuids = new Set(listed.map(({ uuid }) => uuid));
      for (const uuid of this.#known.keys()) if (!uuids.has(uuid)) this.#known.delete(uuid);
      for (const pool of listed) {
        if (this.#known.has(pool.uuid)) continue;
        const entry = { pool, usage: undefined, timedOut: false, readAt: 0 };
        this.#known.set(pool.uuid, entry);
        await this.#readOne(calls, entry);
      }
      if (calls.unanswered === 0) this.#pauseMs = PAUSE_MS;
    } catch (error) {
      this.#error = VirstreamError.from(error);
    }
  }

  async #readOne(calls: ReturnType<PoolHost["calls"]>, entry: Entry): Promise<void> {
    const { pool } = entry;
    const key = `storage pool ${pool.uuid}`;
    if (calls.full || calls.isUnanswered(key)) return unanswered(entry);
    try {
      const subject: CallSubject = { key, name: `the storage pool ${pool.name}`, kind: "monitor" };
      entry.usage = await calls.ask(PROCEDURES.poolInfo, pool, subject);
      entry.timedOut = false;
      entry.readAt = this.#clock.now();
    } catch (error) {
      entry.usage = undefined;
      entry.timedOut = VirstreamError.from(error).code === "deadline-exceeded";
      if (isNoStoragePool(error)) this.#known.delete(pool.uuid);
    }
  }

  /** @throws VirstreamError while there is no session, and during a pause */
  #presentCalls(): ReturnType<PoolHost["calls"]> {
    const calls = this.#host.calls();
    const now = this.#clock.now();
    if (this.#calls !== calls && this.#calls !== undefined && this.#calls.lost > 0) {
      this.#pausedUntil = now + this.#pauseMs;
      this.#pauseMs = Math.min(2 * this.#pauseMs, MAX_PAUSE_MS);
    }
    this.#calls = calls;
    if (now >= this.#pausedUntil) return calls;
    for (const entry of this.#known.values()) unanswered(entry);
    const minutes = Math.ceil((this.#pausedUntil - now) / 60_000);
    throw new VirstreamError(
      "deadline-exceeded",
      `the connection was lost while a storage pool did not answer: pools are read again in ${minutes} min`,
    );
  }
}

function unanswered(entry: Entry): void {
  entry.usage = undefined;
  entry.timedOut = true;
}
