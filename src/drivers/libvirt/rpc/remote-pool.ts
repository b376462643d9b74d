import type { PoolUsage } from "../../../driver/storage-pools.ts";
import { NAME_MAX, type XdrReader, type XdrWriter } from "./xdr.ts";

/** A storage pool in libvirt's messages (remote_nonnull_storage_pool). */
export interface RemotePool {
  readonly name: string;
  /** Lower case, with dashes. */
  readonly uuid: string;
}

/** REMOTE_STORAGE_POOL_LIST_MAX: the most pools in one reply. */
const POOL_LIST_MAX = 4_096;
/** The bytes of the smallest pool in a message: the length word of an empty name, and the uuid. */
const POOL_BYTES_MIN = 20;

/** Reads a list of storage pools. */
export function readPools(reader: XdrReader): RemotePool[] {
  return Array.from({ length: reader.count(POOL_LIST_MAX, POOL_BYTES_MIN) }, () => ({
    name: reader.string(NAME_MAX),
    uuid: reader.uuid(),
  }));
}

/** Writes a remote_nonnull_storage_pool. */
export function writePool(writer: XdrWriter, { name, uuid }: RemotePool): void {
  writer.string(name);
  writer.uuid(uuid);
}

/** Reads a remote_storage_pool_get_info_ret. */
export function readPoolInfo(reader: XdrReader): PoolUsage {
  return {
    state: reader.uint(),
    capacity: reader.uhyper(),
    allocation: reader.uhyper(),
    available: reader.uhyper(),
  };
}
