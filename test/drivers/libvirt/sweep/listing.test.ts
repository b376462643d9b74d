import { describe, expect, it } from "vitest";
import { PROCEDURES } from "../../../../src/drivers/libvirt/rpc/procedures.ts";
import {
  DOMAIN_LIST_MAX,
  LifecycleEventType,
  type RemoteDomain,
} from "../../../../src/drivers/libvirt/rpc/remote-domain.ts";
import { DomainCache } from "../../../../src/drivers/libvirt/sweep/domain-cache.ts";
import { listDomains } from "../../../../src/drivers/libvirt/sweep/domain-search.ts";
import { VirstreamError } from "../../../../src/model/error.ts";
import { defined, ListFlag, ListingDaemon, refusal, running } from "./listing-daemon.ts";

const { listDomains: list, countRunning, countDefined } = PROCEDURES;

/** What was found, and in which parts, and how many it was said to be. */
async function find(daemon: ListingDaemon, cache: DomainCache, filter = 0) {
  const parts: (readonly RemoteDomain[])[] = [];
  const totals: number[] = [];
  await listDomains(daemon, cache, filter, (domains, total) => {
    parts.push(domains);
    totals.push(total);
  });
  return { parts, totals, names: parts.flat().map(({ name }) => name) };
}

function setUp({ live = true } = {}) {
  const daemon = new ListingDaemon([running(1, 1), running(2, 2), defined(3)]);
  const cache = new DomainCache(() => 0);
  cache.live = live;
  return { daemon, cache };
}

/** So many domains, more than libvirt names in one reply; half of them run. */
const many = (count: number) => Array.from({ length: count }, (_, i) => (i % 2 ? running(i, i) : defined(i)));

describe("Listing the domains", () => {
  it("is one call where nothing is known yet, and remembers them", async () => {
    const { daemon, cache } = setUp();
    const { names, totals } = await find(daemon, cache);
    expect([names, totals]).toEqual([["vm1", "vm2", "vm3"], [3]]);
    expect(daemon.asked).toEqual([{ name: list.name, args: 0 }]);
    expect(cache.current()).toHaveLength(3);
  });

  it("is a matter of counting where the cache is current: the daemon lists nothing", async () => {
    const { daemon, cache } = setUp();
    await find(daemon, cache);
    const { names, totals } = await find(daemon, cache);
    expect([names, totals]).toEqual([["vm1", "vm2", "vm3"], [3]]);
    expect([daemon.count(list), daemon.count(countRunning), daemon.count(countDefined)]).toEqual([1, 1, 1]);
  });

  it("goes by what events have reported meanwhile", async () => {
    const { daemon, cache } = setUp();
    await find(daemon, cache);
    daemon.domains.push(running(4, 7));
    cache.apply({ type: LifecycleEventType.started, domain: running(4, 7) });
    const { parts } = await find(daemon, cache);
    expect(parts.flat().at(-1)).toMatchObject({ name: "vm4", id: 7 });
    expect(daemon.count(list)).toBe(1);
  });

  it("is repeated where the daemon counts otherwise, as when a transient domain has stopped", async () => {
    const { daemon, cache } = setUp();
    await find(daemon, cache);
    daemon.domains.shift();
    cache.apply({ type: LifecycleEventType.stopped, domain: { ...running(1, -1) } });
    const { names } = await find(daemon, cache);
    expect(names).toEqual(["vm2", "vm3"]);
    expect(daemon.count(list)).toBe(2);
    await find(daemon, cache);
    expect(daemon.count(list)).toBe(2);
  });

  it("is repeated also where the daemon counts one that no event has reported yet", async () => {
    const { daemon, cache } = setUp();
    await find(daemon, cache);
    daemon.domains.push(defined(4));
    const { names } = await find(daemon, cache);
    expect(names).toEqual(["vm1", "vm2", "vm3", "vm4"]);
    expect(daemon.count(list)).toBe(2);
  });

  it("is done in each sweep where the daemon tells of no changes, or a filter is given", async () => {
    const { daemon, cache } = setUp({ live: false });
    await find(daemon, cache);
    await find(daemon, cache);
    expect(daemon.count(list)).toBe(2);
    cache.live = true;
    const { names } = await find(daemon, cache, ListFlag.active);
    expect(names).toEqual(["vm1", "vm2"]);
    expect(daemon.asked.at(-1)).toEqual({ name: list.name, args: ListFlag.active });
    expect(daemon.count(countRunning)).toBe(0);
  });

  it("is done again where the daemon did not tell of changes yet when it was asked", async () => {
    const { daemon, cache } = setUp({ live: false });
    daemon.before = () => {
      cache.live = true;
    };
    await find(daemon, cache);
    // A change of which no event comes: just as many domains, and another one.
    daemon.domains.splice(0, 1, running(4, 4));
    expect((await find(daemon, cache)).names).toEqual(["vm4", "vm2", "vm3"]);
    await find(daemon, cache);
    expect(daemon.count(list)).toBe(2);
  });

  it("rejects with the daemon's own error where that is not about their number", async () => {
    const { daemon, cache } = setUp();
    const error = refusal(88, "denied", "access denied");
    daemon.before = (procedure) => {
      if (procedure === list) throw error;
    };
    await expect(find(daemon, cache)).rejects.toBe(error);
    expect(cache.current()).toBeUndefined();
  });

  it("rejects with the connection's error, and asks nothing more", async () => {
    const { daemon, cache } = setUp();
    const error = new VirstreamError("connection-lost", "gone");
    daemon.before = () => {
      throw error;
    };
    await expect(find(daemon, cache)).rejects.toBe(error);
    expect(daemon.asked).toHaveLength(1);
  });
});

describe("Listing more domains than libvirt names in one reply", () => {
  const COUNT = DOMAIN_LIST_MAX + 2_000;

  it("is done in parts, which are handed on as they come, with the number of all; and remembered", async () => {
    const daemon = new ListingDaemon(many(COUNT));
    const cache = new DomainCache(() => 0);
    cache.live = true;
    const { parts, totals, names } = await find(daemon, cache);
    expect(parts.map(({ length }) => length)).toEqual([COUNT / 2, COUNT / 2]);
    expect(totals).toEqual([COUNT, COUNT]);
    expect(new Set(names).size).toBe(COUNT);
    const before = daemon.count(list);
    const again = await find(daemon, cache);
    expect(again.names).toHaveLength(COUNT);
    expect(daemon.count(list)).toBe(before);
  });

  it("is one call for a filter that fewer pass", async () => {
    const daemon = new ListingDaemon(many(COUNT));
    const { totals } = await find(daemon, new DomainCache(() => 0), ListFlag.inactive);
    expect(totals).toEqual([COUNT / 2]);
    expect(daemon.asked).toHaveLength(1);
  });

  it("with a filter that too many pass is handed on as a whole: before, their number is not known", async () => {
    const domains = many(COUNT).map((domain, i) =>
      i < 20 ? { ...domain, flags: domain.flags & ~ListFlag.persistent } : domain,
    );
    const daemon = new ListingDaemon(domains);
    const { parts, totals } = await find(daemon, new DomainCache(() => 0), ListFlag.persistent);
    expect(parts.map(({ length }) => length)).toEqual([COUNT - 20]);
    expect(totals).toEqual([COUNT - 20]);
  });

  it("keeps the daemon's error where there are no more domains than it could name", async () => {
    const daemon = new ListingDaemon(many(20), 10);
    await expect(find(daemon, new DomainCache(() => 0))).rejects.toMatchObject({ libvirt: { code: 39 } });
    expect(daemon.count(list)).toBe(1);
  });
});
