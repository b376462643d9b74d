import type { OpenTransport } from "../../../../src/drivers/libvirt/daemon.ts";
import { LibvirtDriver } from "../../../../src/drivers/libvirt/driver.ts";
import { checkQuery } from "../../../../src/model/query.ts";

/** Opens a driver, runs one sweep, closes it, and gives what was found: names with status. */
export async function oneSweep(uri: string, transports?: OpenTransport): Promise<Record<string, string>> {
  await using driver = await LibvirtDriver.open(uri, {}, transports);
  return await sweepOf(driver);
}

/** Runs one sweep; rejects as the sweep does. */
export async function sweepOf(driver: LibvirtDriver, deadlineMs = 2_000): Promise<Record<string, string>> {
  const found: Record<string, string> = {};
  const context = { signal: new AbortController().signal, expect: () => {} };
  for await (const records of driver.sweep(checkQuery({ deadlineMs }), context)) {
    for (const { domain, status } of records) found[domain.name] = status;
  }
  return found;
}
