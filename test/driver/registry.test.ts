import { describe, expect, it } from "vitest";
import type { OpenOptions } from "../../src/driver/driver.ts";
import { openDriver, registerDriver } from "../../src/driver/registry.ts";
import { SimulatedDriver } from "../../src/drivers/simulated/driver.ts";

const opened: OpenOptions[] = [];
registerDriver("test", async (uri, options) => {
  opened.push(options);
  return new SimulatedDriver(uri);
});

describe("Opening a driver by its scheme", () => {
  it("takes the scheme in capitals, too", async () => {
    expect((await openDriver("TEST:///default")).hypervisor).toBe("test");
  });

  it("names the known schemes in the error for an unknown scheme, and for a text that is no URI", async () => {
    await expect(openDriver("tset:///default")).rejects.toMatchObject({
      code: "unknown-scheme",
      message: expect.stringContaining("there are drivers for test"),
    });
    await expect(openDriver("default")).rejects.toMatchObject({ code: "invalid-uri" });
    expect(() => registerDriver("Test", openDriver)).toThrow(expect.objectContaining({ code: "invalid-argument" }));
  });

  it("opens nothing with an option that does not exist, or once the signal is aborted", async () => {
    const before = opened.length;
    await expect(openDriver("test:///default", { tokn: "a secret" } as OpenOptions)).rejects.toMatchObject({
      code: "invalid-argument",
      message: expect.stringContaining("tokn"),
    });
    const signal = AbortSignal.abort(new Error("enough"));
    await expect(openDriver("test:///default", { signal })).rejects.toThrow("enough");
    expect(opened).toHaveLength(before);
  });
});
