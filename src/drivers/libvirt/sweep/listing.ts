import { PROCEDURES } from "../rpc/procedures.ts";
import { DOMAIN_LIST_MAX, type RemoteDomain } from "../rpc/remote-domain.ts";
import { isRemoteError } from "../rpc/remote-error.ts";
import type { Calls } from "./calls.ts";
import { enumerateDomains } from "./enumeration.ts";
import type { Inventory } from "./inventory.ts";

/** What is asked once at a time, whoever lists. */
export const LISTING_KEYS = ["list", "count running", "count defined"] as const;

/** Called with the domains as they become known, and with how many there will be in all. */
export type FoundDomains = (domains: readonly RemoteDomain[], total: number) => void;

/**
 * Finds out which domains pass a filter. Where events keep the inventory current and the daemon's count agrees with it,
 * that is all it takes; else the daemon lists them, in one call if it can, else in parts.
 *
 * Rejects with the daemon's error, with `Late` when it does not answer, or with `limit-exceeded`; see enumerateDomains.
 */
export async function listDomains(
  calls: Calls,
  inventory: Inventory,
  filter: number,
  found: FoundDomains,
): Promise<void> {
  const known = filter === 0 ? inventory.current() : undefined;
  // A domain may come or go while that is under way; then the next sweep counts otherwise.
  if (known !== undefined && (await countDomains(calls)) === known.length) {
    found(known, known.length);
    return;
  }
  let domains: readonly RemoteDomain[];
  try {
    domains = await calls.ask(PROCEDURES.listDomains, filter, "list");
    found(domains, domains.length);
  } catch (error) {
    if (!isRemoteError(error)) throw error;
    const total = await countDomains(calls);
    if (total <= DOMAIN_LIST_MAX) throw error;
    if (filter === 0) {
      domains = await enumerateDomains(calls, filter, (part) => found(part, total));
    } else {
      // How many pass the filter is known only in the end.
      domains = await enumerateDomains(calls, filter, () => {});
      found(domains, domains.length);
    }
  }
  inventory.remember(filter, domains);
}

/** How many domains there are. The count that comes with a listing fails where the listing does. */
async function countDomains(calls: Calls): Promise<number> {
  const [running, defined] = await Promise.all([
    calls.ask(PROCEDURES.countRunning, undefined, "count running"),
    calls.ask(PROCEDURES.countDefined, undefined, "count defined"),
  ]);
  return running + defined;
}
