import { expect, it } from "vitest";
import { hostPools } from "../../src/aggregate/host-pools.ts";
import type { Driver } from "../../src/driver/driver.ts";
import type { StoragePool, StoragePools } from "../../src/driver/storage-pools.ts";
import { VirstreamError } from "../../src/model/error.ts";
import { pageOf } from "../outlets/prometheus/page.ts";

const USAGE = { state: 2, capacity: 10, allocation: 4, available: 6 };

/** A driver of which only the storage pools matter. */
function driverOf(host: string, storagePools?: StoragePools): Driver {
  return { host, ...(storagePools && { storagePools }) } as Driver;
}

function poolsOf(host: string, error?: VirstreamError): StoragePools {
  return { read: async () => [{ host, name: "images", usage: USAGE, timedOut: false }], error };
}

it("The storage pools of several hosts have the names that the hosts have together, and a label of the host", async () => {
  const members = [
    { name: "one", driver: driverOf("hv", poolsOf("hv")) },
    { name: "two", driver: driverOf("hv", poolsOf("hv")) },
    { name: "three", driver: driverOf("hv3") },
    { name: "four", driver: undefined },
  ];
  const pools = hostPools(() => members);
  const read: readonly StoragePool[] = await pools.read(1_000);
  expect(read.map(({ host, name }) => [host, name])).toEqual([
    ["one", "images"],
    ["two", "images"],
  ]);
  expect(pools.error).toBe(undefined);
  const hosts = members.map(({ name }) => ({ name, up: true }));
  const page = pageOf([], { hosts, pools: read });
  expect(page).toContain('libvirt_pool_info_capacity_bytes{pool="images",host="one"} 10\n');
  expect(page).toContain('libvirt_storage_pool_available_bytes{storage_pool="images",host="two"} 6\n');
});

it("Several hosts say why the pools of one are not known, and that none of them has any", () => {
  const error = new VirstreamError("deadline-exceeded", "the list of storage pools is busy");
  const failing = { name: "one", driver: driverOf("one", poolsOf("one", error)) };
  expect(hostPools(() => [failing]).error).toBe(error);
  expect(hostPools(() => [{ name: "two", driver: driverOf("two") }]).error?.code).toBe("unsupported");
  expect(hostPools(() => [{ name: "two", driver: undefined }]).error).toBe(undefined);
});
