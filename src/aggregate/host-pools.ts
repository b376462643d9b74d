import type { Driver } from "../driver/driver.ts";
import type { StoragePools } from "../driver/storage-pools.ts";
import { VirstreamError } from "../model/error.ts";

/** A host of an aggregate, with its name in the aggregate. It has no driver until it has been opened. */
interface PoolMember {
  readonly name: string;
  readonly driver: Driver | undefined;
}

/** The storage pools of all hosts whose drivers can read them. The hosts are read at the same time. */
export function hostPools(members: () => readonly PoolMember[]): StoragePools {
  return {
    async read(timeoutMs) {
      const read = members().map(async ({ name, driver }) => {
        const pools = (await driver?.storagePools?.read(timeoutMs)) ?? [];
        return driver?.host.includes(",") ? pools : pools.map((pool) => ({ ...pool, host: name }));
      });
      return (await Promise.all(read)).flat();
    },
    get error() {
      const readers = members().flatMap(({ driver }) => driver?.storagePools ?? []);
      if (readers.length === 0 && members().some(({ driver }) => driver !== undefined)) {
        return new VirstreamError("unsupported", "none of the hosts gives its storage pools");
      }
      return readers.find(({ error }) => error !== undefined)?.error;
    },
  };
}
