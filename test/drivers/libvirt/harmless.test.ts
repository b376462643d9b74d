import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, it, vi } from "vitest";
import "../../../src/drivers/builtin.ts";
import { connect } from "../../../src/client/connect.ts";
import { PROCEDURES } from "../../../src/drivers/libvirt/rpc/procedures.ts";
import { start, virstream } from "../../cli/run.ts";
import { createGuests, type Guest } from "../../lab/guest.ts";
import { type Libvirtd, startLibvirtd } from "../../lab/libvirtd.ts";
import { describeWith, labRequirements } from "../../lab/requirement.ts";
import { RpcProxy } from "../../lab/rpc-proxy.ts";
import { PATIENCE } from "../../until.ts";

const STATS = PROCEDURES.stats.number;
/** The program of libvirt's remote protocol, and that of its keepalives. */
const PROGRAMS = [0x20008086, 0x6b656570];

/** Waits until 8 calls are unanswered: those that hang. Until then, others may be on their way. */
const eightHang = (proxy: RpcProxy): Promise<void> =>
  vi.waitFor(() => expect(proxy.unanswered(STATS)).toBe(8), PATIENCE);

describeWith(labRequirements, "What a daemon is asked, seen from outside", () => {
  let libvirtd: Libvirtd;
  let guests: Guest[];

  beforeAll(async () => {
    libvirtd = await startLibvirtd();
    guests = await createGuests(libvirtd, 12, { paused: true, disks: 1, nics: 1 });
  });

  afterAll(async () => {
    await libvirtd?.stop();
  });

  it("is nothing but the procedures of the allow-list, and read-only, whatever virstream is used for", async () => {
    await using proxy = await RpcProxy.start(libvirtd.socket);
    for (const args of [
      ["get", proxy.uri],
      ["get", proxy.uri, "--state", "--list-active", "--format", "ndjson"],
      ["get", proxy.uri, "--domain", guests[0]!.name, "--backing", "--nowait"],
      ["doctor", proxy.uri],
    ]) {
      const { stdout, stderr } = await virstream(args);
      expect(stdout, stderr).not.toBe("");
    }
    const allowed = new Set(Object.values(PROCEDURES).map(({ number }) => number));
    expect(proxy.calls.length).toBeGreaterThan(50);
    for (const { program, procedure } of proxy.calls) {
      expect(PROGRAMS).toContain(program);
      expect(allowed).toContain(procedure);
    }
    const opens = proxy.calls.filter(({ procedure }) => procedure === PROCEDURES.open.number);
    expect(opens.length).toBeGreaterThanOrEqual(4);
    // The last word of CONNECT_OPEN is its flags: VIR_CONNECT_RO.
    for (const { payload } of opens) expect(payload.readUInt32BE(payload.length - 4)).toBe(1);
  });

  it("is at most 8 calls that hang, 4 on a connection, for all connections and sweeps of a process", async () => {
    await using proxy = await RpcProxy.start(libvirtd.readOnlySocket);
    await using one = await connect(proxy.uri);
    await using two = await connect(proxy.uri);
    await one.getAllDomainStats();
    for (const guest of guests) guest.freeze();
    try {
      const sweeps = [one, one, two, two].map((connection) => connection.getAllDomainStats({ deadlineMs: 1_500 }));
      for (const records of await Promise.all(sweeps)) {
        expect(records.map(({ status }) => status)).toEqual(Array(12).fill("partial"));
        for (const { params } of records) {
          expect(params.get("state.state")).toBe(3);
          expect(params.get("net.count")).toBe(1);
        }
      }
      const connections = new Set(proxy.calls.map(({ connection }) => connection));
      await eightHang(proxy);
      for (const connection of connections) expect(proxy.unanswered(STATS, connection)).toBeLessThanOrEqual(4);
      await one.getAllDomainStats({ deadlineMs: 1_000 });
      await eightHang(proxy);
    } finally {
      for (const guest of guests) guest.thaw();
    }
    await vi.waitFor(() => expect(proxy.unanswered(STATS)).toBe(0), PATIENCE);
    for (const { status } of await two.getAllDomainStats()) expect(status).toBe("ok");
  });

  it("is no second call into a guest that a call of another process hangs in, however often it is run", async () => {
    const [frozen] = guests;
    await using proxy = await RpcProxy.start(libvirtd.readOnlySocket);
    frozen!.freeze();
    try {
      const first = await virstream(["get", libvirtd.uri, "--deadline", "1s", "--format", "ndjson"]);
      expect(first.stdout).toContain('"timeout"');
      // That call's process is gone, the call is not. It hangs for more than a second now.
      await sleep(1_000);
      for (let run = 0; run < 3; run++) {
        const { stdout, stderr } = await virstream(["get", proxy.uri, "--deadline", "5s", "--format", "ndjson"]);
        expect(stderr).toBe("");
        const records = stdout
          .trim()
          .split("\n")
          .map((line) => JSON.parse(line));
        expect(records.filter(({ status }) => status === "ok")).toHaveLength(11);
        expect(records.find(({ status }) => status !== "ok")).toMatchObject({ status: "partial", reason: "busy" });
      }
      const intoFrozen = proxy.calls.filter(
        ({ procedure, payload }) => procedure === STATS && payload.includes(frozen!.uuid.replaceAll("-", ""), 0, "hex"),
      );
      // What needs no monitor: 0x151, the last but one word.
      const groups = intoFrozen.map(({ payload }) => payload.readUInt32BE(payload.length - 8));
      expect(groups).toEqual([0x151, 0x151, 0x151]);
    } finally {
      frozen!.thaw();
    }
  });

  it("is no call that can hang while calls of another process hang in 8 guests, whichever guests these are", async () => {
    await using proxy = await RpcProxy.start(libvirtd.readOnlySocket);
    const watches: ReturnType<typeof start>[] = [];
    // Resolves when each guest has a record.
    const watch = (): Promise<void> => {
      const child = start(["watch", proxy.uri, "--interval", "1s", "--format", "ndjson"]);
      watches.push(child);
      let text = "";
      return new Promise((resolve) =>
        child.stdout.on("data", (chunk) => {
          text += chunk;
          if (text.split("\n").filter((line) => line.includes('"partial"')).length >= 12) resolve();
        }),
      );
    };
    await using connection = await connect(libvirtd.uri);
    // A call of the test before may still be in a monitor.
    await vi.waitFor(async () => {
      for (const { status } of await connection.getAllDomainStats()) expect(status).toBe("ok");
    }, PATIENCE);
    for (const guest of guests) guest.freeze();
    try {
      await watch();
      await eightHang(proxy);
      // By then these calls have hung for a second.
      await sleep(1_500);
      await Promise.all([watch(), watch()]);
      await sleep(2_000);
      await eightHang(proxy);
    } finally {
      for (const child of watches) child.kill("SIGKILL");
      for (const guest of guests) guest.thaw();
    }
    await vi.waitFor(async () => {
      for (const { status } of await connection.getAllDomainStats()) expect(status).toBe("ok");
    }, PATIENCE);
  });

  it("goes on holding the places of calls whose connection was cut, until their guests' monitors are free", async () => {
    await using proxy = await RpcProxy.start(libvirtd.readOnlySocket);
    await using connection = await connect(proxy.uri);
    await connection.getAllDomainStats();
    for (const guest of guests) guest.freeze();
    try {
      await connection.getAllDomainStats({ deadlineMs: 1_000 });
      await eightHang(proxy);
      const before = proxy.calls.length;
      await sleep(1_000);
      proxy.cut();
      const again = await vi.waitFor(() => connection.getAllDomainStats({ deadlineMs: 1_000 }), PATIENCE);
      expect(again.map(({ status }) => status)).toEqual(Array(12).fill("partial"));
      // Calls for a domain that cannot exist prove that the daemon has workers.
      const nobody = Buffer.alloc(16);
      const asked = proxy.calls
        .slice(before)
        .filter(({ procedure, payload }) => procedure === STATS && !payload.subarray(8, 24).equals(nobody));
      expect(asked.length).toBeGreaterThanOrEqual(12);
      for (const { payload } of asked) expect(payload.readUInt32BE(payload.length - 8)).toBe(0x151);
    } finally {
      for (const guest of guests) guest.thaw();
    }
    await vi.waitFor(async () => {
      for (const { status } of await connection.getAllDomainStats()) expect(status).toBe("ok");
    }, PATIENCE);
  });
});
