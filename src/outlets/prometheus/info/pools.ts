import { PoolState, type PoolUsage, type StoragePool } from "../../../driver/storage-pools.ts";
import { type AddSample, type Family, type Host, ofHost } from "../family.ts";
import { labelText } from "../row.ts";

type Named = "tinkoff" | "inovex";

/** A family with a sample for each storage pool. The dialect decides which label has the pool's name. */
function ofPools(name: string, dialect: Named, help: string, value: (pool: StoragePool) => number | undefined): Family {
  const label = dialect === "tinkoff" ? "pool" : "storage_pool";
  const write = ({ pools = [], several }: Host, add: AddSample): void => {
    for (const pool of pools) {
      add(labelText({ [label]: pool.name, ...(several && { host: pool.host }) }), value(pool));
    }
  };
  return ofHost(name, help, write, { dialect });
}

/** Returns a function that gives a pool's size in bytes. libvirt knows the sizes of active pools only. */
function size(of: "capacity" | "allocation" | "available"): (pool: StoragePool) => number | undefined {
  return ({ usage }) => (usage !== undefined && isActive(usage) ? usage[of] : undefined);
}

function isActive({ state }: PoolUsage): boolean {
  return state === PoolState.running || state === PoolState.degraded;
}

const CAPACITY = "Size of the storage pool in bytes, as libvirt saw it when it last refreshed the pool.";
const ALLOCATION = "Bytes of the storage pool that are in use, as libvirt saw them when it last refreshed the pool.";
const AVAILABLE = "Bytes of the storage pool that are free, as libvirt saw them when it last refreshed the pool.";

/** The families of storage pools. */
export const POOL_FAMILIES: readonly Family[] = [
  ofPools("libvirt_pool_info_capacity_bytes", "tinkoff", CAPACITY, size("capacity")),
  ofPools("libvirt_pool_info_allocation_bytes", "tinkoff", ALLOCATION, size("allocation")),
  ofPools("libvirt_pool_info_available_bytes", "tinkoff", AVAILABLE, size("available")),
  ofPools(
    "libvirt_storage_pool_state",
    "inovex",
    "State of the storage pool: 0 inactive, 1 being built, 2 running, 3 degraded, 4 inaccessible.",
    ({ usage }) => usage?.state,
  ),
  ofPools("libvirt_storage_pool_capacity_bytes", "inovex", CAPACITY, size("capacity")),
  ofPools("libvirt_storage_pool_allocation_bytes", "inovex", ALLOCATION, size("allocation")),
  ofPools("libvirt_storage_pool_available_bytes", "inovex", AVAILABLE, size("available")),
  ofPools(
    "libvirt_storage_pool_timed_out",
    "inovex",
    "1: the storage pool did not answer in time, or was not asked because earlier calls are unanswered.",
    ({ timedOut }) => (timedOut ? 1 : 0),
  ),
];
