import { ProtobufMetricsSerializer } from "@opentelemetry/otlp-transformer";
import { resourceFromAttributes } from "@opentelemetry/resources";
import { DataPointType } from "@opentelemetry/sdk-metrics";
import { describe, expect, it, vi } from "vitest";
import "../../../src/drivers/builtin.ts";
import { connect } from "../../../src/client/connect.ts";
import type { Connection } from "../../../src/client/connection.ts";
import { fieldOf } from "../../../src/model/field/field.ts";
import type { DomainStatsRecord } from "../../../src/model/record.ts";
import { metricName } from "../../../src/outlets/otlp/metric-name.ts";
import { type OtlpOptions, pushOtlp } from "../../../src/outlets/otlp/push.ts";
import { own } from "../../owned.ts";
import { PATIENCE } from "../../until.ts";
import { decoded, keyValues, OtlpReceiver, type ReceivedPoint } from "./receiver.ts";

/** A metric as it was decoded. */
interface Received {
  readonly name: string;
  readonly unit?: string;
  readonly sum?: Data;
  readonly gauge?: Data;
}
/** Data points as JSON has them. */
type Data = { readonly dataPoints: readonly ReturnType<typeof JSON.parse>[] };
const isDouble = ({ dataPoints: [first] }: Data) => first.asDouble !== undefined;

/** Nanoseconds as the SDK has them: seconds, and the rest. */
function hrTime(nanoseconds: string): [number, number] {
  return [Number(BigInt(nanoseconds) / 1_000_000_000n), Number(BigInt(nanoseconds) % 1_000_000_000n)];
}

/** Pushes what a host has, and collects the same records beside that. */
async function pushed(uri: string, options: OtlpOptions = {}) {
  const receiver = own(await OtlpReceiver.start());
  const connection: Connection = own(await connect(uri));
  const records: DomainStatsRecord[] = [];
  // The same query and interval share their sweeps, so both get the same records.
  const watch = connection.watch({}, { intervalMs: 200 }).subscribe((record) => records.push(record));
  own({ close: async () => watch.unsubscribe() });
  const push = own(await pushOtlp(connection, { url: receiver.url, intervalMs: 200, ...options }));
  return { receiver, connection, records, push };
}

const at = ({ sampledAt }: DomainStatsRecord) => BigInt(Math.round(sampledAt * 1_000)) * 1_000n;
const pointsOf = (points: readonly ReceivedPoint[], record: DomainStatsRecord) =>
  points.filter(({ resource, time }) => resource["libvirt.domain.uuid"] === record.domain.uuid && time === at(record));

describe("OTLP", () => {
  it("gives a collector exactly the values of each record: every number, exact to 64 bits, and none besides", async () => {
    const { receiver, records } = await pushed("test:///default?domains=8&extras=1&shutoff=2&extremes=1-2");
    await vi.waitFor(() => expect(receiver.accepted).toBeGreaterThan(2), PATIENCE);
    let compared = 0;
    for (const record of records) {
      const points = pointsOf(receiver.points, record).filter(({ isMissing }) => !isMissing);
      if (points.length === 0) continue;
      compared++;
      const numbers = [...record.params.list()].filter(({ type }) => type !== "string");
      expect(points.length).toBe(numbers.length);
      for (const { key, type, value } of numbers) {
        const { name, unit, attributes } = metricName(key);
        const found = points.filter(
          (point) =>
            point.metric === name && attributes.every(([attribute, part]) => point.attributes[attribute] === part),
        );
        const device = /^(block|net)\.\d+/.exec(key)?.[0];
        const deviceName = device && record.params.getUnknown(`${device}.name`);
        const own = found.filter(
          ({ attributes: all }) => device === undefined || Object.values(all).includes(deviceName as string),
        );
        expect(own.length, key).toBe(1);
        const point = own[0]!;
        const isTooLarge = typeof value === "bigint" && value >= 2n ** 63n;
        expect(point.value, key).toEqual(type === "double" || isTooLarge ? Number(value) : BigInt(value as number));
        expect(point.unit).toBe(unit);
        expect(point.kind, key).toBe(fieldOf(key)?.kind === "counter" ? "sum" : "gauge");
        expect(point.isCounter).toBe(point.kind === "sum");
        expect(point.start <= point.time).toBe(true);
      }
    }
    expect(compared).toBeGreaterThanOrEqual(16);
    const { resource, scope } = receiver.points[0]!;
    expect(scope).toBe("libvirt.domain");
    expect(resource).toMatchObject({ "host.name": "simulated", "service.name": "virstream" });
    const instance = `${resource["host.name"]}/${resource["libvirt.domain.uuid"]}`;
    expect(resource["service.instance.id"]).toBe(instance);
  });

  it("writes the same messages as the official serializer, of the values that both can write", async () => {
    const { receiver } = await pushed("test:///default?domains=1&extras=1");
    await vi.waitFor(() => expect(receiver.accepted).toBeGreaterThan(1), PATIENCE);
    const time = ({ startTimeUnixNano = "0", timeUnixNano }: Record<string, string>) => ({
      startTime: hrTime(startTimeUnixNano),
      endTime: hrTime(timeUnixNano!),
    });
    const [own] = decoded(receiver.bodies[1]!).resourceMetrics;
    const { scope, metrics } = own.scopeMetrics[0];
    const official = ProtobufMetricsSerializer.serializeRequest({
      resource: resourceFromAttributes(keyValues(own.resource.attributes)),
      scopeMetrics: [
        {
          scope,
          metrics: metrics.map(({ name, unit = "", sum, gauge }: Received) => ({
            descriptor: { name, unit, description: "", valueType: isDouble(sum ?? gauge!) ? 1 : 0 },
            ...(sum === undefined
              ? { dataPointType: DataPointType.GAUGE }
              : { dataPointType: DataPointType.SUM, isMonotonic: true, aggregationTemporality: 1 }),
            dataPoints: (sum ?? gauge!).dataPoints.map((point) => ({
              ...time(point),
              value: point.asDouble ?? Number(point.asInt),
              attributes: keyValues(point.attributes ?? []),
            })),
          })),
        },
      ],
    })!;
    // The official serializer writes two defaults: the start of a gauge, 0, and that no attribute was dropped.
    const [expected] = decoded(official, { longs: String, defaults: true }).resourceMetrics;
    const [actual] = decoded(receiver.bodies[1]!, { longs: String, defaults: true }).resourceMetrics;
    expect(metrics.length).toBeGreaterThan(30);
    expect(actual).toEqual(expected);
  });

  it.each([
    ["state.state", "state", "", {}],
    ["cpu.time", "cpu.time", "ns", {}],
    ["balloon.rss", "memory.rss", "KiBy", {}],
    ["vcpu.3.time", "vcpu.time", "ns", { "vcpu.number": 3 }],
    ["vcpu.3.halt_poll_success_ns.sum", "vcpu.halt_poll_success_ns.sum", "", { "vcpu.number": 3 }],
    ["block.0.rd.bytes", "disk.io", "By", { "disk.io.direction": "read" }],
    ["block.0.wr.reqs", "disk.operations", "1", { "disk.io.direction": "write" }],
    ["block.0.fl.times", "disk.flush_time", "ns", {}],
    ["block.2.capacity", "disk.capacity", "By", {}],
    ["net.1.tx.drop", "network.dropped", "{packet}", { "network.io.direction": "transmit" }],
    ["iothread.2.poll-max-ns", "iothread.poll-max-ns", "ns", { "iothread.number": 2 }],
    [
      "memory.bandwidth.monitor.0.node.1.bytes.local",
      "memory.bandwidth.monitor.node.bytes.local",
      "By",
      { "monitor.number": 0, "node.number": 1 },
    ],
    ["a.key.of.the.future", "a.key.of.the.future", "", {}],
  ])("names the metric of %s after it", (key, name, unit, attributes) => {
    const metric = metricName(key);
    expect(metric).toMatchObject({ name: `libvirt.domain.${name}`, unit });
    expect(Object.fromEntries(metric.attributes)).toEqual(attributes);
  });
});
