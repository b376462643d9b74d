import { afterAll, beforeAll, expect, it, vi } from "vitest";
import "../../../src/drivers/builtin.ts";
import { connect } from "../../../src/client/connect.ts";
import type { Connection } from "../../../src/client/connection.ts";
import type { DomainStatsRecord } from "../../../src/model/record.ts";
import { type OtlpPush, pushOtlp } from "../../../src/outlets/otlp/push.ts";
import { createGuest, type Guest } from "../../lab/guest.ts";
import { type Libvirtd, startLibvirtd } from "../../lab/libvirtd.ts";
import { describeWith, labRequirements } from "../../lab/requirement.ts";
import { PATIENCE } from "../../until.ts";
import { OtlpReceiver, type ReceivedPoint } from "./receiver.ts";

const INTERVAL_MS = 250;
const QUERY = { deadlineMs: 500 };

describeWith(labRequirements, "OTLP of QEMU guests", () => {
  let libvirtd: Libvirtd;
  let guests: Guest[];
  let receiver: OtlpReceiver;
  let connection: Connection;
  let push: OtlpPush;
  const records: DomainStatsRecord[] = [];
  beforeAll(async () => {
    libvirtd = await startLibvirtd();
    guests = [
      await createGuest(libvirtd, { name: "restarted", nics: 1, disks: 2 }),
      await createGuest(libvirtd, { name: "leaving", transient: true }),
      await createGuest(libvirtd, { name: "frozen" }),
    ];
    receiver = await OtlpReceiver.start();
    connection = await connect(libvirtd.uri);
    connection.watch(QUERY, { intervalMs: INTERVAL_MS }).subscribe((record) => records.push(record));
    push = await pushOtlp(connection, { url: receiver.url, query: QUERY, intervalMs: INTERVAL_MS });
    await vi.waitFor(() => expect(receiver.accepted).toBeGreaterThan(2), PATIENCE);
  });
  afterAll(async () => {
    await push?.close();
    await connection?.close();
    await receiver?.close();
    await libvirtd?.stop();
  });

  const newest = (name: string, metric: string): ReceivedPoint | undefined =>
    receiver.of(name).findLast((point) => point.metric === `libvirt.domain.${metric}`);

  it("has every number of each record, with the record's time", () => {
    let compared = 0;
    for (const record of records) {
      const time = BigInt(Math.round(record.sampledAt * 1_000)) * 1_000n;
      const points = receiver.of(record.domain.name).filter((point) => point.time === time && !point.isMissing);
      if (points.length === 0) continue;
      compared++;
      const numbers = [...record.params.list()].filter(({ type }) => type !== "string");
      const sorted = (values: readonly unknown[]) => values.map(String).sort();
      const sent = numbers.map(({ value, type }) => (type === "double" ? value : BigInt(value as number)));
      expect(sorted(points.map(({ value }) => value))).toEqual(sorted(sent));
      const rx = points.find(
        ({ metric, attributes }) =>
          metric === "libvirt.domain.network.io" && attributes["network.io.direction"] === "receive",
      );
      expect(rx?.value).toBe(record.params.get("net.0.rx.bytes"));
    }
    expect(compared).toBeGreaterThanOrEqual(6);
  });

  it("moves the start of a guest's counters when it is restarted, past the last sample before", async () => {
    const [guest] = guests;
    const before = newest("restarted", "cpu.time")!;
    expect(before.start).toBeLessThan(before.time);
    await guest!.destroy();
    await guest!.start();
    await vi.waitFor(() => expect(newest("restarted", "cpu.time")!.start).toBeGreaterThan(before.time), PATIENCE);
    const after = newest("restarted", "cpu.time")!;
    expect(after.value as bigint).toBeGreaterThan(0n);
    // The first record after the restart may lack the disks.
    await vi.waitFor(() => expect(newest("restarted", "disk.io")!.start).toBeGreaterThan(before.time), PATIENCE);
    expect(newest("frozen", "cpu.time")!.start).toBeLessThan(before.time);
  });

  it("says once that a guest has no values when it is gone", async () => {
    await guests[1]!.destroy();
    const series = new Set(
      receiver.of("leaving").map(({ metric, attributes }) => JSON.stringify([metric, attributes])),
    );
    const missing = () => receiver.of("leaving").filter(({ isMissing }) => isMissing);
    await vi.waitFor(() => expect(missing().length).toBeGreaterThan(0), PATIENCE);
    const { accepted } = receiver;
    await vi.waitFor(() => expect(receiver.accepted).toBeGreaterThan(accepted + 2), PATIENCE);
    expect(missing().length).toBe(series.size);
    expect(newest("leaving", "cpu.time")).toMatchObject({ isMissing: true, value: undefined });
  });

  it("says that a guest that hangs has no values of its own, and has them again afterwards", async () => {
    const [, , guest] = guests;
    const { start } = newest("frozen", "disk.io")!;
    guest!.freeze();
    try {
      await vi.waitFor(() => expect(newest("frozen", "disk.io")!.isMissing).toBe(true), PATIENCE);
      expect(newest("frozen", "state")!.value).toBe(1n);
    } finally {
      guest!.thaw();
    }
    await vi.waitFor(() => expect(newest("frozen", "disk.io")).toMatchObject({ isMissing: false, start }), PATIENCE);
  });
});
