import { VirstreamError } from "../../../model/error.ts";
import { PROCEDURES } from "../rpc/procedures.ts";
import { DOMAIN_LIST_MAX, type RemoteDomain } from "../rpc/remote-domain.ts";
import { isRemoteError } from "../rpc/remote-error.ts";
import type { Calls } from "./calls.ts";

/**
 * Lists more domains than libvirt names in one reply.
 *
 * Above 16,384 domains the listing fails as a whole, and so does every call that is about all of them. But a listing
 * takes filters, and the parts that the filters make are often small enough. Where a part is not (thousands of domains
 * that all run, are persistent, and so on), the daemon gives the numbers of up to 16,384 running domains, each of which
 * can be looked up; the rest have numbers in between or above, because libvirt counts upwards, and are found by trying.
 * Looking up by number is a linear search in the daemon, about 0.5 ms each: it takes seconds, streams what it finds, and
 * is done once: later sweeps go by the inventory.
 */

/** virConnectListAllDomainsFlags: in each family one of the flags applies to a domain. */
const FAMILIES: readonly (readonly number[])[] = [
  [1 << 0, 1 << 1], // active, inactive
  [1 << 2, 1 << 3], // persistent, transient
  [1 << 4, 1 << 5, 1 << 6, 1 << 7], // running, paused, shut off, other
  [1 << 8, 1 << 9], // with a managed save image, without
  [1 << 10, 1 << 11], // with autostart, without
  [1 << 12, 1 << 13], // with snapshots, without
  [1 << 14, 1 << 15], // with checkpoints, without
];
const INACTIVE = 1 << 1;

/** So many numbers are looked up at a time. */
const LOOKUPS = 4;
/** After so many numbers that nobody has, the search is given up: the host has counted too far. */
const FRUITLESS_MAX = 100_000;
/** So many numbers beyond the last known one are tried before the search is given up. */
const BEYOND = 4_096;

/**
 * Lists the domains that pass a filter, and are more than DOMAIN_LIST_MAX. Gives all of them when it is done.
 *
 * Rejects with `limit-exceeded` where libvirt has no way to name them all; those that were found until then have been
 * handed on.
 *
 * @param found called with each part, no domain twice
 */
export async function enumerateDomains(
  calls: Calls,
  filter: number,
  found: (domains: readonly RemoteDomain[]) => void,
): Promise<readonly RemoteDomain[]> {
  const all = new Map<string, RemoteDomain>();
  const take = (domains: readonly RemoteDomain[]): void => {
    // Between two parts a domain may change from the one to the other.
    const fresh = domains.filter(({ uuid }) => !all.has(uuid));
    for (const domain of fresh) all.set(domain.uuid, domain);
    if (fresh.length > 0) found(fresh);
  };
  const tooMany = await listParts(calls, filter, FAMILIES, take);
  if (tooMany.length > 0) {
    // What a number means says nothing of filters; and what does not run has none.
    if (filter !== 0 || tooMany.some((part) => (part & INACTIVE) !== 0)) throw unlistable(all.size);
    await lookUpNumbers(calls, all, take);
  }
  return [...all.values()];
}

/** Lists by parts; gives the filters of those parts that are too large. */
async function listParts(
  calls: Calls,
  filter: number,
  families: readonly (readonly number[])[],
  take: (domains: readonly RemoteDomain[]) => void,
): Promise<number[]> {
  const [family, ...rest] = families;
  if (family === undefined) return [filter];
  const mask = family.reduce((bits, bit) => bits | bit, 0);
  const options = (filter & mask) === 0 ? family : family.filter((bit) => (filter & bit) !== 0);
  const tooMany: number[] = [];
  for (const bit of options) {
    const part = (filter & ~mask) | bit;
    try {
      take(await calls.ask(PROCEDURES.listDomains, part, "list"));
    } catch (error) {
      if (!isRemoteError(error)) throw error;
      tooMany.push(...(await listParts(calls, part, rest, take)));
    }
  }
  return tooMany;
}

async function lookUpNumbers(
  calls: Calls,
  all: ReadonlyMap<string, RemoteDomain>,
  take: (domains: readonly RemoteDomain[]) => void,
): Promise<void> {
  const known = new Set<number>();
  for (const { id } of all.values()) known.add(id);
  known.delete(-1);
  let left = (await calls.ask(PROCEDURES.countRunning, undefined, "count running")) - known.size;
  const numbers = numbersToTry(await calls.ask(PROCEDURES.listIds, undefined, "ids"), known);
  let tries = FRUITLESS_MAX;
  const work = async (): Promise<void> => {
    while (left > 0) {
      const next = numbers.next();
      if (next.done) return;
      try {
        take([await calls.ask(PROCEDURES.lookupById, next.value, `number ${next.value}`)]);
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
  // Some may have stopped since they were counted.
  const running = [...all.values()].filter(({ id }) => id !== -1).length;
  if ((await calls.ask(PROCEDURES.countRunning, undefined, "count running")) > running) throw unlistable(all.size);
}

/** First those that the daemon named, then those in between, then those above. */
function* numbersToTry(named: readonly number[], known: ReadonlySet<number>): Generator<number, void> {
  const tried = new Set(known);
  let highest = 0;
  for (const number of known) highest = Math.max(highest, number);
  for (const number of named) {
    highest = Math.max(highest, number);
    if (tried.has(number)) continue;
    tried.add(number);
    yield number;
  }
  for (let number = 1; number <= highest + BEYOND; number++) if (!tried.has(number)) yield number;
}

function unlistable(found: number): VirstreamError {
  return new VirstreamError(
    "limit-exceeded",
    `libvirt names no more than ${DOMAIN_LIST_MAX} domains at a time, and there are more than the ${found} that were found: ` +
      "ask for domains by name or uuid, or with a filter that fewer pass",
    { retryable: false },
  );
}
