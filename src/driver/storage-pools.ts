import type { VirstreamError } from "../model/error.ts";

/** The states of a storage pool (virStoragePoolState). */
export const PoolState = { inactive: 0, building: 1, running: 2, degraded: 3, inaccessible: 4 } as const;

/** A storage pool of a host. */
export interface StoragePool {
  readonly host: string;
  readonly name: string;
  /** What the host last said of it; undefined where that is not known. */
  readonly usage: PoolUsage | undefined;
  /** True if it did not answer in time, or was not asked because earlier calls are unanswered. */
  readonly timedOut: boolean;
}

/** The state of a pool and its size in bytes, as the host saw them when it last refreshed the pool. */
export interface PoolUsage {
  /** One of PoolState; newer hosts may have others. */
  readonly state: number;
  readonly capacity: number;
  readonly allocation: number;
  readonly available: number;
}

/** The storage pools of a driver's hosts. Nothing is read before the first call. */
export interface StoragePools {
  /**
   * The pools as they were last read. If that was more than 60 s ago, they are read again, and this waits for it, but no longer than
   * this many ms. Never rejects.
   */
  read(timeoutMs: number): Promise<readonly StoragePool[]>;
  /** Why the last read did not learn which pools there are; undefined: it did, or there was none yet. */
  readonly error: VirstreamError | undefined;
}
