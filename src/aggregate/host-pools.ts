import type { Driver } from "../driver/driver.ts";
import type { StoragePools } from "../driver/storage-pools.ts";
import { VirstreamError } from "../model/error.ts";

/** A host of an aggregate, with its name there; without a driver while it has not been opened. */
interface PoolMember {
  readonly name: string;
  readonly driver: Driver | undefined;
}

/** The storage pools of several hosts, as far as their drivers read them. They are read at the same time. */
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
