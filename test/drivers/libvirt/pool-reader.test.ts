import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { PoolReader } from "../../../src/drivers/libvirt/pool-reader.ts";
import type { RemotePool } from "../../../src/drivers/libvirt/rpc/remote-pool.ts";
import { type SideCallHost, SideCalls } from "../../../src/drivers/libvirt/side-calls.ts";
import { Admission } from "../../../src/drivers/libvirt/sweep/admission.ts";
import { VirstreamError } from "../../../src/model/error.ts";
import { uuidOf } from "./rpc/fake-daemon.ts";

const MINUTE = 60_000;
const SIZES = { state: 2, capacity: 10, allocation: 4, available: 6 };

/** A daemon with storage pools, of which some hang: the list hangs with them, as libvirt's does. */
function setUp(...names: string[]) {
  const calls: string[] = [];
  const hung: (() => void)[] = [];
  const daemon = { pools: names, hangs: [] as string[], errors: new Map<string, Error>() };
  const host: SideCallHost = {
    admission: new Admission(() => performance.now()),
    async probeWorker(probe) {
      await new Promise((resolve) => setTimeout(resolve, 5));
      probe.answered();
      probe.end();
    },
    call: (async ({ name }: { name: string }, pool?: RemotePool) => {
      const about = pool?.name ?? "list";
      calls.push(about);
      if (about === "list" ? daemon.hangs.length > 0 : daemon.hangs.includes(about)) {
        await new Promise<void>((resolve) => hung.push(resolve));
      }
      const error = daemon.errors.get(about);
      if (error !== undefined) throw error;
      expect(name).toMatch(/POOL/);
      return pool === undefined
        ? daemon.pools.map((each) => ({ name: each, uuid: uuidOf(each.charCodeAt(0)) }))
        : SIZES;
    }) as SideCallHost["call"],
  };
  host.admission.addConnection(host);
  host.admission.addConnection(host);
  const session = { calls: new SideCalls(host, 2) };
  const reader = new PoolReader({ host: () => "hv1", calls: () => session.calls }, { now: () => performance.now() });
  const answer = (): void => {
    daemon.hangs = [];
    for (const resolve of hung.splice(0)) resolve();
  };
  /** What is known of each pool after a read. */
  const read = async (): Promise<Record<string, number | "late" | "unknown">> => {
    const reading = reader.read(1_000);
    await vi.advanceTimersByTimeAsync(1_000);
    return Object.fromEntries(
      (await reading).map(({ name, usage, timedOut }) => [name, usage?.capacity ?? (timedOut ? "late" : "unknown")]),
    );
  };
  const later = (ms: number) => vi.advanceTimersByTimeAsync(ms);
  return { reader, read, later, calls, daemon, answer, host, session };
}

describe("The storage pools of a host", () => {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] });
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  it("are listed and read once per minute, however many pages ask, and not at all if none does", async () => {
    const { read, later, calls } = setUp("a", "b");
    await later(10 * MINUTE);
    expect(calls).toEqual([]);
    expect(await read()).toEqual({ a: 10, b: 10 });
    expect(calls).toEqual(["list", "a", "b"]);
    for (let page = 0; page < 10; page++) expect(await read()).toEqual({ a: 10, b: 10 });
    expect(calls).toHaveLength(3);
    await later(MINUTE);
    await read();
    expect(calls.slice(3)).toEqual(["a", "b", "list"]);
  });

  it("come and go with libvirt's list, and are gone at once where libvirt does not know them any more", async () => {
    const { read, later, daemon } = setUp("a", "b");
    await read();
    daemon.pools = ["b", "c"];
    await later(MINUTE);
    expect(await read()).toEqual({ b: 10, c: 10 });
    const libvirt = { code: 49, domain: 18 };
    daemon.errors.set("b", new VirstreamError("hypervisor-error", "Storage pool not found", { libvirt }));
    daemon.errors.set("c", new VirstreamError("denied", "access denied", { libvirt: { code: 88, domain: 18 } }));
    daemon.errors.set("list", new VirstreamError("denied", "access denied", { libvirt: { code: 88, domain: 18 } }));
    await later(MINUTE);
    expect(await read()).toEqual({ c: "unknown" });
  });

  it("are still read while one of them hangs, and only one call is unanswered then, however long it takes", async () => {
    const { read, later, daemon, calls, answer, host } = setUp("a", "b");
    await read();
    daemon.hangs = ["a"];
    await later(MINUTE);
    const before = calls.length;
    // It is not waited for longer than the page waits.
    await read();
    await later(5_000);
    expect(await read()).toEqual({ a: "late", b: 10 });
    for (let minute = 0; minute < 60; minute++) {
      await later(MINUTE);
      expect(await read()).toEqual({ a: "late", b: 10 });
    }
    expect(calls.slice(before).filter((about) => about !== "b")).toEqual(["a"]);
    expect(host.admission.inFlight("monitor")).toBe(1);
    answer();
    await later(MINUTE);
    expect(await read()).toEqual({ a: 10, b: 10 });
    expect(host.admission.inFlight("monitor")).toBe(0);
  });

  it("cost two unanswered calls at most, if the list hangs before it is known which pool does", async () => {
    const { reader, read, later, daemon, calls, answer, host } = setUp("a", "b");
    daemon.hangs = ["a"];
    expect(await read()).toEqual({});
    await later(5_000);
    expect(reader.error?.code).toBe("deadline-exceeded");
    await later(MINUTE);
    await read();
    expect(calls).toEqual(["list"]);
    answer();
    await later(MINUTE);
    await read();
    // The next list begins before it is known that a pool hangs.
    daemon.hangs = ["none"];
    await later(MINUTE);
    await read();
    daemon.hangs = ["a"];
    await later(MINUTE);
    await read();
    await later(2 * MINUTE);
    expect(await read()).toEqual({ a: "late", b: "late" });
    const sent = calls.length;
    await later(60 * MINUTE);
    await read();
    expect(calls).toHaveLength(sent);
    expect(host.admission.inFlight("monitor")).toBe(2);
    answer();
    await later(MINUTE);
    expect(await read()).toEqual({ a: 10, b: 10 });
  });

  it("count towards the 8 calls that may hang, and are not asked while all of those do", async () => {
    const { read, later, calls, host } = setUp("a");
    await read();
    const permits = Array.from({ length: 8 }, (_, i) => `domain ${i}`);
    const owner = { granted: () => {}, callDueAt: () => performance.now() };
    const tickets = permits.map((key) => ({ key, kind: "monitor" as const, waiting: false }));
    host.admission.join(owner, host).wait(tickets);
    await later(MINUTE);
    expect(host.admission.inFlight("monitor")).toBe(8);
    const before = calls.length;
    await read();
    await later(5_000);
    expect(await read()).toEqual({ a: "late" });
    expect(calls).toHaveLength(before);
  });

  it("are not asked for 10 minutes after a connection was lost while one of them hung, and then for 20", async () => {
    const { reader, read, later, daemon, calls, host, session } = setUp("a");
    await read();
    daemon.hangs = ["a"];
    const lose = async (): Promise<void> => {
      await later(MINUTE);
      await read();
      expect(host.admission.inFlight("monitor")).toBe(1);
      session.calls.close(true);
      expect(host.admission.inFlight("monitor")).toBe(0);
      session.calls = new SideCalls(host, 2);
    };
    for (const minutes of [10, 20]) {
      await lose();
      const sent = calls.length;
      await later(MINUTE);
      expect(await read()).toEqual({ a: "late" });
      expect(reader.error?.message).toContain(`pools are read again in ${minutes} min`);
      await later((minutes - 1) * MINUTE - 5_000);
      await read();
      expect(calls).toHaveLength(sent);
      await later(MINUTE + 10_000);
      await read();
      expect(calls).toHaveLength(sent + 1);
    }
  });
});
