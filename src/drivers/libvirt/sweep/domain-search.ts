import { withTimeout } from "../../../driver/clock.ts";
import { VirstreamError } from "../../../model/error.ts";
import { PROCEDURES } from "../rpc/procedures.ts";
import { DOMAIN_LIST_MAX, type RemoteDomain } from "../rpc/remote-domain.ts";
import { isRemoteError } from "../rpc/remote-error.ts";
import type { Calls, SweepHost } from "./calls.ts";
import type { DomainCache } from "./domain-cache.ts";

/** The method of Calls that a search uses. */
export type OneOffCalls = Pick<Calls, "ask">;

/** The keys of calls that may wait for the lock of a domain. At most one call with each key is in flight at a time. */
const LISTING_KEYS = ["list", "count running", "count defined"] as const;

/**
 * The flags of virConnectListAllDomainsFlags, as one mask for each family. Exactly one flag of each family applies to a
 * domain. The families are: active or not; persistent or not; running, paused, shut off or other; with or without a
 * managed save image; with or without autostart; with or without snapshots; with or without checkpoints.
 */
const FAMILIES = [0x3, 0xc, 0xf0, 0x300, 0xc00, 0x3000, 0xc000];
const INACTIVE = 1 << 1;

/** How many ids are looked up at a time. */
const LOOKUPS = 4;
/**
 * The search ends after this many ids that no domain has, because the ids of the host's domains then lie too far apart.
 */
const FRUITLESS_MAX = 100_000;
/** The search tries this many ids above the highest known id. */
const BEYOND = 4_096;

/**
 * Listing takes the lock of every domain in turn, and a frozen guest that is being destroyed keeps its lock for ten
 * seconds. A healthy listing takes 1 ms. If a listing takes this many ms, the sweep uses the domains of an earlier
 * listing.
 */
const RECALL_MS = 250;

/**
 * Finds the domains of a sweep with `listDomains`. If `listDomains` finds none within RECALL_MS, the domains of an
 * earlier listing are used, if the cache has them.
 *
 * Rejects as `listDomains` does, or with the signal's reason.
 *
 * @param found called one or more times, with the domains just found and the number of domains in all
 */
export async function findDomains(
  { admission, domainCache }: SweepHost,
  calls: OneOffCalls,
  { filter, deadlineMs, signal }: { filter: number; deadlineMs: number; signal: AbortSignal },
  found: (domains: readonly RemoteDomain[], total: number) => void,
): Promise<void> {
  // If another sweep's listing hangs, the daemon will not answer this sweep's listing before it answers that listing.
  const hangs = LISTING_KEYS.some((key) => admission.unansweredFor(key, "free") >= RECALL_MS);
  const ms = hangs ? 0 : Math.min(RECALL_MS, deadlineMs / 2);
  let anyFound = false;
  let recalled: readonly RemoteDomain[] | undefined;
  const listing = listDomains(calls, domainCache, filter, (domains, total) => {
    anyFound = true;
    if (recalled === undefined) found(domains, total);
  });
  const recall = (): void => {
    if (!anyFound) recalled = domainCache.recall(filter);
  };
  // If the domains of an earlier listing were used, the new listing continues during the sweep, to fill the cache for
  // later sweeps.
  await withTimeout(listing, ms, recall, { signal });
  if (recalled === undefined) await listing;
  else found(recalled, recalled.length);
}

/**
 * Finds the domains that pass a filter. If events keep the cache current and the daemon's count agrees with the cache,
 * the domains come from the cache. Otherwise the daemon lists the domains: in one call, or in parts if there are too
 * many for one call.
 *
 * Rejects with the daemon's error, with `deadline-exceeded`, or as `searchDomains` does.
 *
 * @param found called one or more times, with the domains just found and the number of domains in all
 */
export async function listDomains(
  calls: OneOffCalls,
  cache: DomainCache,
  filter: number,
  found: (domains: readonly RemoteDomain[], total: number) => void,
): Promise<void> {
  const known = filter === 0 ? cache.current() : undefined;
  // A domain may appear or disappear just after the count. Then the next sweep finds that the numbers differ.
  if (known !== undefined && (await countDomains(calls)) === known.length) {
    found(known, known.length);
    return;
  }
  let domains: readonly RemoteDomain[];
  let { live } = cache;
  try {
    domains = await calls.ask(PROCEDURES.listDomains, filter, "list");
    found(domains, domains.length);
  } catch (error) {
    if (!isRemoteError(error)) throw error;
    const total = await countDomains(calls);
    if (total <= DOMAIN_LIST_MAX) throw error;
    live = cache.live;
    if (filter === 0) {
      domains = await searchDomains(calls, filter, (part) => found(part, total));
    } else {
      // How many domains pass the filter is known only at the end.
      domains = await searchDomains(calls, filter, () => {});
      found(domains, domains.length);
    }
  }
  cache.remember(filter, domains, live);
}

/**
 * The number of domains. The count that a listing call returns does not help, because the call returns no count when
 * the listing fails.
 */
async function countDomains(calls: OneOffCalls): Promise<number> {
  const [running, defined] = await Promise.all([
    calls.ask(PROCEDURES.countRunning, undefined, "count running"),
    calls.ask(PROCEDURES.countDefined, undefined, "count defined"),
  ]);
  return running + defined;
}

/**
 * Finds the domains that pass a filter when there are more than DOMAIN_LIST_MAX (16,384), the most that libvirt names
 * in one reply. With more domains, the listing fails as a whole, and so does every other call for all domains.
 *
 * The filters of the listing call, such as running and persistent, divide the domains into parts, and most parts are
 * small enough to be listed. A part that is still too large is searched by id. The daemon names the ids of up to 16,384
 * running domains, and each of these domains can be looked up. The ids of the other running domains lie between the
 * named ids or above them, because libvirt counts ids upwards, and the search tries each such id. For each id, the
 * daemon goes through its domains one by one, which takes about 0.5 ms. So the search takes seconds. But it passes each
 * domain on as soon as it finds the domain, and it happens only once: later sweeps use the cache.
 *
 * Rejects with `limit-exceeded` if libvirt has no way to name all domains. The domains that were found until then have
 * already been passed to `found`.
 *
 * @param found called with the domains of each part; no domain is passed twice
 * @returns all domains that were found
 */
export async function searchDomains(
  calls: OneOffCalls,
  filter: number,
  found: (domains: readonly RemoteDomain[]) => void,
): Promise<readonly RemoteDomain[]> {
  const all = new Map<string, RemoteDomain>();
  const take = (domains: readonly RemoteDomain[]): void => {
    // A domain may move from one part to another between two listings.
    const fresh = domains.filter(({ uuid }) => !all.has(uuid));
    for (const domain of fresh) all.set(domain.uuid, domain);
    if (fresh.length > 0) found(fresh);
  };
  const tooMany = await listParts(calls, filter, FAMILIES, take);
  if (tooMany.length > 0) {
    // An id does not show whether its domain passes a filter, and a domain that does not run has no id.
    if (filter !== 0 || tooMany.some((part) => (part & INACTIVE) !== 0)) throw unlistable(all.size);
    await lookUpIds(calls, all, take);
  }
  return [...all.values()];
}

/** Lists part by part. Returns the filters of those parts that are too large. */
async function listParts(
  calls: OneOffCalls,
  filter: number,
  families: readonly number[],
  take: (domains: readonly RemoteDomain[]) => void,
): Promise<number[]> {
  const [family, ...rest] = families;
  if (family === undefined) return [filter];
  const options = filter & family || family;
  const tooMany: number[] = [];
  for (let bit = 1; bit <= options; bit <<= 1) {
    if ((options & bit) === 0) continue;
    const part = (filter & ~family) | bit;
    try {
      take(await calls.ask(PROCEDURES.listDomains, part, "list"));
    } catch (error) {
      if (!isRemoteError(error)) throw error;
      tooMany.push(...(await listParts(calls, part, rest, take)));
    }
  }
  return tooMany;
}

async function lookUpIds(
  calls: OneOffCalls,
  all: ReadonlyMap<string, RemoteDomain>,
  take: (domains: readonly RemoteDomain[]) => void,
): Promise<void> {
  const known = new Set([...all.values()].map(({ id }) => id));
  known.delete(-1);
  let left = (await calls.ask(PROCEDURES.countRunning, undefined, "count running")) - known.size;
  const ids = idsToTry(await calls.ask(PROCEDURES.listIds, undefined, "ids"), known);
  let tries = FRUITLESS_MAX;
  const work = async (): Promise<void> => {
    while (left > 0) {
      const next = ids.next();
      if (next.done) return;
      try {
        take([await calls.ask(PROCEDURES.lookupById, next.value, `id ${next.value}`)]);
        left--;
      } catch (error) {
        if (!(error instanceof VirstreamError && error.code === "unknown-domain")) {
          left = 0;
          throw error;
        }
        if (--tries <= 0) return;
      }
    }
  };
  await Promise.all(Array.from({ length: LOOKUPS }, work));
  if (left <= 0) return;
  // Some domains may have stopped since they were counted.
  const running = [...all.values()].filter(({ id }) => id !== -1).length;
  if ((await calls.ask(PROCEDURES.countRunning, undefined, "count running")) > running) throw unlistable(all.size);
}

/**
 * Yields the ids to look up: first the ids that the daemon named, then all other ids, up to BEYOND above the highest.
 */
function* idsToTry(named: readonly number[], known: ReadonlySet<number>): Generator<number, void> {
  const tried = new Set(known);
  let highest = 0;
  for (const id of known) highest = Math.max(highest, id);
  for (const id of named) {
    highest = Math.max(highest, id);
    if (tried.has(id)) continue;
    tried.add(id);
    yield id;
  }
  for (let id = 1; id <= highest + BEYOND; id++) if (!tried.has(id)) yield id;
}

function unlistable(found: number): VirstreamError {
  return new VirstreamError(
    "limit-exceeded",
    `libvirt names no more than ${DOMAIN_LIST_MAX} domains at a time, and there are more than the ${found} that were found: ` +
      "ask for domains by name or uuid, or with a filter that fewer pass",
    { retryable: false },
  );
}
