import { connect, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { OpenTransport } from "../../../src/drivers/libvirt/daemon.ts";
import { LibvirtDriver } from "../../../src/drivers/libvirt/driver.ts";
import { FEATURE_EVENT_CALLBACK } from "../../../src/drivers/libvirt/rpc/procedures.ts";
import { VirstreamError } from "../../../src/model/error.ts";
import { checkQuery, type StatsQuery } from "../../../src/model/query.ts";
import type { DomainStatsRecord } from "../../../src/model/record.ts";
import { PATIENCE } from "../../until.ts";
import { FrozenGuests } from "./frozen-guests.ts";
import { EVENT_TYPES, frame, uuidOf, words } from "./rpc/fake-daemon.ts";

const BUDGET = 8;

/** A sweep to its end: its records by name, and how it ended. */
async function sweep(driver: LibvirtDriver, query: StatsQuery = {}, signal = new AbortController().signal) {
  const records: DomainStatsRecord[] = [];
  let error: unknown;
  try {
    const chunks = driver.sweep(checkQuery({ deadlineMs: 200, ...query }), { signal, expect: () => {} });
    for await (const chunk of chunks) records.push(...chunk);
  } catch (thrown) {
    error = thrown;
  }
  const count = (status: string, reason?: string) =>
    records.filter((record) => record.status === status && record.reason === reason).length;
  return { records, error, count };
}

const until = (what: () => boolean) => vi.waitFor(() => expect(what()).toBe(true), PATIENCE);

let guests: FrozenGuests;
const drivers: LibvirtDriver[] = [];

async function open(transports?: OpenTransport): Promise<LibvirtDriver> {
  const driver = await LibvirtDriver.open(guests.daemon.uri(), {}, transports);
  drivers.push(driver);
  return driver;
}

beforeEach(async () => {
  guests = await FrozenGuests.start(20);
});

afterEach(async () => {
  vi.restoreAllMocks();
  await Promise.all(drivers.splice(0).map((driver) => driver.close()));
  await guests[Symbol.asyncDispose]();
});

/** Sweeps until this driver alone has spent the budget on frozen guests, and gives the sweep up. */
async function spend(driver: LibvirtDriver): Promise<void> {
  const abort = new AbortController();
  const under = sweep(driver, { deadlineMs: 20_000 }, abort.signal);
  await until(() => guests.unanswered === BUDGET);
  abort.abort();
  await under;
}

describe("Two drivers of one process, to the same daemon", () => {
  it("together have no more than eight calls in frozen guests, four on a connection, and a record for every domain", async () => {
    const [one, two] = [await open(), await open()];
    for (let round = 0; round < 3; round++) {
      const ended = await Promise.all([sweep(one), sweep(two), sweep(one)]);
      for (const { records, error } of ended) {
        expect(error).toBeUndefined();
        expect(records).toHaveLength(20);
        expect(records.every(({ status }) => status === "partial")).toBe(true);
      }
    }
    await until(() => guests.unanswered === BUDGET);
    expect(guests.most.all).toBe(BUDGET);
    expect(guests.most.connection).toBeLessThanOrEqual(4);
    expect(new Set(guests.asked).size).toBe(guests.asked.length);
  });

  it("are one to the daemon however its socket is named: read-only or not", async () => {
    await spend(await open());
    const other = await LibvirtDriver.open(`qemu+unix:///system?socket=${guests.daemon.path}-ro`, {}, async () =>
      connect(guests.daemon.path),
    );
    drivers.push(other);
    const { records } = await sweep(other);
    expect(records).toHaveLength(20);
    expect(guests.unanswered).toBe(BUDGET);
  });

  it("each have a budget of their own at different daemons", async () => {
    await spend(await open());
    await using elsewhere = await FrozenGuests.start(20);
    const driver = await LibvirtDriver.open(elsewhere.daemon.uri());
    await sweep(driver);
    expect(elsewhere.unanswered).toBeGreaterThan(0);
    await driver.close();
  });

  it("share it also after one was closed: closing takes no call back, and the other knows of them", async () => {
    const two = await open();
    const one = await open();
    await spend(one);
    await one.close();
    const { records, count } = await sweep(two);
    expect(records).toHaveLength(20);
    expect(guests.unanswered).toBe(BUDGET);
    expect(guests.most.all).toBe(BUDGET);
    expect(count("partial", "quarantined")).toBe(BUDGET);
    expect(count("partial", "busy")).toBe(20 - BUDGET);
  });

  it("share it also with one that is opened when all others have been closed", async () => {
    const one = await open();
    await spend(one);
    await one.close();
    const two = await open();
    const { records } = await sweep(two);
    expect(records).toHaveLength(20);
    expect(guests.most.all).toBe(BUDGET);
  });

  it("ask again in the first sweep after the monitors are free, whichever client had left calls there", async () => {
    const two = await open();
    const one = await open();
    await spend(one);
    await one.close();
    guests.thaw();
    expect((await sweep(two, { deadlineMs: 20_000 })).count("ok")).toBe(20);
    expect((await sweep(await open(), { deadlineMs: 20_000 })).count("ok")).toBe(20);
  });

  it.each([
    ["has a job, such as a backup", [1, 0]],
    ["works between two commands", [3, 3]],
  ])("do not ask a guest again of which libvirt says only that it %s", async (_, state) => {
    const one = await open();
    await spend(one);
    await one.close();
    guests.busyState = state;
    const { count } = await sweep(await open());
    expect(count("partial", "quarantined")).toBe(BUDGET);
    expect(guests.most.all).toBe(BUDGET);
    expect(new Set(guests.asked).size).toBe(guests.asked.length);
  });

  it.each([
    ["before", true],
    ["while", false],
  ])(
    "have at most five calls unanswered on a connection, also when one was closed %s the other sweeps",
    async (_, first) => {
      const [one, two] = [await open(), await open()];
      await spend(one);
      const unanswered = new Map<Socket, number>();
      const { answer } = guests.daemon;
      guests.daemon.answer = (request, socket) => {
        if (request.procedure !== 229) return answer(request, socket);
        unanswered.set(socket, (unanswered.get(socket) ?? 0) + 1);
        return undefined;
      };
      if (first) await one.close();
      const abort = new AbortController();
      const under = sweep(two, { deadlineMs: 20_000 }, abort.signal);
      await until(() => [...unanswered.values()].includes(5));
      await one.close();
      await sweep(two);
      expect(Math.max(...unanswered.values())).toBe(5);
      abort.abort();
      await under;
    },
  );

  it("do not send call after call to find a free worker while there is no place for such a call", async () => {
    const driver = await open();
    // By the end of a sweep that needs no monitor, the driver's own calls have been answered.
    await until(() => guests.daemon.requests.some(({ procedure }) => procedure === 316));
    await sweep(driver, { groups: ["state"] });
    const { answer } = guests.daemon;
    // Looking up a name hangs, and takes the only place of its kind.
    guests.daemon.answer = (request, socket) => (request.procedure === 23 ? undefined : answer(request, socket));
    const timers = vi.spyOn(globalThis, "setTimeout");
    const abort = new AbortController();
    const lookup = sweep(driver, { deadlineMs: 20_000, domains: ["unknown"] }, abort.signal);
    await until(() => guests.daemon.requests.some(({ procedure }) => procedure === 23));
    const domains = Array.from({ length: 4 }, (_, i) => uuidOf(i));
    const under = sweep(driver, { deadlineMs: 20_000, domains }, abort.signal);
    await until(() => guests.unanswered === 4);
    timers.mockClear();
    await sleep(500);
    expect(timers.mock.calls.length).toBeLessThan(20);
    abort.abort();
    await Promise.all([lookup, under]);
  });

  it("have a record for every domain, too, where libvirt does not even say whether a monitor is free", async () => {
    const one = await open();
    await spend(one);
    await one.close();
    const { answer } = guests.daemon;
    guests.daemon.answer = (request, socket) => (request.procedure === 229 ? undefined : answer(request, socket));
    const { records, count } = await sweep(await open());
    expect(records).toHaveLength(20);
    expect(count("partial", "quarantined")).toBe(BUDGET);
    expect(guests.most.all).toBe(BUDGET);
  });

  it("end a sweep at once that is aborted while that is being looked at", async () => {
    const one = await open();
    await spend(one);
    await one.close();
    const two = await open();
    const lists = () => guests.daemon.requests.filter(({ procedure }) => procedure === 273).length;
    const before = lists();
    const abort = new AbortController();
    const under = sweep(two, {}, abort.signal);
    abort.abort();
    const { records, error } = await under;
    expect([records, error]).toEqual([[], undefined]);
    expect((await sweep(two)).records).toHaveLength(20);
    expect(lists()).toBe(before + 1);
  });
});

describe("A lost connection with calls in frozen guests", () => {
  it("leaves them counted: after the driver has connected again, no more than eight hang, and no guest is asked twice", async () => {
    vi.spyOn(Math, "random").mockReturnValue(0);
    const driver = await open();
    await spend(driver);
    for (const socket of guests.daemon.sockets) socket.destroy();
    const { records, error, count } = await sweep(driver, { deadlineMs: 2_000 });
    // The sweep may have begun before the loss was noticed; then it has failed with it.
    const again = error === undefined ? count : (await sweep(driver, { deadlineMs: 2_000 })).count;
    if (error === undefined) expect(records).toHaveLength(20);
    expect(again("partial", "quarantined")).toBe(BUDGET);
    expect(again("partial", "busy")).toBe(20 - BUDGET);
    expect(guests.most.all).toBe(BUDGET);
    expect(new Set(guests.asked).size).toBe(guests.asked.length);
  });
});

describe("A daemon that tells of changes", () => {
  const asked = (procedure: number) =>
    guests.daemon.requests.filter((request) => request.procedure === procedure).length;

  /** A driver that has listed its domains and found them to answer. */
  async function setUp() {
    guests.frozen = false;
    guests.tells = true;
    const driver = await open();
    // It has asked for events, and was answered before anything that it asks from now on.
    await until(() => asked(316) === 1);
    expect((await sweep(driver, { deadlineMs: 20_000 })).count("ok")).toBe(20);
    return driver;
  }

  it("lists its domains once: after that it counts them", async () => {
    const driver = await setUp();
    for (let i = 0; i < 3; i++) expect((await sweep(driver, { deadlineMs: 20_000 })).count("ok")).toBe(20);
    expect([asked(273), asked(51), asked(25)]).toEqual([1, 3, 3]);
  });

  it.each([
    ["started", [EVENT_TYPES.started], 21],
    ["stopped, though it runs by now", [EVENT_TYPES.stopped, EVENT_TYPES.resumed], 21],
    ["been suspended", [EVENT_TYPES.suspended], 20],
  ])(
    "that says that a domain has %s is believed: what another process answers is not known",
    async (_, types, checks) => {
      const driver = await setUp();
      expect(asked(229)).toBe(20);
      for (const type of types) guests.tell(type, 7);
      // An answer that comes after the event: by then it was taken in.
      await sweep(driver, { deadlineMs: 20_000, groups: ["state"] });
      await sweep(driver, { deadlineMs: 20_000 });
      expect(asked(229)).toBe(checks);
    },
  );

  it("and tells of it in broken words loses its connection, and the driver connects again", async () => {
    vi.spyOn(Math, "random").mockReturnValue(0);
    const driver = await setUp();
    guests.daemon.sockets[0]!.write(frame(318, 1, words(1, 0xffffffff), { type: 2 }));
    await until(() => guests.daemon.sockets[0]!.destroyed);
    expect((await sweep(driver, { deadlineMs: 20_000 })).count("ok")).toBe(20);
    expect(guests.daemon.sockets.length).toBeGreaterThan(1);
  });

  it("has at most five unanswered calls on the connection, the one that asks for its changes among them", async () => {
    const { answer } = guests.daemon;
    const unanswered: number[] = [];
    guests.daemon.answer = (request, socket) => {
      const { procedure, payload } = request;
      const hangs = procedure === 23 || (procedure === 60 && payload.readInt32BE(0) === FEATURE_EVENT_CALLBACK);
      if (!hangs) return answer(request, socket);
      unanswered.push(procedure);
      return undefined;
    };
    const driver = await open();
    const abort = new AbortController();
    const under = sweep(driver, { deadlineMs: 20_000, domains: [..."abcdefgh"] }, abort.signal);
    await until(() => unanswered.length >= 5);
    await sleep(50);
    expect(unanswered.sort()).toEqual([23, 23, 23, 23, 60]);
    abort.abort();
    await under;
  });

  it("and does not is asked for its list in each sweep", async () => {
    guests.frozen = false;
    const driver = await open();
    for (let i = 0; i < 3; i++) await sweep(driver, { deadlineMs: 20_000 });
    expect(asked(273)).toBe(3);
  });
});

describe("A connection that ends while it is being opened", () => {
  it("in the same moment as the last answer comes is no connection: opening fails, with the reason", async () => {
    guests.daemon.answer = ({ procedure, serial }) => {
      if (procedure !== 157) return "default";
      // The answer, and what no daemon says.
      return { raw: Buffer.concat([frame(procedure, serial, words(0, 9_000_000)), words(0)]) };
    };
    await expect(open()).rejects.toMatchObject({ code: "protocol-error" });
  });
});

describe("A driver whose connection was lost", () => {
  const refused = new VirstreamError("connection-refused", "nothing listens there");

  /** Transports that the test can switch off and on. */
  function switchable() {
    const attempts: number[] = [];
    const state = { up: true, attempts, lost: 0 };
    const transports: OpenTransport = async () => {
      attempts.push(performance.now());
      if (!state.up) throw refused;
      return connect(guests.daemon.path).once("close", () => void state.lost++);
    };
    return { state, transports };
  }

  /** A driver that has lost its connection and cannot have another; its dice always fall the same. */
  async function lose(dice: number) {
    vi.spyOn(Math, "random").mockReturnValue(dice);
    guests.frozen = false;
    const { state, transports } = switchable();
    const driver = await open(transports);
    state.up = false;
    for (const socket of guests.daemon.sockets) socket.destroy();
    await until(() => state.lost === 1);
    return { driver, state };
  }

  it("connects again by itself, with growing waits", async () => {
    const { state } = await lose(0.08);
    await until(() => state.attempts.length >= 5);
    const gaps = state.attempts.slice(1).map((at, i) => at - state.attempts[i]!);
    // The first gap is that since the driver was opened.
    const waits = [20, 40, 80, 160];
    gaps.slice(0, 4).forEach((gap, i) => void expect(gap).toBeGreaterThanOrEqual(waits[i]! - 2));
  });

  it("fails its sweeps at their deadline with connection-lost, and says why it cannot connect", async () => {
    const { driver, state } = await lose(0.01);
    await until(() => state.attempts.length >= 2);
    const start = performance.now();
    const { records, error } = await sweep(driver, { deadlineMs: 300 });
    expect(performance.now() - start).toBeGreaterThanOrEqual(295);
    expect(records).toEqual([]);
    expect(error).toMatchObject({ code: "connection-lost", retryable: true });
    expect((error as Error).message).toMatch(/cannot be reached: .*nothing listens there/);
  });

  it("serves the sweeps that wait as soon as it is connected, and later ones as ever", async () => {
    const { driver, state } = await lose(0);
    const waiting = [sweep(driver, { deadlineMs: 20_000 }), sweep(driver, { deadlineMs: 20_000 })];
    await sleep(50);
    state.up = true;
    for (const { count, error } of await Promise.all(waiting)) {
      expect(error).toBeUndefined();
      expect(count("ok")).toBe(20);
    }
    expect((await sweep(driver, { deadlineMs: 20_000 })).count("ok")).toBe(20);
  });

  it("opens one connection again, not several, and no more once it has it", async () => {
    const { driver, state } = await lose(0);
    state.up = true;
    // Few domains: one connection is enough.
    await sweep(driver, { deadlineMs: 20_000, groups: ["state"] });
    const attempts = state.attempts.length;
    await sleep(100);
    expect(state.attempts).toHaveLength(attempts);
    expect(guests.daemon.open).toBe(1);
  });

  it("connects again as often as it has to", async () => {
    const { driver, state } = await lose(0);
    state.up = true;
    for (let i = 0; i < 3; i++) {
      await until(() => guests.daemon.open === 1);
      expect((await sweep(driver, { deadlineMs: 20_000, groups: ["state"] })).count("ok")).toBe(20);
      for (const socket of guests.daemon.sockets) socket.destroy();
      await until(() => state.lost === i + 2);
    }
  });

  it("ends a waiting sweep at once when that is aborted", async () => {
    const { driver } = await lose(0.5);
    const abort = new AbortController();
    const waiting = sweep(driver, { deadlineMs: 60_000 }, abort.signal);
    await sleep(20);
    abort.abort();
    const { records, error } = await waiting;
    expect([records, error]).toEqual([[], undefined]);
  });

  it("ends promptly when it is closed while it waits to connect again, and so do its sweeps", async () => {
    const { driver, state } = await lose(0.999);
    const waiting = sweep(driver, { deadlineMs: 60_000 });
    // Long enough that the waits are longer than a test.
    await until(() => state.attempts.length >= 3);
    const attempts = state.attempts.length;
    await driver.close();
    expect((await waiting).error).toMatchObject({ code: "connection-closed" });
    expect((await sweep(driver)).error).toMatchObject({ code: "connection-closed" });
    await sleep(50);
    expect(state.attempts).toHaveLength(attempts);
  });

  it("ends promptly when it is closed in the middle of an attempt", async () => {
    vi.spyOn(Math, "random").mockReturnValue(0);
    let attempts = 0;
    const transports: OpenTransport = async (_, signal) => {
      if (attempts++ === 0) return connect(guests.daemon.path);
      return new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason), { once: true }));
    };
    const driver = await open(transports);
    for (const socket of guests.daemon.sockets) socket.destroy();
    await until(() => attempts === 2);
    await driver.close();
    expect(attempts).toBe(2);
  });

  it("hangs up at once when it is closed while the daemon opens a connection", async () => {
    vi.spyOn(Math, "random").mockReturnValue(0);
    const driver = await open();
    // From now on the daemon takes connections, and says nothing.
    guests.daemon.answer = () => undefined;
    guests.daemon.sockets[0]!.destroy();
    await until(() => guests.daemon.sockets.length === 2 && guests.daemon.requests.at(-1)!.procedure === 66);
    await driver.close();
    await until(() => guests.daemon.open === 0);
  });
});
