import { VirstreamError } from "../../../model/error.ts";
import { PROCEDURES } from "../rpc/procedures.ts";
import { DOMAIN_LIST_MAX, type RemoteDomain } from "../rpc/remote-domain.ts";
import type { Calls } from "./calls.ts";
import { enumerateDomains } from "./enumeration.ts";
import type { Inventory } from "./inventory.ts";

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
  if (known !== undefined && (await calls.ask(PROCEDURES.countDomains, filter, "count")) === known.length) {
    // A domain may have come or gone while that was under way; then the next sweep counts otherwise.
    found(known, known.length);
    return;
  }
  let domains: readonly RemoteDomain[];
  try {
    domains = await calls.ask(PROCEDURES.listDomains, filter, "list");
    found(domains, domains.length);
  } catch (error) {
    if (!(error instanceof VirstreamError) || error.libvirt === undefined) throw error;
    const count = await calls.ask(PROCEDURES.countDomains, filter, "count");
    if (count <= DOMAIN_LIST_MAX) throw error;
    domains = await enumerateDomains(calls, filter, count, (part) => found(part, count));
  }
  inventory.remember(filter, domains);
}
