import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, it, vi } from "vitest";
import { connect } from "../../src/client/connect.ts";
import type { Connection } from "../../src/client/connection.ts";
import "../../src/drivers/builtin.ts";
import { VirstreamError } from "../../src/model/error.ts";
import { FaultLab, faultRequirements } from "../lab/fault-lab.ts";
import { describeWith } from "../lab/requirement.ts";
import { type TimedSweep, timedSweep } from "../lab/timed-sweep.ts";
import { workerPool } from "../lab/workers.ts";
import { PATIENCE } from "../until.ts";

const DEADLINE_MS = 1_000;
/** No sweep may last longer, whatever becomes of the daemon: its deadline, and a busy machine. */
const BOUND_MS = 8_000;
/** How long a connection may take to be itself again, once the daemon is. */
const RECOVERY_MS = 20_000;
/** What every test here may take. */
const TEST_MS = 60_000;
/** How long the daemon is stopped. */
const STOPPED_MS = 8_000;
/** What a person can do something with when the daemon is away. */
const AWAY = ["connection-lost", "connection-refused", "socket-missing", "connect-timeout", "deadline-exceeded"];

/** Sockets and pipes that this process holds. */
function openSockets(): number {
  return process.getActiveResourcesInfo().filter((name) => /^(Pipe|TCPSocket)Wrap$/.test(name)).length;
}

describeWith(faultRequirements, "When libvirtd itself fails in the middle of a sweep", () => {
  let lab: FaultLab;

  beforeAll(async () => {
    lab = await FaultLab.start();
  });
  afterAll(() => lab?.stop());

  async function open(): Promise<Connection> {
    const connection = await connect(lab.libvirtd.uri);
    expect((await timedSweep(connection)).count("ok")).toBe(12);
    return connection;
  }

  /** In bounded time, no domain twice, and for all that is missing an error that says why and that trying again may help. */
  function expectClear(sweep: TimedSweep): void {
    expect(sweep.tookMs).toBeLessThan(BOUND_MS);
    for (const count of sweep.perDomain().values()) expect(count).toBe(1);
    const errors = sweep.arrivals.filter(({ record }) => record.status === "failed").map(({ record }) => record.error);
    if (sweep.error !== undefined) errors.push(sweep.error as VirstreamError);
    else expect(sweep.arrivals).toHaveLength(12);
    for (const error of errors) {
      expect(error).toBeInstanceOf(VirstreamError);
      expect(AWAY).toContain(error!.code);
      expect(error!.retryable).toBe(true);
      expect(error!.message).not.toBe("");
    }
  }

  async function expectRecovery(connection: Connection): Promise<void> {
    await vi.waitFor(
      async () => {
        const sweep = await timedSweep(connection, { deadlineMs: DEADLINE_MS });
        expect([sweep.error, sweep.count("ok")]).toEqual([undefined, 12]);
      },
      { timeout: RECOVERY_MS, interval: 250 },
    );
    expect((await workerPool(lab.libvirtd)).busy).toBe(0);
    // Were slots lost, seven frozen guests would leave nothing for the others.
    lab.freeze(7);
    const sweep = await timedSweep(connection, { deadlineMs: 3_000 });
    await lab.calm();
    expect([sweep.count("ok"), sweep.count("partial")]).toEqual([5, 7]);
  }

  it("killed: every domain of the sweep has its one record or the sweep says why not, and so do those that follow", {
    timeout: TEST_MS,
  }, async () => {
    const sockets = openSockets();
    await using connection = await open();
    const held = openSockets();
    lab.freeze(1);
    let killed: Promise<void> | undefined;
    const sweep = await timedSweep(connection, { deadlineMs: 10_000 }, () => {
      killed ??= lab.libvirtd.kill("SIGKILL");
    });
    await killed;
    expectClear(sweep);
    expect(sweep.perDomain()).toEqual(new Map(lab.guests.map(({ uuid }) => [uuid, 1])));
    for (let i = 0; i < 5; i++) {
      expectClear(await timedSweep(connection, { deadlineMs: DEADLINE_MS }));
      await sleep(100);
    }
    lab.guests[0]!.thaw();
    await lab.libvirtd.restart();
    await expectRecovery(connection);
    expect(openSockets()).toBeLessThanOrEqual(held + 2);
    await connection.close();
    await vi.waitFor(() => expect(openSockets()).toBeLessThanOrEqual(sockets), PATIENCE);
  });

  it("restarted five times beneath continuous sweeps: each ends clearly, and at the end all is as before", {
    timeout: TEST_MS,
  }, async () => {
    await using connection = await open();
    const held = openSockets();
    let over = false;
    const restarts = (async () => {
      for (let i = 0; i < 5; i++) {
        await sleep(200 + i * 70);
        await lab.libvirtd.restart();
      }
      over = true;
    })();
    while (!over) {
      expectClear(await timedSweep(connection, { deadlineMs: DEADLINE_MS }));
      await sleep(20);
    }
    await restarts;
    await expectRecovery(connection);
    expect(openSockets()).toBeLessThanOrEqual(held + 2);
  });

  it("stopped for some time: every sweep ends in time, and afterwards all is as before", {
    timeout: 120_000,
  }, async () => {
    await using connection = await open();
    const held = openSockets();
    let stopped: Promise<void> | undefined;
    const sweep = await timedSweep(connection, { deadlineMs: DEADLINE_MS }, () => {
      stopped ??= lab.libvirtd.kill("SIGSTOP");
    });
    try {
      await stopped;
      const began = performance.now();
      expectClear(sweep);
      while (performance.now() - began < STOPPED_MS) {
        expectClear(await timedSweep(connection, { deadlineMs: DEADLINE_MS }));
        await sleep(200);
      }
      const opening = performance.now();
      await expect(connect(lab.libvirtd.uri, { connectTimeoutMs: 500 })).rejects.toMatchObject({
        code: "connect-timeout",
      });
      expect(performance.now() - opening).toBeLessThan(BOUND_MS);
    } finally {
      await lab.libvirtd.kill("SIGCONT");
    }
    await expectRecovery(connection);
    expect(openSockets()).toBeLessThanOrEqual(held + 2);
  });
});
