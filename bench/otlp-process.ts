import { monitorEventLoopDelay } from "node:perf_hooks";
import type { Attributes, Observable } from "@opentelemetry/api";
import { OTLPMetricExporter } from "@opentelemetry/exporter-metrics-otlp-proto";
import { ProtobufMetricsSerializer } from "@opentelemetry/otlp-transformer";
import { resourceFromAttributes } from "@opentelemetry/resources";
import { MeterProvider, MetricReader } from "@opentelemetry/sdk-metrics";
import type { Connection } from "../src/client/connection.ts";
import { type Domain, DomainStatsRecord } from "../src/model/record.ts";
import { ParamType } from "../src/model/schema.ts";
import type { SyncEvent, WatchEvent } from "../src/model/watch.ts";
import { loadExporter } from "../src/outlets/otlp/exporter.ts";
import { metricName } from "../src/outlets/otlp/metric-name.ts";
import { OtlpPush } from "../src/outlets/otlp/push.ts";
import { answerCalls, cpuMicros } from "./calls.ts";
import { simulatedHost } from "./records.ts";

export type Pusher = "virstream" | "sdk";

/**
 * The figures of one run. They are those of the push with the median time; but the delay and the memory are the maximum
 * of all pushes.
 */
export interface OtlpRun {
  readonly ms: number;
  readonly cpuMs: number;
  readonly delayMs: number;
  readonly bytes: number;
  readonly rss: number;
}

const DOMAINS = 10_000;
const WARM_UP = 1;
const PUSHES = 3;
const START_MS = 1_790_000_000_000;
const SYNC: SyncEvent = {
  ...{ type: "sync", tick: 1, host: "simulated", overrun: 0 },
  summary: { domains: DOMAINS, ok: DOMAINS, partial: 0, failed: 0, gone: 0, startedAt: START_MS, tookMs: 0 },
};

/** Sends the records of one sweep. Resolves with the number of bytes when the collector has them. */
type Send = (records: readonly DomainStatsRecord[]) => Promise<number>;

const calls = {
  async measure({ pusher, url }: { readonly pusher: Pusher; readonly url: string }): Promise<OtlpRun> {
    const { host, groups } = simulatedHost(DOMAINS);
    const domains = Array.from({ length: DOMAINS }, (_, index) => host.domain(index));
    const send = await PUSHERS[pusher](url);
    const runs: { ms: number; cpuMs: number; bytes: number }[] = [];
    const delay = monitorEventLoopDelay({ resolution: 1 });
    let rss = 0;
    for (let i = 0; i < WARM_UP + PUSHES; i++) {
      const now = START_MS + i * 10_000;
      const records = domains.map((domain, index) => recordOf(domain, index, now, host.sample(index, groups, now)));
      // The records are made before the push, and block the event loop for that time. This delay must not count as the
      // push's.
      await new Promise((resolve) => setTimeout(resolve, 50));
      if (i === WARM_UP) delay.enable();
      if (i >= WARM_UP) delay.reset();
      const [began, cpu] = [performance.now(), cpuMicros()];
      const bytes = await send(records);
      const ms = performance.now() - began;
      if (i >= WARM_UP) {
        await new Promise((resolve) => setTimeout(resolve, 5));
        longest = Math.max(longest, delay.max / 1e6);
        runs.push({ ms, cpuMs: (cpuMicros() - cpu) / 1_000, bytes });
      }
      rss = Math.max(rss, process.memoryUsage.rss());
    }
    const [median] = runs.sort((one, other) => one.ms - other.ms).slice(PUSHES >> 1);
    return { ...median!, delayMs: longest, rss };
  },
};
export type OtlpCalls = typeof calls;
let longest = 0;

function recordOf(domain: Domain, index: number, now: number, params: DomainStatsRecord["params"]): DomainStatsRecord {
  return new DomainStatsRecord({ domain, params, status: "ok", sampledAt: now, steadyAt: now, tookMs: 0, index });
}

const PUSHERS: Record<Pusher, (url: string) => Promise<Send>> = {
  async virstream(url) {
    let next: (events: readonly WatchEvent[]) => void = () => {};
    async function* chunks(): AsyncGenerator<readonly WatchEvent[]> {
      for (;;)
        yield await new Promise<readonly WatchEvent[]>((resolve) => {
          next = resolve;
        });
    }
    const connection = { watch: () => ({ events: { chunks } }) } as unknown as Connection;
    const push = new OtlpPush(connection, {}, await loadExporter({ url, headers: undefined }));
    return async (records) => {
      const before = push.figures;
      next([...records.map((record) => ({ type: "record", record }) as const), SYNC]);
      while (push.figures.records < before.records + DOMAINS) await new Promise((resolve) => setTimeout(resolve, 1));
      return push.figures.bytes - before.bytes;
    };
  },
  async sdk(url) {
    class Reader extends MetricReader {
      protected override async onForceFlush(): Promise<void> {}
      protected override async onShutdown(): Promise<void> {}
    }
    const reader = new Reader({ cardinalitySelector: () => 10_000_000 });
    const resource = resourceFromAttributes({ "service.name": "bench", "host.name": "simulated" });
    const meter = new MeterProvider({ readers: [reader], resource }).getMeter("libvirt.domain");
    const exporter = new OTLPMetricExporter({ url: `${url}/v1/metrics`, timeoutMillis: 60_000 });
    const instruments = new Map<string, Observable>();
    let current: readonly DomainStatsRecord[] = [];
    /** The attributes of each series are made once, as a program with many series would do. */
    const known = new Map<string, { instrument: Observable; attributes: Attributes; position: number }[]>();
    const seriesOf = ({ domain, params }: DomainStatsRecord) => {
      let series = known.get(domain.uuid);
      if (series !== undefined) return series;
      series = [];
      for (const [position, key] of params.schema.keys.entries()) {
        if (params.schema.types[position] === ParamType.string) continue;
        const { name, unit, isSum, attributes, device } = metricName(key);
        let instrument = instruments.get(name);
        if (instrument === undefined) {
          instrument = isSum
            ? meter.createObservableCounter(name, { unit })
            : meter.createObservableGauge(name, { unit });
          instruments.set(name, instrument);
        }
        const own = device && { device: params.getUnknown(`${device.kind}.${device.number}.name`) as string };
        const identity = { "libvirt.domain.uuid": domain.uuid, "libvirt.domain.name": domain.name };
        series.push({ instrument, attributes: { ...identity, ...Object.fromEntries(attributes), ...own }, position });
      }
      known.set(domain.uuid, series);
      return series;
    };
    let isRegistered = false;
    return async (records) => {
      current = records;
      if (!isRegistered) {
        isRegistered = true;
        for (const record of records) seriesOf(record);
        meter.addBatchObservableCallback(
          (result) => {
            for (const record of current) {
              for (const { instrument, attributes, position } of seriesOf(record)) {
                result.observe(instrument, record.params.doubles[position]!, attributes);
              }
            }
          },
          [...instruments.values()],
        );
      }
      const { resourceMetrics, errors } = await reader.collect();
      if (errors.length > 0) throw errors[0];
      await new Promise<void>((resolve, reject) => {
        exporter.export(resourceMetrics, ({ code, error }) => (code === 0 ? resolve() : reject(error)));
      });
      sdkBytes ??= ProtobufMetricsSerializer.serializeRequest(resourceMetrics)!.length;
      return sdkBytes;
    };
  },
};
/** The size of a push of the SDK, found once, in a push that is not measured. */
let sdkBytes: number | undefined;

answerCalls(calls);
