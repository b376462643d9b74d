import { describe, expect, it, vi } from "vitest";
import "../../../src/drivers/builtin.ts";
import { Connection } from "../../../src/client/connection.ts";
import { VirstreamError } from "../../../src/model/error.ts";
import { TypedParams } from "../../../src/model/params.ts";
import { Domain, DomainStatsRecord, type RecordInit } from "../../../src/model/record.ts";
import { loadExporter } from "../../../src/outlets/otlp/exporter.ts";
import { type OtlpOptions, OtlpPush, pushOtlp } from "../../../src/outlets/otlp/push.ts";
import { ManualClock } from "../../drivers/simulated/manual-clock.ts";
import { own } from "../../owned.ts";
import { uuidOf } from "../../sampling/sample.ts";
import { ScriptedDriver } from "../../server/scripted-driver.ts";
import { PATIENCE, until } from "../../until.ts";
import { type Answer, OtlpReceiver } from "./receiver.ts";

const INTERVAL_MS = 20;

/** A record of guest N, with these values beside its name. */
function record(
  index: number,
  values: readonly (readonly [string, bigint])[],
  init: Partial<RecordInit> & { id?: number; name?: string } = {},
) {
  const { id = index + 1, name = `guest-${index}`, ...rest } = init;
  return new DomainStatsRecord({
    domain: new Domain(uuidOf(index), name, id, "hv1"),
    params: TypedParams.from(values.map(([key, value]) => [key, "ullong", value] as const)),
    status: "ok",
    sampledAt: Date.now(),
    tookMs: 0,
    index,
    ...rest,
  });
}

const failed = (index: number) =>
  record(index, [], {
    status: "failed",
    error: new VirstreamError("deadline-exceeded", "too late"),
    reason: "timeout",
  });

/** A host whose sweeps are what `sweep` returns, each time for its number, from 0. */
function hostOf(sweep: (number: number) => readonly DomainStatsRecord[] | Promise<readonly DomainStatsRecord[]>) {
  let number = 0;
  const driver = new ScriptedDriver(async function* () {
    yield await sweep(number++);
  });
  return { driver, connection: own(new Connection(driver)) };
}

/** A host with these sweeps, and then the last one again. Each waits until the collector has got the one before. */
function hostInStep(receiver: OtlpReceiver, sweeps: readonly (readonly DomainStatsRecord[])[]) {
  return hostOf(async (number) => {
    await until(() => receiver.accepted >= number);
    return sweeps[Math.min(number, sweeps.length - 1)]!;
  });
}

async function push(connection: Connection, receiver: { readonly url: string }, options: OtlpOptions = {}) {
  const errors: (string | undefined)[] = [];
  const pushing = await pushOtlp(connection, {
    url: receiver.url,
    intervalMs: INTERVAL_MS,
    onChange: (error) => errors.push(error?.code),
    ...options,
  });
  return { pushing: own(pushing), errors };
}

const receiverWith = async (answer: (body: Buffer) => Answer = () => ({}), port = 0) => {
  const receiver = own(await OtlpReceiver.start(port));
  receiver.answer = answer;
  return receiver;
};

describe("the start of an OTLP sum", () => {
  /** What the collector gets of one counter of guest 0, as value, and whether its start is that of an earlier point. */
  async function sequence(sweeps: readonly (readonly DomainStatsRecord[])[], metric = "libvirt.domain.cpu.time") {
    const receiver = await receiverWith();
    const { connection } = hostInStep(receiver, sweeps);
    await push(connection, receiver);
    await vi.waitFor(() => expect(receiver.accepted).toBeGreaterThanOrEqual(sweeps.length), PATIENCE);
    const at = (time: bigint) => sweeps.findIndex(([first]) => BigInt(first!.sampledAt) * 1_000_000n === time);
    const points = receiver.of("guest-0").filter((point) => point.metric === metric);
    return points
      .slice(0, sweeps.length)
      .map(({ value, isMissing, start, time }) => (isMissing ? [at(time), "none"] : [at(time), value, at(start)]));
  }
  const cpu = (value: bigint, second: number, init: Partial<RecordInit> & { id?: number } = {}) => [
    record(0, [["cpu.time", value]], { sampledAt: 1_800_000_000_000 + 1_000 * second, ...init }),
  ];

  it("is the time of the first sample, as libvirt names no start, and stays so", async () => {
    expect(await sequence([cpu(5n, 0), cpu(7n, 1), cpu(7n, 2)])).toEqual([
      [0, 5n, 0],
      [1, 7n, 0],
      [2, 7n, 0],
    ]);
  });

  it("moves to the sample before when a counter goes down, exactly beyond 2^53", async () => {
    const big = 2n ** 62n + 1n;
    expect(await sequence([cpu(big, 0), cpu(big - 1n, 1), cpu(big, 2)])).toEqual([
      [0, big, 0],
      [1, big - 1n, 0],
      [2, big, 0],
    ]);
    expect(await sequence([cpu(8n, 0), cpu(9n, 1), cpu(3n, 2), cpu(4n, 3)])).toEqual([
      [0, 8n, 0],
      [1, 9n, 0],
      [2, 3n, 1],
      [3, 4n, 1],
    ]);
  });

  it("moves when the domain has another id, although the counter is higher", async () => {
    expect(await sequence([cpu(5n, 0), cpu(6n, 1), cpu(9n, 2, { id: 33 })])).toEqual([
      [0, 5n, 0],
      [1, 6n, 0],
      [2, 9n, 1],
    ]);
  });

  it("moves for the one disk that was reset, stays for the others while numbers shift, and through a record that lacks them", async () => {
    const disks = (second: number, all: Record<string, bigint>, init: Partial<RecordInit> = {}) => {
      const list = Object.entries(all).flatMap(([name, value], i) => [
        [`block.${i}.name`, "string", name] as const,
        [`block.${i}.rd.reqs`, "ullong", value] as const,
      ]);
      return [
        record(0, [], { params: TypedParams.from(list), sampledAt: 1_800_000_000_000 + 1_000 * second, ...init }),
      ];
    };
    const partial = { status: "partial", reason: "timeout", missing: ["block"] } as const;
    const sweeps = [
      disks(0, { vda: 5n, vdb: 5n }),
      disks(1, { vda: 6n, vdb: 6n }),
      disks(2, { vdb: 7n }),
      disks(3, {}, partial),
      disks(4, { vdb: 8n }),
      disks(5, { vda: 2n, vdb: 1n }),
    ];
    const receiver = await receiverWith();
    const { connection } = hostInStep(receiver, sweeps);
    await push(connection, receiver);
    await vi.waitFor(() => expect(receiver.accepted).toBeGreaterThanOrEqual(sweeps.length), PATIENCE);
    const second = (time: bigint) => Number(time / 1_000_000_000n - 1_800_000_000n);
    const seen = receiver.points
      .map(({ attributes, value, isMissing, start, time }) => {
        const shown = isMissing ? "none" : `${value} since ${second(start)}`;
        return `${second(time)}: ${attributes["disk.device"]} ${shown}`;
      })
      .slice(0, 10);
    expect(seen).toEqual([
      "0: vda 5 since 0",
      "0: vdb 5 since 0",
      "1: vda 6 since 0",
      "1: vdb 6 since 0",
      "2: vdb 7 since 0",
      "2: vda none",
      "3: vdb none",
      "4: vdb 8 since 0",
      "5: vda 2 since 5",
      "5: vdb 1 since 4",
    ]);
  });
});

describe("series that end in OTLP", () => {
  const cpu = (index: number) => record(index, [["cpu.time", 5n]]);
  const shown = (receiver: OtlpReceiver, name: string) =>
    receiver
      .of(name)
      .map(({ metric, isMissing, value }) => [metric.replace("libvirt.domain.", ""), isMissing ? "none" : value]);

  it("get no recorded value once, when their domain goes, fails, or lacks them, and values again when it has some", async () => {
    const memory = (index: number) =>
      record(index, [
        ["cpu.time", 6n],
        ["balloon.rss", 7n],
      ]);
    const receiver = await receiverWith();
    const { connection } = hostInStep(receiver, [
      [cpu(0), cpu(1), memory(2)],
      [cpu(0), failed(1), cpu(2)],
      [failed(1), cpu(2), failed(3)],
      [cpu(0), cpu(1), memory(2), failed(3)],
    ]);
    await push(connection, receiver);
    await vi.waitFor(() => expect(receiver.accepted).toBeGreaterThanOrEqual(4), PATIENCE);
    expect(shown(receiver, "guest-0").slice(0, 4)).toEqual([
      ["cpu.time", 5n],
      ["cpu.time", 5n],
      ["cpu.time", "none"],
      ["cpu.time", 5n],
    ]);
    expect(shown(receiver, "guest-1").slice(0, 3)).toEqual([
      ["cpu.time", 5n],
      ["cpu.time", "none"],
      ["cpu.time", 5n],
    ]);
    expect(shown(receiver, "guest-2").slice(0, 6)).toEqual([
      ["cpu.time", 6n],
      ["memory.rss", 7n],
      ["cpu.time", 5n],
      ["memory.rss", "none"],
      ["cpu.time", 5n],
      ["cpu.time", 6n],
    ]);
    expect(receiver.of("guest-3")).toEqual([]);
  });

  it("end under the old name when a domain is renamed", async () => {
    const receiver = await receiverWith();
    const { connection } = hostInStep(receiver, [[cpu(0)], [record(0, [["cpu.time", 6n]], { name: "new" })]]);
    await push(connection, receiver);
    await vi.waitFor(() => expect(receiver.accepted).toBeGreaterThanOrEqual(2), PATIENCE);
    expect(shown(receiver, "guest-0")).toEqual([
      ["cpu.time", 5n],
      ["cpu.time", "none"],
    ]);
    expect(shown(receiver, "new")[0]).toEqual(["cpu.time", 6n]);
  });

  it("end also when the collector was away while the domain went", async () => {
    let status = 200;
    const receiver = await receiverWith(() => ({ status }));
    let there = true;
    const { connection } = hostOf(() => (there ? [cpu(0), cpu(1)] : [cpu(1)]));
    const { pushing } = await push(connection, receiver);
    await vi.waitFor(() => expect(receiver.accepted).toBeGreaterThan(0), PATIENCE);
    status = 400;
    there = false;
    const before = pushing.figures.failures;
    await vi.waitFor(() => expect(pushing.figures.failures).toBeGreaterThan(before + 2), PATIENCE);
    status = 200;
    await vi.waitFor(() => expect(shown(receiver, "guest-0").at(-1)).toEqual(["cpu.time", "none"]), PATIENCE);
  });
});

describe("a collector that does not take OTLP", () => {
  const guests = Array.from({ length: 40 }, (_, i) => i);
  const sweep = () =>
    guests.map((index) =>
      record(index, [
        ["cpu.time", 5n],
        ["balloon.rss", BigInt(Date.now())],
      ]),
    );
  /** A host, and how many sweeps of it have begun. */
  const host = () => {
    const made = hostOf(sweep);
    return { ...made, sweeps: () => made.driver.queries.length };
  };

  it("delays no sweep when it does not answer: one request is under way, and the newest records follow it", async () => {
    let release = (): void => {};
    const after = new Promise<void>((resolve) => {
      release = resolve;
    });
    const receiver = await receiverWith(() => (receiver.bodies.length === 1 ? { after } : {}));
    const { connection, sweeps } = host();
    const { pushing } = await push(connection, receiver);
    await vi.waitFor(() => expect(receiver.bodies.length).toBe(1), PATIENCE);
    const begun = sweeps();
    await vi.waitFor(() => expect(sweeps()).toBeGreaterThan(begun + 10), PATIENCE);
    expect(receiver.bodies.length).toBe(1);
    const released = BigInt(Date.now() - 10 * INTERVAL_MS) * 1_000_000n;
    release();
    await vi.waitFor(() => expect(receiver.accepted).toBeGreaterThan(1), PATIENCE);
    const second = receiver.points.slice(2 * guests.length, 4 * guests.length);
    expect(second.every(({ time }) => time > released)).toBe(true);
    expect(receiver.mostOpen).toBe(1);
    // All records of at least eight sweeps were replaced by newer ones.
    expect(pushing.figures.dropped).toBeGreaterThanOrEqual(8 * guests.length);
  });

  it.each([
    [400, "protocol-error"],
    [401, "unauthenticated"],
    [403, "denied"],
    [404, "protocol-error"],
  ])(
    "and answers HTTP %i costs each sweep one request, is reported once, and gets the records once it takes them",
    async (status, code) => {
      let answer: Answer = { status };
      const receiver = await receiverWith(() => answer);
      const { connection } = host();
      const { pushing, errors } = await push(connection, receiver);
      await vi.waitFor(() => expect(pushing.figures.failures).toBeGreaterThan(3), PATIENCE);
      expect(errors).toEqual([code]);
      expect(pushing.error?.message).toContain(`HTTP ${status}`);
      expect(pushing.figures).toMatchObject({ requests: 0, records: 0, points: 0 });
      expect(pushing.figures.dropped).toBeGreaterThanOrEqual(3 * guests.length);
      answer = {};
      await vi.waitFor(() => expect(receiver.accepted).toBeGreaterThan(0), PATIENCE);
      await vi.waitFor(() => expect(errors).toEqual([code, undefined]), PATIENCE);
      expect(pushing.error).toBeUndefined();
    },
  );

  it("because a request is too large gets smaller ones, with every domain", async () => {
    const receiver = await receiverWith((body) => (body.length > 40_000 ? { status: 413 } : {}));
    const many = Array.from({ length: 800 }, (_, i) => record(i, [["cpu.time", 5n]]));
    const { connection } = hostOf(() => many);
    await push(connection, receiver);
    await vi.waitFor(() => {
      const uuids = new Set(receiver.points.map(({ resource }) => resource["libvirt.domain.uuid"]));
      expect(uuids.size).toBe(many.length);
    }, PATIENCE);
    const refused = receiver.bodies.filter(({ length }) => length > 40_000).length;
    expect(refused).toBeLessThan(10);
  });

  it("and answers 429 gets the same request again after the time that Retry-After names", async () => {
    const receiver = await receiverWith(() =>
      receiver.bodies.length === 1 ? { status: 429, headers: { "Retry-After": "1" } } : {},
    );
    const { connection } = host();
    const { pushing, errors } = await push(connection, receiver);
    await vi.waitFor(() => expect(receiver.accepted).toBeGreaterThan(0), PATIENCE);
    expect(receiver.bodies[1]).toEqual(receiver.bodies[0]);
    expect([pushing.figures.failures, errors]).toEqual([0, []]);
  });

  it("and answers 429 with a longer Retry-After than a request may take is left alone for 5 s, then 10 s", async () => {
    const receiver = await receiverWith(() => ({ status: 429, headers: { "Retry-After": "3600" } }));
    const { connection, sweeps } = host();
    const clock = new ManualClock();
    const errors: (string | undefined)[] = [];
    const options = { intervalMs: INTERVAL_MS, onChange: (error?: VirstreamError) => errors.push(error?.code) };
    const exporter = await loadExporter({ url: receiver.url, headers: undefined });
    const pushing = own(new OtlpPush(connection, options, exporter, clock));
    for (const [requests, pauseMs] of [
      [1, 5_000],
      [2, 10_000],
      [3, 20_000],
    ] as const) {
      await vi.waitFor(() => expect(pushing.figures.failures).toBe(requests), PATIENCE);
      clock.advance(pauseMs - 1);
      const begun = sweeps();
      await vi.waitFor(() => expect(sweeps()).toBeGreaterThan(begun + 3), PATIENCE);
      expect(receiver.bodies.length).toBe(requests);
      clock.advance(1);
    }
    expect(errors).toEqual(["limit-exceeded"]);
  });

  it("because it is not there gets the newest records once it is", async () => {
    const first = await OtlpReceiver.start();
    const { port, url } = first;
    await first.close();
    const { connection, sweeps } = host();
    const { pushing, errors } = await push(connection, { url });
    const begun = sweeps();
    await vi.waitFor(() => expect(sweeps()).toBeGreaterThan(begun + 5), PATIENCE);
    const receiver = await receiverWith(() => ({}), port);
    await vi.waitFor(() => expect(receiver.accepted).toBeGreaterThan(1), PATIENCE);
    expect(pushing.figures.dropped).toBeGreaterThan(0);
    expect(errors).toEqual([]);
  });

  it("in part reports how many data points it rejected", async () => {
    const receiver = await receiverWith(() => ({ rejected: 3 }));
    const { connection } = host();
    const { pushing } = await push(connection, receiver);
    await until(() => pushing.figures.requests >= 2);
    const { requests, rejected, points, records } = pushing.figures;
    const sent = requests * guests.length;
    expect({ rejected, points, records }).toEqual({ rejected: 3 * requests, points: 2 * sent, records: sent });
  });
});

describe("pushOtlp", () => {
  it("takes its address, headers, compression and attributes from OpenTelemetry's environment", async () => {
    const receiver = await receiverWith();
    const { connection } = hostOf(() => [record(0, [["cpu.time", 5n]])]);
    vi.stubEnv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url);
    vi.stubEnv("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=blue,x-other=1");
    vi.stubEnv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip");
    vi.stubEnv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=lab,host.name=other");
    vi.stubEnv("OTEL_SERVICE_NAME", "hypervisors");
    try {
      own(await pushOtlp(connection, { intervalMs: INTERVAL_MS, headers: { "x-other": "2" } }));
      await vi.waitFor(() => expect(receiver.accepted).toBeGreaterThan(0), PATIENCE);
    } finally {
      vi.unstubAllEnvs();
    }
    expect(receiver.headers[0]).toMatchObject({ "x-tenant": "blue", "x-other": "2", "content-encoding": "gzip" });
    expect(receiver.points[0]!.resource).toMatchObject({
      "deployment.environment.name": "lab",
      "service.name": "hypervisors",
      "host.name": "hv1",
    });
  });

  it.each([
    [{ url: "localhost:4318" }, /http:\/\/HOST:4318/],
    [{ url: "ftp://localhost" }, /http:\/\/HOST:4318/],
    [{ uri: "http://localhost" } as OtlpOptions, /no member "uri"/],
    [{ intervalMs: 1 }, /intervalMs/],
    [{ maxBodyBytes: 1 }, /maxBodyBytes/],
  ])("refuses %o", async (options, message) => {
    const { connection } = hostOf(() => []);
    await expect(pushOtlp(connection, options)).rejects.toMatchObject({
      code: "invalid-argument",
      message: expect.stringMatching(message),
    });
  });

  it("ends with its signal, with close(), and with the connection", async () => {
    const receiver = await receiverWith();
    const { connection } = hostOf(() => [record(0, [["cpu.time", 5n]])]);
    const abort = new AbortController();
    const first = await pushOtlp(connection, { url: receiver.url, signal: abort.signal });
    abort.abort();
    expect(await first.closed).toBeUndefined();
    const second = await pushOtlp(connection, { url: receiver.url });
    await second.close();
    const third = await pushOtlp(connection, { url: receiver.url });
    await connection.close();
    expect(await third.closed).toBeUndefined();
    await expect(pushOtlp(connection, { url: receiver.url })).rejects.toMatchObject({ code: "connection-closed" });
  });
});
