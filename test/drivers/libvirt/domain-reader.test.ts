import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { DomainReader, type ReaderHost } from "../../../src/drivers/libvirt/domain-reader.ts";
import { ControlState } from "../../../src/drivers/libvirt/rpc/procedures.ts";
import { Admission } from "../../../src/drivers/libvirt/sweep/admission.ts";
import { VirstreamError } from "../../../src/model/error.ts";
import { uuidOf } from "./rpc/fake-daemon.ts";

const [LIBVIRT_10, LIBVIRT_11] = [10_010_000, 11_003_000];
const BUSY = { code: "deadline-exceeded", message: expect.stringMatching(/is busy: it is read again later/) };

/** A session of a daemon that answers each call at once, apart from the calls that hang. */
function setUp(libvirtVersion: number, { hangs = [] as string[], control = ControlState.ok as number } = {}) {
  const calls: string[] = [];
  const hung: (() => void)[] = [];
  const daemon = { control, hangs };
  const host: ReaderHost = {
    admission: new Admission(() => performance.now()),
    monitors: true,
    facts: { libvirtVersion },
    probeWorker: (probe) => probe.end(),
    call: (async ({ name }: { name: string }) => {
      calls.push(name);
      if (daemon.hangs.includes(name)) await new Promise<void>((resolve) => hung.push(resolve));
      if (name === "DOMAIN_GET_CONTROL_INFO") return { state: daemon.control, details: 0, forMs: 0 };
      return name === "DOMAIN_GET_XML_DESC" ? "<domain/>" : [];
    }) as ReaderHost["call"],
  };
  host.admission.addConnection(host);
  return { reader: new DomainReader(host), host, calls, hung, daemon };
}

function domainOf(number: number, id = number) {
  return { uuid: uuidOf(number), name: `vm${number}`, id, host: "hv" };
}

describe("A domain's definition", () => {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] });
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  it("is read by one call that needs no monitor, up to libvirt 10", async () => {
    const { reader, host, calls } = setUp(LIBVIRT_10, {
      hangs: ["DOMAIN_GET_XML_DESC"],
      control: ControlState.occupied,
    });
    void reader.definition(domainOf(1));
    expect(host.admission.inFlight("monitor")).toBe(0);
    expect(host.admission.inFlight("free")).toBe(1);
    expect(calls).toEqual(["DOMAIN_GET_XML_DESC"]);
  });

  it("is read from libvirt 11 on by a call that counts like one that uses the monitor, after a look at it", async () => {
    const { reader, host, calls, hung } = setUp(LIBVIRT_11, { hangs: ["DOMAIN_GET_XML_DESC"] });
    const xml = reader.definition(domainOf(1));
    await vi.waitFor(() => expect(hung).toHaveLength(1));
    expect(calls).toEqual(["DOMAIN_GET_CONTROL_INFO", "DOMAIN_GET_XML_DESC"]);
    expect(host.admission.isInFlight(uuidOf(1), "monitor")).toBe(true);
    hung[0]!();
    expect(await xml).toBe("<domain/>");
    expect(host.admission.inFlight("monitor")).toBe(0);
    // libvirt answers from its own memory: this says nothing about the guest.
    expect(host.admission.isTrusted(uuidOf(1))).toBe(false);
  });

  it.each([ControlState.job, ControlState.occupied, ControlState.error])(
    "is not read from libvirt 11 on while the domain's monitor is in the state %i",
    async (control) => {
      const { reader, calls } = setUp(LIBVIRT_11, { control });
      await expect(reader.definition(domainOf(1))).rejects.toMatchObject(BUSY);
      await expect(reader.limits(domainOf(1), "vda")).rejects.toMatchObject(BUSY);
      expect(new Set(calls)).toEqual(new Set(["DOMAIN_GET_CONTROL_INFO"]));
    },
  );

  it("is read at once where the domain does not run", async () => {
    const { reader, calls } = setUp(LIBVIRT_11);
    expect(await reader.definition(domainOf(1, -1))).toBe("<domain/>");
    expect(calls).toEqual(["DOMAIN_GET_XML_DESC"]);
  });

  it("is not waited for longer than a second while a sweep's call hangs in the guest, and sends no call", async () => {
    const { reader, host, calls, hung } = setUp(LIBVIRT_11, { hangs: ["DOMAIN_GET_BLOCK_IO_TUNE"] });
    const limits = reader.limits(domainOf(1), "vda").catch(() => {});
    await vi.waitFor(() => expect(hung).toHaveLength(1));
    const xml = reader.definition(domainOf(1)).catch((error: unknown) => error);
    await vi.advanceTimersByTimeAsync(1_001);
    expect(await xml).toMatchObject(BUSY);
    expect(calls.filter((name) => name === "DOMAIN_GET_XML_DESC")).toEqual([]);
    // The call that hangs is given up, and keeps its permit.
    await vi.advanceTimersByTimeAsync(5_000);
    await limits;
    expect(host.admission.isQuarantined(uuidOf(1), "monitor")).toBe(true);
    const before = calls.length;
    await expect(reader.definition(domainOf(1))).rejects.toMatchObject(BUSY);
    expect(calls).toHaveLength(before);
    hung[0]!();
    await vi.advanceTimersByTimeAsync(1);
    expect(host.admission.inFlight("monitor")).toBe(0);
  });

  it("is not asked for as long as two such calls are unanswered, whatever the number of domains", async () => {
    const { reader, calls, hung } = setUp(LIBVIRT_10, { hangs: ["DOMAIN_GET_XML_DESC"] });
    const read: string[] = [];
    const readAll = async () => {
      for (let number = 1; number <= 10; number++) read.push(await reader.definition(domainOf(number)).catch(() => ""));
    };
    const all = readAll();
    await vi.advanceTimersByTimeAsync(600_000);
    expect(calls).toHaveLength(2);
    while (read.length < 10) {
      hung.shift()?.();
      await vi.advanceTimersByTimeAsync(1);
    }
    await all;
    expect(read).toEqual(["", "", ...Array(8).fill("<domain/>")]);
  });

  it("is read for each caller in turn, also if several callers wait while two calls are unanswered", async () => {
    const { reader, calls, hung } = setUp(LIBVIRT_10, { hangs: ["DOMAIN_GET_XML_DESC"] });
    const overdue = [1, 2].map((number) => reader.definition(domainOf(number)).catch(() => "overdue"));
    await vi.advanceTimersByTimeAsync(5_001);
    const waiting = [3, 4, 5].map((number) => reader.definition(domainOf(number)));
    await vi.advanceTimersByTimeAsync(1);
    expect(calls).toHaveLength(2);
    while (calls.length < 5 || hung.length > 0) {
      hung.shift()!();
      await vi.advanceTimersByTimeAsync(1);
    }
    expect(await Promise.all(overdue)).toEqual(["overdue", "overdue"]);
    expect(await Promise.all(waiting)).toEqual(Array(3).fill("<domain/>"));
  });

  it("is given up at once when the session ends, also while it waits for its turn", async () => {
    const { reader } = setUp(LIBVIRT_10, { hangs: ["DOMAIN_GET_XML_DESC"] });
    const overdue = [1, 2].map((number) => reader.definition(domainOf(number)).catch(() => "overdue"));
    await vi.advanceTimersByTimeAsync(5_001);
    const waiting = [3, 4].map((number) => reader.definition(domainOf(number)).catch((error: unknown) => error));
    await vi.advanceTimersByTimeAsync(1);
    reader.close();
    for (const each of await Promise.all(waiting)) expect(each).toMatchObject(BUSY);
    expect(await Promise.all(overdue)).toEqual(["overdue", "overdue"]);
  });

  it("is given up at once when the session ends", async () => {
    const { reader, hung } = setUp(LIBVIRT_10, { hangs: ["DOMAIN_GET_XML_DESC"] });
    const first = reader.definition(domainOf(1));
    const second = reader.definition(domainOf(1));
    reader.close();
    await expect(second).rejects.toBeInstanceOf(VirstreamError);
    hung[0]!();
    expect(await first).toBe("<domain/>");
    expect(vi.getTimerCount()).toBe(0);
  });
});
