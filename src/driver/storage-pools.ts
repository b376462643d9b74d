import type { VirstreamError } from "../model/error.ts";

/** The states of a storage pool (virStoragePoolState). */
export const PoolState = { inactive: 0, building: 1, running: 2, degraded: 3, inaccessible: 4 } as const;

/** A storage pool of a host. */
export interface StoragePool {
  readonly host: string;
  readonly name: string;
  /** The last usage that the host reported; undefined if it is not known. */
  readonly usage: PoolUsage | undefined;
  /**
   * True if the pool did not answer before the call's deadline, or was not asked because earlier calls are unanswered.
   */
  readonly timedOut: boolean;
}

/** The state of a pool and its size in bytes, as the host saw them when it last refreshed the pool. */
export interface PoolUsage {
  /** One of the numbers in PoolState; newer hosts may have other numbers. */
  readonly state: number;
  readonly capacity: number;
  readonly allocation: number;
  readonly available: number;
}

/** The storage pools of a driver's hosts. Nothing is read before the first call. */
export interface StoragePools {
  /**
   * The pools as they were last read. If the last read is more than 60 s old, this first reads them again, and waits
   * for the new read for at most `timeoutMs`. Never rejects.
   */
  read(timeoutMs: number): Promise<readonly StoragePool[]>;
  /** The error if the last read could not list the pools; undefined if it could, or if there was no read yet. */
  readonly error: VirstreamError | undefined;
}
