import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { PROCEDURES } from "../../../../src/drivers/libvirt/rpc/procedures.ts";
import type { RemoteDomain } from "../../../../src/drivers/libvirt/rpc/remote-domain.ts";
import { searchDomains } from "../../../../src/drivers/libvirt/sweep/domain-search.ts";
import { VirstreamError } from "../../../../src/model/error.ts";
import { defined, type ListedDomain, ListFlag, ListingDaemon, passes, running } from "./listing-daemon.ts";

/** A small stand-in for libvirt's 16,384. */
const LIMIT = 10;

interface Outcome {
  readonly parts: (readonly RemoteDomain[])[];
  readonly all: readonly RemoteDomain[] | undefined;
  readonly error: unknown;
}

async function enumerate(daemon: ListingDaemon, filter = 0): Promise<Outcome> {
  const parts: (readonly RemoteDomain[])[] = [];
  try {
    const all = await searchDomains(daemon, filter, (domains) => parts.push(domains));
    return { parts, all, error: undefined };
  } catch (error) {
    return { parts, all: undefined, error };
  }
}

const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => from + i);
const names = (domains: readonly RemoteDomain[]) => domains.map(({ name }) => name).sort();

/** All of the daemon's domains were found, each once, and handed on as they were found. */
function expectAll({ parts, all, error }: Outcome, domains: readonly ListedDomain[]): void {
  expect(error).toBeUndefined();
  expect(names(all!)).toEqual(names(domains));
  expect(names(parts.flat())).toEqual(names(domains));
  expect(parts.every((part) => part.length > 0)).toBe(true);
}

describe("Enumerating domains by the parts that filters make", () => {
  it("takes two calls where half of them run", async () => {
    const domains = range(1, 20).map((i) => (i % 2 ? running(i, i) : defined(i)));
    const daemon = new ListingDaemon(domains, LIMIT);
    const outcome = await enumerate(daemon);
    expectAll(outcome, domains);
    expect(outcome.parts.map(({ length }) => length)).toEqual([10, 10]);
    expect(daemon.asked.map(({ args }) => args)).toEqual([ListFlag.active, ListFlag.inactive]);
  });

  it("divides only those parts that are too large, and those again", async () => {
    const transient = running(0, 1).flags ^ ListFlag.persistent ^ ListFlag.transient;
    const domains = [
      ...range(1, 8).map((i) => running(i, i)),
      ...range(9, 16).map((i) => running(i, i, transient)),
      defined(17),
    ];
    const daemon = new ListingDaemon(domains, LIMIT);
    expectAll(await enumerate(daemon), domains);
    expect(daemon.asked.map(({ args }) => args)).toEqual([
      ListFlag.active,
      ListFlag.active | ListFlag.persistent,
      ListFlag.active | ListFlag.transient,
      ListFlag.inactive,
    ]);
  });

  it("keeps to a filter that is given: it asks for no other domain", async () => {
    const autostart = defined(0).flags ^ ListFlag.noAutostart ^ ListFlag.autostart;
    const domains = [
      ...range(1, 8).map((i) => defined(i)),
      ...range(9, 16).map((i) => defined(i, autostart)),
      ...range(17, 40).map((i) => running(i, i)),
    ];
    const daemon = new ListingDaemon(domains, LIMIT);
    expectAll(await enumerate(daemon, ListFlag.inactive), domains.slice(0, 16));
    for (const { args } of daemon.asked) expect((args as number) & 3).toBe(ListFlag.inactive);
  });

  it("takes a filter of two flags of a family for the one or the other", async () => {
    const paused = (i: number) => {
      const domain = running(i, i);
      return { ...domain, flags: domain.flags ^ ListFlag.running ^ ListFlag.paused };
    };
    const domains = [...range(1, 8).map((i) => running(i, i)), ...range(9, 16).map(paused), defined(17)];
    const daemon = new ListingDaemon(domains, LIMIT);
    expectAll(await enumerate(daemon, ListFlag.running | ListFlag.paused), domains.slice(0, 16));
  });

  it("hands on no domain twice that changes from one part to the other meanwhile", async () => {
    const domains = range(1, 20).map((i) => (i <= 10 ? running(i, i) : defined(i)));
    const daemon = new ListingDaemon(domains, LIMIT);
    daemon.before = (_, args) => {
      if (args !== ListFlag.inactive) return;
      daemon.domains = daemon.domains.filter(({ name }) => name !== "vm20");
      daemon.domains[0] = defined(1);
    };
    const { parts, all } = await enumerate(daemon);
    expect(names(parts.flat())).toEqual(names(domains.slice(0, 19)));
    expect(all).toHaveLength(19);
  });

  it("cannot be done where too many are the same and do not run: it says so, and what helps", async () => {
    const domains = [...range(1, 11).map((i) => defined(i)), ...range(12, 15).map((i) => running(i, i))];
    const daemon = new ListingDaemon(domains, LIMIT);
    const { parts, error } = await enumerate(daemon);
    expect(error).toMatchObject({ code: "limit-exceeded", retryable: false });
    expect((error as Error).message).toMatch(/ask for domains by name or uuid, or with a filter/);
    // What could be found has been handed on.
    expect(names(parts.flat())).toEqual(names(domains.slice(11)));
    expect(daemon.count(PROCEDURES.lookupById)).toBe(0);
  });

  it("cannot be done where too many are the same and pass a filter: numbers know nothing of filters", async () => {
    const daemon = new ListingDaemon(
      range(1, 30).map((i) => running(i, i)),
      LIMIT,
    );
    const { error } = await enumerate(daemon, ListFlag.persistent);
    expect(error).toMatchObject({ code: "limit-exceeded" });
    expect(daemon.count(PROCEDURES.lookupById)).toBe(0);
  });

  it("ends with the connection's error, and asks nothing more", async () => {
    const daemon = new ListingDaemon(
      range(1, 30).map((i) => running(i, i)),
      LIMIT,
    );
    const lost = new VirstreamError("connection-lost", "gone");
    daemon.before = () => {
      throw lost;
    };
    expect((await enumerate(daemon)).error).toBe(lost);
    expect(daemon.asked).toHaveLength(1);
  });
});

describe("Enumerating domains by their numbers", () => {
  /** All alike, so that no filter tells them apart. */
  const alike = (ids: readonly number[]) => ids.map((id) => running(id, id));

  it("asks first for the numbers that the daemon names, and stops when all that run are found", async () => {
    const domains = alike([7, 3, 12, 5, 1, 9, 30, 31, 32, 33, 4, 8]);
    const daemon = new ListingDaemon(domains, LIMIT);
    expectAll(await enumerate(daemon), domains);
    const asked = daemon.asked.filter(({ name }) => name === PROCEDURES.lookupById.name).map(({ args }) => args);
    expect(asked.slice(0, LIMIT)).toEqual([7, 3, 12, 5, 1, 9, 30, 31, 32, 33]);
    // Then those in between, from below, until none is left.
    expect(asked.slice(LIMIT, LIMIT + 3)).toEqual([2, 4, 6]);
    expect(asked.length).toBeLessThan(20);
  });

  it("goes on above the highest number that the daemon names", async () => {
    const domains = alike([...range(1, 10), 500, 3_000]);
    const daemon = new ListingDaemon(domains, LIMIT);
    expectAll(await enumerate(daemon), domains);
  });

  it("asks for no number of a domain that a part has named", async () => {
    const transient = running(0, 1).flags ^ ListFlag.persistent ^ ListFlag.transient;
    const parted = range(101, 108).map((i) => running(i, i, transient));
    const domains = [...parted, ...alike(range(1, 20))];
    const daemon = new ListingDaemon(domains, LIMIT);
    expectAll(await enumerate(daemon), domains);
    const asked = daemon.asked.filter(({ name }) => name === PROCEDURES.lookupById.name).map(({ args }) => args);
    expect(asked.filter((number) => (number as number) > 100)).toEqual([]);
  });

  it("goes on above the highest number that any part has named", async () => {
    const transient = running(0, 1).flags ^ ListFlag.persistent ^ ListFlag.transient;
    // The daemon names the numbers of ten; the highest that is known is one of a part.
    const domains = [...alike(range(1, 10)), running(11, 9_000, transient), ...alike([9_001, 9_002])];
    const daemon = new ListingDaemon(domains, LIMIT);
    expectAll(await enumerate(daemon), domains);
  });

  it("finds those, too, that start again under a new number meanwhile", async () => {
    const domains = alike(range(1, 20));
    const daemon = new ListingDaemon(domains, LIMIT);
    daemon.before = (procedure, args) => {
      if (procedure === PROCEDURES.lookupById && args === 12) daemon.domains[14] = { ...running(15, 21) };
    };
    expectAll(await enumerate(daemon), domains);
  });

  it("is done with when no more are left than were found, where some have stopped or vanished meanwhile", async () => {
    const domains = alike(range(1, 20));
    const daemon = new ListingDaemon(domains, LIMIT);
    daemon.before = (procedure, args) => {
      if (procedure !== PROCEDURES.lookupById || args !== 12) return;
      daemon.domains = daemon.domains.filter(({ id }) => id !== 15);
    };
    const { all, error } = await enumerate(daemon);
    expect(error).toBeUndefined();
    expect(names(all!)).toEqual(names(domains.filter(({ id }) => id !== 15)));
  });

  it("says that it could not be done where some have numbers far above all others", async () => {
    const daemon = new ListingDaemon(alike([...range(1, 10), 50_000]), LIMIT);
    const { parts, error } = await enumerate(daemon);
    expect(error).toMatchObject({ code: "limit-exceeded" });
    expect(parts.flat()).toHaveLength(10);
    // It gives up in the end.
    expect(daemon.count(PROCEDURES.lookupById)).toBe(10 + 4_096);
  });

  it("ends with the connection's error in the middle of it", async () => {
    const daemon = new ListingDaemon(alike(range(1, 20)), LIMIT);
    const lost = new VirstreamError("connection-lost", "gone");
    daemon.before = (procedure, args) => {
      if (procedure === PROCEDURES.lookupById && args === 5) throw lost;
    };
    expect((await enumerate(daemon)).error).toBe(lost);
  });
});

describe("Enumerating the domains of any host", () => {
  const either = (...flags: number[]) => fc.constantFrom(...flags);
  const F = ListFlag;
  const common = fc
    .tuple(
      either(F.managedSave, F.noManagedSave),
      either(F.autostart, F.noAutostart),
      either(F.snapshot, F.noSnapshot),
      either(F.checkpoint, F.noCheckpoint),
    )
    .map((flags) => flags.reduce((a, b) => a | b));
  const active = fc
    .tuple(common, either(F.persistent, F.transient), either(F.running, F.paused, F.other))
    .map(([flags, persistence, state]) => flags | persistence | state | F.active);
  const inactive = common.map((flags) => flags | F.persistent | F.shutoff | F.inactive);
  /** Some flags are often, so that large parts happen; numbers have gaps, and the daemon names them in any order. */
  const host = fc
    .tuple(
      fc.uniqueArray(fc.oneof(active, inactive), { minLength: 1, maxLength: 6 }),
      fc.array(fc.tuple(fc.nat({ max: 5 }), fc.integer({ min: 1, max: 40 })), { minLength: LIMIT + 1, maxLength: 60 }),
    )
    .map(([kinds, draws]) => {
      let id = 0;
      return draws.map(([kind, gap], number): ListedDomain => {
        const flags = kinds[kind % kinds.length]!;
        id += gap;
        return { ...defined(number), id: (flags & F.active) === 0 ? -1 : id, flags };
      });
    })
    .chain((domains) => fc.shuffledSubarray(domains, { minLength: domains.length }));

  /** What the smallest parts are: domains that no filter tells apart. */
  const leaves = (domains: readonly ListedDomain[]) => {
    const counts = new Map<number, number>();
    for (const { flags } of domains) counts.set(flags, (counts.get(flags) ?? 0) + 1);
    return [...counts];
  };

  it("finds all of them, each once, unless too many that do not run are all alike; then it says so", async () => {
    const seen = { whole: 0, numbers: 0, unlistable: 0 };
    await fc.assert(
      fc.asyncProperty(host, async (domains) => {
        const daemon = new ListingDaemon(domains, LIMIT);
        const outcome = await enumerate(daemon);
        const large = leaves(domains).filter(([, count]) => count > LIMIT);
        if (large.some(([flags]) => (flags & F.inactive) !== 0)) {
          expect(outcome.error).toMatchObject({ code: "limit-exceeded" });
          seen.unlistable++;
        } else {
          expectAll(outcome, domains);
          if (large.length > 0) seen.numbers++;
          else seen.whole++;
        }
        const handed = outcome.parts.flat().map(({ uuid }) => uuid);
        expect(new Set(handed).size).toBe(handed.length);
      }),
      { numRuns: 300 },
    );
    for (const times of Object.values(seen)) expect(times).toBeGreaterThan(5);
  });

  it("finds all domains that pass a filter, and no others, whenever each part can be listed", async () => {
    const filter = fc.integer({ min: 1, max: 0xffff });
    await fc.assert(
      fc.asyncProperty(host, filter, async (domains, filter) => {
        const passing = domains.filter((domain) => passes(domain, filter));
        const outcome = await enumerate(new ListingDaemon(domains, LIMIT), filter);
        if (leaves(passing).some(([, count]) => count > LIMIT)) {
          expect(outcome.error).toMatchObject({ code: "limit-exceeded" });
        } else {
          expectAll(outcome, passing);
        }
      }),
      { numRuns: 300 },
    );
  });
});
