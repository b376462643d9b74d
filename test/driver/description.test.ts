import { describe, expect, it } from "vitest";
import { DescriptionCache, type DescriptionReader, type DescriptionSource } from "../../src/driver/description.ts";
import { TypedParams } from "../../src/model/params.ts";
import { uuidOf } from "../drivers/libvirt/rpc/fake-daemon.ts";

const MINUTE_MS = 60_000;

/** A cache over a host that counts what it is asked, with a clock that stands still. */
function setUp(reader: Partial<DescriptionReader<string>> = {}) {
  const clock = { ms: 0, now: () => clock.ms };
  const asked: string[] = [];
  let atOnce = 0;
  let most = 0;
  const host = { definition: (name: string): string => `<${name}/>`, onRead: () => {} };
  const read = async <T>(what: string, answer: () => T): Promise<T> => {
    asked.push(what);
    most = Math.max(most, ++atOnce);
    try {
      await Promise.resolve();
      host.onRead();
      return answer();
    } finally {
      atOnce--;
    }
  };
  const source: DescriptionSource = {
    definition: ({ name }) => read(name, () => host.definition(name)),
    limits: ({ name }, target) => read(`${name} ${target}`, () => TypedParams.EMPTY),
    placement: ({ name }) => read(`${name} cpus`, () => new Map([[0, 3]])),
  };
  const cache = new DescriptionCache({ parse: (xml) => xml, ...reader }, source, clock, () => 0.5);
  return { cache, clock, asked, host, most: () => most };
}

function domainOf(number: number, id = number) {
  return { uuid: uuidOf(number), name: `vm${number}`, id, host: "hv" };
}

describe("The descriptions of a host's domains", () => {
  it("are not known at first, are read one at a time, and then known without a further call", async () => {
    const { cache, asked, most } = setUp();
    for (let number = 1; number <= 100; number++) expect(cache.of(domainOf(number))).toBeUndefined();
    await cache.settled();
    for (let number = 1; number <= 100; number++) {
      expect(cache.of(domainOf(number))).toMatchObject({ definition: `<vm${number}/>` });
    }
    await cache.settled();
    expect(asked).toHaveLength(100);
    expect(most()).toBe(1);
  });

  it("are read again after five minutes, while they are asked for", async () => {
    const { cache, clock, asked, host } = setUp();
    cache.of(domainOf(1));
    await cache.settled();
    host.definition = () => "<other/>";
    clock.ms = 5 * MINUTE_MS - 1;
    cache.of(domainOf(1));
    await cache.settled();
    expect(asked).toHaveLength(1);
    clock.ms++;
    expect(cache.of(domainOf(1))?.definition).toBe("<vm1/>");
    await cache.settled();
    expect(cache.of(domainOf(1))?.definition).toBe("<other/>");
    expect(asked).toHaveLength(2);
  });

  it("are read again at once when the domain was changed, and only if it is asked for at all", async () => {
    const { cache, clock, asked, host } = setUp();
    cache.of(domainOf(1));
    await cache.settled();
    host.definition = () => "<other/>";
    clock.ms = 1_000;
    cache.changed(uuidOf(1));
    cache.changed(uuidOf(2));
    await cache.settled();
    expect(asked).toEqual(["vm1", "vm1"]);
    expect(cache.of(domainOf(1))?.definition).toBe("<other/>");
  });

  it("are read once per second at most, and at last with the last change", async () => {
    const { cache, clock, asked, host } = setUp();
    cache.of(domainOf(1));
    await cache.settled();
    for (let change = 0; change < 100; change++) {
      host.definition = () => `<change n="${change}"/>`;
      cache.changed(uuidOf(1));
      cache.of(domainOf(1));
      await cache.settled();
      clock.ms += 30;
    }
    expect(asked.length).toBeLessThanOrEqual(4);
    clock.ms += 1_000;
    cache.of(domainOf(1));
    await cache.settled();
    expect(cache.of(domainOf(1))?.definition).toBe('<change n="99"/>');
  });

  it("are read again when the domain was changed while it was read", async () => {
    const { cache, host } = setUp();
    let changes = 0;
    host.onRead = () => {
      if (changes++ > 0) return;
      cache.changed(uuidOf(1));
      host.definition = () => (changes === 1 ? "<before/>" : "<after/>");
    };
    cache.of(domainOf(1));
    await cache.settled();
    expect(cache.of(domainOf(1))?.definition).toBe("<after/>");
  });

  it("are read again when the domain was started or stopped, also where the host reports no changes", async () => {
    const { cache, asked } = setUp();
    cache.of(domainOf(1, 7));
    await cache.settled();
    cache.of(domainOf(1, 8));
    await cache.settled();
    expect(asked).toHaveLength(2);
  });

  it("are all read again within 30 s after a reconnection", async () => {
    const { cache, clock, asked } = setUp();
    for (let number = 1; number <= 10; number++) cache.of(domainOf(number));
    await cache.settled();
    cache.reconnected();
    clock.ms = 30_000;
    for (let number = 1; number <= 10; number++) expect(cache.of(domainOf(number))).toBeDefined();
    await cache.settled();
    expect(asked).toHaveLength(20);
  });

  it("stay when the host does not answer, and are tried again after half a minute", async () => {
    const { cache, clock, asked, host } = setUp();
    cache.of(domainOf(1));
    await cache.settled();
    host.definition = () => {
      throw new Error("busy");
    };
    clock.ms = 5 * MINUTE_MS;
    for (let second = 0; second < 60; second++) {
      expect(cache.of(domainOf(1))?.definition).toBe("<vm1/>");
      await cache.settled();
      clock.ms += 1_000;
    }
    expect(asked).toHaveLength(3);
  });

  it("are not known where the definition cannot be read, rather than those of an earlier one", async () => {
    const { cache, clock } = setUp({
      parse: (xml) => {
        if (clock.ms > 0) throw new Error("malformed");
        return xml;
      },
    });
    cache.of(domainOf(1));
    await cache.settled();
    clock.ms = 1_000;
    cache.changed(uuidOf(1));
    await cache.settled();
    expect(cache.of(domainOf(1))).toBeUndefined();
  });

  it("have the limits of the disks that the reader names, and of no domain that does not run", async () => {
    const { cache, asked } = setUp({ limitedDisks: () => ["vda", "vdb"] });
    cache.of(domainOf(1));
    cache.of(domainOf(2, -1));
    await cache.settled();
    expect(asked).toEqual(["vm1", "vm1 vda", "vm1 vdb", "vm2"]);
    expect([...cache.of(domainOf(1))!.limits.keys()]).toEqual(["vda", "vdb"]);
  });

  it("have where virtual CPUs run every 20 s, and no placement that is older than a minute", async () => {
    const { cache, clock, asked } = setUp({ placement: true });
    cache.of(domainOf(1));
    await cache.settled();
    clock.ms = 20_000;
    expect(cache.of(domainOf(1))?.placement?.get(0)).toBe(3);
    await cache.settled();
    expect(asked).toEqual(["vm1", "vm1 cpus", "vm1 cpus"]);
    clock.ms = 81_000;
    expect(cache.of(domainOf(1))?.placement).toBeUndefined();
    await cache.settled();
    expect(cache.of(domainOf(1))?.placement?.get(0)).toBe(3);
  });

  it("of domains that are not asked for any more are forgotten", async () => {
    const { cache, clock } = setUp();
    for (let number = 1; number <= 1_000; number++) {
      cache.of(domainOf(number));
      clock.ms += MINUTE_MS;
    }
    await cache.settled();
    expect(cache.size).toBeLessThan(20);
  });

  it("end with close", async () => {
    const { cache, asked } = setUp();
    for (let number = 1; number <= 10; number++) cache.of(domainOf(number));
    cache.close();
    await cache.settled();
    cache.of(domainOf(11));
    await cache.settled();
    expect(asked).toHaveLength(1);
  });
});
