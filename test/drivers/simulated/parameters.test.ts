import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { openDriver } from "../../../src/driver/registry.ts";
import "../../../src/drivers/builtin.ts";
import { openSimulated } from "../../../src/drivers/simulated/driver.ts";
import { parseSimulatedUri } from "../../../src/drivers/simulated/parameters.ts";
import { VirstreamError } from "../../../src/model/error.ts";

const parse = (parameters: string) => parseSimulatedUri(`test:///default?${parameters}`);

describe("the URI of the embedded host", () => {
  it("describes a host of 12, one paused and two shut off, when it says nothing", () => {
    expect(parseSimulatedUri("test:///default")).toMatchObject({
      domains: 12,
      shutoff: 2,
      paused: 1,
      transient: 0,
      seed: 1,
      host: "simulated",
      latencyMs: 0,
      vcpus: { low: 1, high: 4 },
      faults: [],
    });
  });

  it("describes a host where all run when it says how many there are", () => {
    expect(parse("domains=1000")).toMatchObject({ domains: 1000, shutoff: 0, paused: 0 });
  });

  it("takes shares of the guests, of those that are left", () => {
    expect(parse("domains=200&shutoff=10%&paused=50%&transient=3")).toMatchObject({
      shutoff: 20,
      paused: 90,
      transient: 3,
    });
  });

  it("takes one number for all guests, or two for guests that differ", () => {
    expect(parse("vcpus=2&disks=0&nics=1-3")).toMatchObject({
      vcpus: { low: 2, high: 2 },
      disks: { low: 0, high: 0 },
      nics: { low: 1, high: 3 },
    });
  });

  it("takes faults as lists of indexes and ranges, with an amount behind a colon", () => {
    expect(parse("freeze=3,7-8&slow=5:300,6&appear=2").faults).toEqual([
      { fault: "slow", first: 5, last: 5, amount: 300 },
      { fault: "slow", first: 6, last: 6, amount: 500 },
      { fault: "freeze", first: 3, last: 3, amount: 0 },
      { fault: "freeze", first: 7, last: 8, amount: 0 },
      { fault: "appear", first: 2, last: 2, amount: 5000 },
    ]);
  });

  it.each([
    ["test:///other", /test\+unix:\/\/\/default/],
    ["test:///default/", /test:\/\/\/default/],
    ["test://host/default", /test:\/\/\/default/],
    ["test:default", /test:\/\/\/default/],
    ["test:///default?cpus=2", /unknown parameter "cpus".*vcpus/],
    ["test:///default?domains=1000001", /from 0 to 1000000/],
    ["test:///default?domains=1e3", /whole number/],
    ["test:///default?domains=", /whole number/],
    ["test:///default?domains=-1", /whole number/],
    ["test:///default?domains=1&domains=2", /twice/],
    ["test:///default?vcpus=0", /from 1 to 1024/],
    ["test:///default?vcpus=4-2", /1-4/],
    ["test:///default?disks=x", /from 0 to 256/],
    ["test:///default?shutoff=13", /0 to 12/],
    ["test:///default?shutoff=101%", /share/],
    ["test:///default?extras=yes", /0 or 1/],
    ["test:///default?host=a%0Ab", /letters/],
    ["test:///default?host=", /letters/],
    ["test:///default?seed=4294967296", /from 0 to 4294967295/],
    ["test:///default?latency=600001", /from 0 to 600000/],
    ["test:///default?freeze=12", /within 0 and 11/],
    ["test:///default?freeze=7-3", /within 0 and 11/],
    ["test:///default?freeze=3:5", /indexes/],
    ["test:///default?freeze=", /indexes/],
    ["test:///default?slow=3:0", /1 to 600000 ms/],
    ["test:///default?huge=3:262145", /1 to 262144 parameters/],
    ["test:///default?domains=0&freeze=0", /no guests/],
  ])("refuses %s, saying what is allowed", async (uri, hint) => {
    const error = await openSimulated(uri, {}).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(VirstreamError);
    expect(error).toMatchObject({ code: "invalid-uri", message: expect.stringMatching(hint) });
  });

  it("is opened by its scheme", async () => {
    const driver = await openDriver("test:///default?host=lab-1");
    expect(driver).toMatchObject({ uri: "test:///default?host=lab-1", hypervisor: "test", host: "lab-1" });
    await driver.close();
  });

  it("either describes a host or is refused as invalid, whatever it says", () => {
    const name = fc.constantFrom(
      "domains",
      "vcpus",
      "shutoff",
      "freeze",
      "slow",
      "huge",
      "extras",
      "host",
      "latency",
      "x",
    );
    const value = fc.oneof(
      fc.string(),
      fc.nat().map(String),
      fc.stringMatching(/^[0-9]{1,4}(-[0-9]{1,4})?(:[0-9]*)?$/),
    );
    fc.assert(
      fc.property(fc.array(fc.tuple(name, value), { maxLength: 4 }), (parameters) => {
        try {
          const options = parse(new URLSearchParams(parameters).toString());
          expect(options.shutoff + options.paused).toBeLessThanOrEqual(options.domains);
          for (const fault of options.faults) expect(fault.last).toBeLessThan(options.domains);
        } catch (error) {
          expect(error).toMatchObject({ code: "invalid-uri" });
        }
      }),
    );
  });
});
