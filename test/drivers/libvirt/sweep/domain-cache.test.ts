import { describe, expect, it } from "vitest";
import type { LifecycleEvent, RemoteDomain } from "../../../../src/drivers/libvirt/rpc/remote-domain.ts";
import { DomainCache } from "../../../../src/drivers/libvirt/sweep/domain-cache.ts";
import { bytesInUse } from "../../../heap.ts";
import { EVENT_TYPES, uuidOf } from "../rpc/fake-daemon.ts";

const domain = (number: number, id = number): RemoteDomain => ({ name: `vm${number}`, uuid: uuidOf(number), id });
const event = (type: keyof typeof EVENT_TYPES, of: RemoteDomain): LifecycleEvent => ({
  type: EVENT_TYPES[type],
  domain: of,
});

/** An cache of the domains 1 and 2, which run, and 3, which does not. */
function setUp({ live = true } = {}) {
  const clock = { now: 0 };
  const cache = new DomainCache(() => clock.now);
  cache.live = live;
  cache.remember(0, [domain(1), domain(2), domain(3, -1)], live);
  const ids = () => Object.fromEntries(cache.current()!.map(({ name, id }) => [name, id]));
  return { clock, cache, ids };
}

describe("The cache of domains", () => {
  it("is current only where the daemon tells of changes, and once it was listed", () => {
    const { cache } = setUp({ live: false });
    expect(cache.current()).toBeUndefined();
    const { cache: listed } = setUp();
    expect(listed.current()).toHaveLength(3);
    const unlisted = new DomainCache(() => 0);
    unlisted.live = true;
    expect(unlisted.current()).toBeUndefined();
    unlisted.apply(event("started", domain(1)));
    expect(unlisted.current()).toBeUndefined();
  });

  it("takes in domains that are defined and that start, with their numbers", () => {
    const { cache, ids } = setUp();
    cache.apply(event("defined", domain(4, -1)));
    cache.apply(event("started", domain(5)));
    cache.apply(event("started", domain(3, 9)));
    expect(ids()).toEqual({ vm1: 1, vm2: 2, vm3: 9, vm4: -1, vm5: 5 });
  });

  it("keeps a domain that stops, without a number: it may be persistent, and the daemon's count tells", () => {
    const { cache, ids } = setUp();
    cache.apply(event("shutdown", domain(1)));
    cache.apply(event("stopped", domain(1)));
    expect(ids()).toEqual({ vm1: -1, vm2: 2, vm3: -1 });
    cache.apply(event("stopped", domain(7)));
    expect(ids()).not.toHaveProperty("vm7");
  });

  it("lets go of a domain that is undefined, and of one that runs only when it has stopped", () => {
    const { cache, ids } = setUp();
    cache.apply(event("undefined", domain(3, -1)));
    cache.apply(event("undefined", domain(1)));
    expect(ids()).toEqual({ vm1: 1, vm2: 2 });
    cache.apply(event("stopped", domain(1)));
    cache.apply(event("undefined", domain(1, -1)));
    expect(ids()).toEqual({ vm2: 2 });
  });

  it("takes in a new name, and what a newer daemon tells of", () => {
    const { cache } = setUp();
    cache.apply(event("defined", { ...domain(3, -1), name: "renamed" }));
    cache.apply({ type: 99, domain: { ...domain(2), id: 12 } });
    expect(
      cache
        .current()!
        .map(({ name, id }) => `${name} ${id}`)
        .sort(),
    ).toEqual(["renamed -1", "vm1 1", "vm2 12"]);
  });

  it("is dropped when its domains need too much memory together, until they are listed again", async () => {
    const { cache } = setUp();
    const before = await bytesInUse();
    for (let i = 0; cache.current() !== undefined && i < 40; i++) {
      for (let k = 0; k < 5_000; k++) cache.apply(event("defined", domain(5_000 * i + k, -1)));
      expect((await bytesInUse()) - before).toBeLessThan(20e6);
    }
    expect(cache.current()).toBeUndefined();
    cache.remember(0, [domain(1)], true);
    expect(cache.current()).toHaveLength(1);
    cache.remember(0, [{ ...domain(1), name: "x".repeat(10_000_000) }], true);
    expect([cache.current(), cache.recall(0)]).toEqual([undefined, undefined]);
  });

  it("is what the last full listing says, whatever events said before", () => {
    const { cache, ids } = setUp();
    cache.apply(event("started", domain(5)));
    cache.remember(0, [domain(6)], true);
    expect(ids()).toEqual({ vm6: 6 });
    cache.remember(1, [domain(7)], true);
    expect(ids()).toEqual({ vm6: 6 });
  });
});

describe("What stands in for a listing that cannot be had", () => {
  it("is the cache where events keep it current, however old the listing is", () => {
    const { cache, clock } = setUp();
    cache.apply(event("started", domain(5)));
    clock.now = 3_600_000;
    expect(cache.recall(0)!.map(({ name }) => name)).toEqual(["vm1", "vm2", "vm3", "vm5"]);
  });

  it("is elsewhere the last listing of the same filter, for a minute", () => {
    const { cache, clock } = setUp({ live: false });
    cache.remember(1, [domain(1)], true);
    clock.now = 60_000;
    expect(cache.recall(0)).toHaveLength(3);
    expect(cache.recall(1)).toHaveLength(1);
    clock.now = 60_001;
    expect([cache.recall(0), cache.recall(1), cache.recall(2)]).toEqual([undefined, undefined, undefined]);
  });

  it("goes by no events where a filter is: they do not say who passes it", () => {
    const { cache, clock } = setUp();
    cache.remember(1, [domain(1), domain(2)], true);
    cache.apply(event("stopped", domain(1)));
    expect(cache.recall(1)).toEqual([domain(1), domain(2)]);
    clock.now = 60_001;
    expect(cache.recall(1)).toBeUndefined();
  });

  it("is kept for the four filters used last only: filters come from strangers", () => {
    const { cache } = setUp({ live: false });
    for (const filter of [1, 2, 4]) cache.remember(filter, [domain(filter)], false);
    cache.remember(0, [domain(1)], false);
    cache.remember(8, [domain(8)], false);
    expect([0, 1, 2, 4, 8].map((filter) => cache.recall(filter)?.length)).toEqual([1, undefined, 1, 1, 1]);
    for (let filter = 16; filter < 16_384; filter *= 2) cache.remember(filter, [], false);
    expect(cache.recall(0)).toBeUndefined();
  });

  it("is not current any more when the connection has ended, and stands in for a listing for a minute", () => {
    const { clock, cache } = setUp();
    cache.disconnected();
    cache.live = true;
    expect(cache.current()).toBeUndefined();
    expect(cache.recall(0)).toHaveLength(3);
    cache.apply(event("defined", domain(4)));
    expect(cache.current()).toBeUndefined();
    clock.now = 60_001;
    expect(cache.recall(0)).toBeUndefined();
  });
});
