import { expect, it, vi } from "vitest";
import "../../../src/drivers/builtin.ts";
import { LibvirtDriver } from "../../../src/drivers/libvirt/driver.ts";
import { VirstreamError } from "../../../src/model/error.ts";
import { createGuest } from "../../lab/guest.ts";
import { startLibvirtd } from "../../lab/libvirtd.ts";
import { describeWith, labRequirements } from "../../lab/requirement.ts";
import { uncaughtDuring } from "../../uncaught.ts";
import { PATIENCE } from "../../until.ts";
import { collect, statuses } from "./collect.ts";

describeWith(labRequirements, "The libvirt driver, when its daemon is killed in the middle of a sweep", () => {
  it("has a record for every domain, fails with connection-lost, and connects again when there is a daemon", async () => {
    await using libvirtd = await startLibvirtd();
    const guest = await createGuest(libvirtd, { name: "frozen", paused: true });
    await createGuest(libvirtd, { name: "healthy", paused: true });
    await using driver = await LibvirtDriver.open(libvirtd.uri);
    const states: string[] = [];
    driver.onStatus(({ state, host, error }) => states.push(`${host === driver.host} ${state} ${error?.code}`));
    const { records } = await collect(driver);
    guest.freeze();
    const sweep = collect(driver);
    setTimeout(() => void libvirtd.kill(), 200);
    const collected = await sweep;
    expect(statuses(collected)).toEqual({ frozen: "failed error", healthy: "ok" });
    expect(collected.error).toMatchObject({ code: "connection-lost", retryable: true });
    expect(collected.records.find(({ status }) => status === "failed")!.error).toBe(collected.error);

    const meanwhile = await collect(driver, { deadlineMs: 100 });
    expect(meanwhile.records).toEqual([]);
    expect(meanwhile.error).toMatchObject({
      code: "connection-lost",
      retryable: true,
      message: expect.stringMatching(/cannot be reached: /),
    });

    guest.thaw();
    await libvirtd.restart();
    const after = await vi.waitFor(async () => {
      const complete = await collect(driver);
      expect(statuses(complete)).toEqual({ frozen: "ok", healthy: "ok" });
      return complete;
    }, PATIENCE);
    expect(states).toEqual(["true reconnecting connection-lost", "true connected undefined"]);
    // A domain that was given out before is still this driver's.
    const domains = records.map(({ domain }) => domain);
    expect((await collect(driver, { domains })).records).toHaveLength(2);
    expect(after.records.map(({ domain }) => domain.uuid).sort()).toEqual(domains.map(({ uuid }) => uuid).sort());
  });

  it("connects again whatever its listeners throw, and names no host that is connected as absent", async () => {
    await using libvirtd = await startLibvirtd();
    await using driver = await LibvirtDriver.open(libvirtd.uri);
    const states: string[] = [];
    const fault = new Error("a fault in a listener");
    const removals = [
      driver.onStatus(() => {
        throw fault;
      }),
      driver.onStatus(({ state }) => states.push(state)),
    ];
    const uncaught = await uncaughtDuring(async () => {
      await libvirtd.kill();
      await vi.waitFor(() => expect(states).toEqual(["reconnecting"]), PATIENCE);
      expect(driver.absent).toEqual([{ host: driver.host, error: expect.any(VirstreamError) }]);
      await libvirtd.restart();
      await vi.waitFor(() => expect(states).toEqual(["reconnecting", "connected"]), PATIENCE);
      expect(driver.absent).toEqual([]);
      expect((await collect(driver)).error).toBeUndefined();
    });
    expect(uncaught).toEqual([fault, fault]);
    for (const remove of removals) remove();
  });

  it("does not ask the guest whose call the old daemon's end left unanswered until its monitor is free", async () => {
    await using libvirtd = await startLibvirtd();
    const guest = await createGuest(libvirtd, { name: "frozen", paused: true });
    await createGuest(libvirtd, { name: "healthy", paused: true });
    await using driver = await LibvirtDriver.open(libvirtd.uri);
    guest.freeze();
    const sweep = collect(driver);
    setTimeout(() => void libvirtd.kill(), 200);
    await sweep;
    await libvirtd.restart();
    const during = await vi.waitFor(async () => {
      const some = await collect(driver, { deadlineMs: 1_000 });
      expect(statuses(some)).toMatchObject({ healthy: "ok" });
      return some;
    }, PATIENCE);
    expect(statuses(during)["frozen"]).toMatch(/^(partial|failed) /);
    guest.thaw();
    await vi.waitFor(async () => {
      expect(statuses(await collect(driver))).toEqual({ frozen: "ok", healthy: "ok" });
    }, PATIENCE);
  });
});

describeWith(labRequirements, "The libvirt driver, while a frozen guest is being destroyed", () => {
  it("goes by its last listing, and has the others' records soon: libvirt cannot list for ten seconds", async () => {
    await using libvirtd = await startLibvirtd();
    const guest = await createGuest(libvirtd, { name: "frozen", transient: true, paused: true });
    for (const name of ["one", "two"]) await createGuest(libvirtd, { name, paused: true });
    await using driver = await LibvirtDriver.open(libvirtd.uri);
    expect(Object.values(statuses(await collect(driver)))).toEqual(["ok", "ok", "ok"]);
    guest.freeze();
    const destroyed = guest.destroy().catch(() => {});
    await new Promise((resolve) => setTimeout(resolve, 300));
    const during = await collect(driver, { deadlineMs: 500 });
    expect(statuses(during)).toEqual({ frozen: "failed timeout", one: "ok", two: "ok" });
    expect(during.times.get("one")).toBeLessThan(900);
    expect(during.times.get("frozen")).toBeLessThan(2_000);
    const again = await collect(driver, { deadlineMs: 500 });
    expect(statuses(again)).toEqual({ frozen: "failed quarantined", one: "ok", two: "ok" });
    await guest.kill();
    await destroyed;
    await vi.waitFor(async () => expect(statuses(await collect(driver))).toEqual({ one: "ok", two: "ok" }), PATIENCE);
  });
});
