/** @module-tag any-node */

import { PassThrough } from "node:stream";
import { describe, expect, it } from "vitest";
import { LineDisplay } from "../../src/cli/display.ts";
import type { Format } from "../../src/cli/format/format.ts";
import { createFormat } from "../../src/cli/format/format.ts";
import { Notices } from "../../src/cli/format/notice.ts";
import { SweepCount } from "../../src/cli/watch.ts";
import { RateMeter } from "../../src/client/rates.ts";
import { VirstreamError } from "../../src/model/error.ts";
import { type ParamValue, TypedParams } from "../../src/model/params.ts";
import { Domain, DomainStatsRecord, type RecordInit } from "../../src/model/record.ts";
import type { ParamTypeName } from "../../src/model/schema.ts";
import type { WatchEvent, WatchState } from "../../src/model/watch.ts";

type Params = readonly (readonly [key: string, type: ParamTypeName, value: ParamValue])[];

function domain(index: number, host = "hv1", name = `guest-${index}`): Domain {
  return new Domain(`00000000-0000-4000-8000-${String(index).padStart(12, "0")}`, name, index + 1, host);
}

function record(index: number, rest: Partial<RecordInit> = {}, params: Params = []): WatchEvent & { type: "record" } {
  return {
    type: "record",
    record: new DomainStatsRecord({
      domain: domain(index),
      params: TypedParams.from([["state.state", "int", 1], ["state.reason", "int", 1], ...params]),
      status: "ok",
      sampledAt: 1_700_000_000_000,
      tookMs: 0.5,
      index,
      ...rest,
    }),
  };
}

function sync(tick: number, host = "hv1", counts: { ok?: number; partial?: number } = {}, overrun = 0): WatchEvent {
  const { ok = 2, partial = 0 } = counts;
  const summary = { domains: ok + partial, ok, partial, failed: 0, gone: 0, startedAt: 1, tookMs: 120 };
  return { type: "sync", tick, host, summary, overrun };
}

function status(state: WatchState, host?: string): WatchEvent {
  const error = state === "connected" ? undefined : new VirstreamError("connection-lost", "it hung up");
  return { type: "status", state, host, error };
}

describe("counting sweeps", () => {
  function count(limit: number, ...events: WatchEvent[]): SweepCount {
    const counted = new SweepCount(limit);
    for (const event of events) counted.take(event);
    return counted;
  }

  it("is done when every host that is known and there has had its sweeps", () => {
    const other = record(1, { domain: domain(1, "hv2") });
    expect(count(1).done).toBe(false);
    expect(count(1, record(0)).done).toBe(false);
    expect(count(1, record(0), sync(1)).done).toBe(true);
    expect(count(2, sync(1)).done).toBe(false);
    expect(count(1, record(0), other, sync(1)).done).toBe(false);
    expect(count(1, record(0), other, sync(1), sync(2, "hv2")).done).toBe(true);
    expect(count(Number.POSITIVE_INFINITY, sync(1), sync(2)).done).toBe(false);
  });

  it("does not wait for a host that is absent, but for the way to all hosts, and for the only one", () => {
    const absent = count(1, status("degraded", "hv2"), sync(1));
    expect([absent.done, absent.incomplete]).toEqual([true, true]);
    expect(count(1, sync(1), status("reconnecting", "hv1")).done).toBe(false);
    expect(count(1, sync(1), status("reconnecting")).done).toBe(false);
    expect(count(2, sync(1), status("reconnecting"), status("connected"), sync(2)).done).toBe(true);
    const back = count(2, sync(1), status("degraded", "hv1"), sync(2));
    expect([back.done, back.incomplete]).toEqual([true, false]);
  });

  it("waits for no host by a name that it does not have: a URI, several names, or that of a domain that no host has", () => {
    const absent = record(0, { status: "gone", domain: domain(0, "") });
    const counted = count(1, status("degraded", "ws://hv2"), absent, sync(1), status("connected", "ws://hv2"));
    expect([counted.done, counted.incomplete]).toEqual([true, false]);
    const behind = [status("degraded", "hvA,hvB"), sync(1), status("connected", "hvA,hvB"), sync(2, "hvA")];
    expect(count(1, ...behind).done).toBe(false);
    expect(count(1, ...behind, sync(3, "hvB")).done).toBe(true);
    const together = [record(0, { domain: domain(0, "hvA") }), record(1, { domain: domain(1, "hvB") })];
    expect(count(1, ...together, sync(1, "hvA,hvB")).done).toBe(true);
  });

  it("judges a host by its last sweep alone", () => {
    const worse = { ok: 1, partial: 1 };
    expect(count(2, sync(1), sync(2, "hv1", worse)).incomplete).toBe(true);
    expect(count(2, sync(1, "hv1", worse), sync(2)).incomplete).toBe(false);
  });
});

function textOf(format: Format, event: WatchEvent): string {
  return event.type === "record" ? format.record(event.record) : format.event(event);
}

describe("the formats of a watch", () => {
  it("ndjson has an object per event: records as they are, all others with the member event", () => {
    const format = createFormat("ndjson", { rates: true, watch: true });
    const parse = (event: WatchEvent): unknown => JSON.parse(textOf(format, event));
    expect(textOf(format, record(0)).endsWith("}\n")).toBe(true);
    expect(parse(record(0))).toMatchObject({ domain: { name: "guest-0" }, params: { "state.state": 1 } });
    expect(parse(record(0))).not.toHaveProperty("event");
    expect(parse(sync(3, "hv1", {}, 1))).toEqual({
      event: "sync",
      tick: 3,
      host: "hv1",
      overrun: 1,
      summary: { domains: 2, ok: 2, partial: 0, failed: 0, gone: 0, startedAt: 1, tookMs: 120 },
    });
    expect(parse({ type: "gap", reason: "source", skipped: undefined, host: undefined })).toEqual({
      event: "gap",
      reason: "source",
      skipped: null,
      host: null,
    });
    expect(parse({ type: "gone", domain: domain(0) })).toEqual({
      event: "gone",
      domain: { uuid: "00000000-0000-4000-8000-000000000000", name: "guest-0", id: 1, host: "hv1" },
    });
    expect(parse(status("reconnecting"))).toEqual({
      event: "status",
      state: "reconnecting",
      host: null,
      error: { code: "connection-lost", message: "it hung up", retryable: true },
    });
    expect(parse(status("connected", "hv1"))).toEqual({ event: "status", state: "connected", host: "hv1" });
  });

  it("ndjson adds rates to a record, without the record in them", () => {
    const format = createFormat("ndjson", { rates: true, watch: true });
    const meter = new RateMeter();
    const text = [0, 1].map((second) => {
      const at = { sampledAt: 1_700_000_000_000 + second * 2_000 };
      const event = record(0, at, [["cpu.time", "ullong", BigInt(second) * 1_000_000_000n]]);
      return format.record(event.record, meter.take(event.record));
    });
    const [first, second] = text.map((line) => JSON.parse(line));
    expect(first.rates.cpu).toEqual({});
    expect(second).toMatchObject({ domain: { name: "guest-0" }, rates: { intervalMs: 2_000, cpu: { percent: 50 } } });
    expect(second.rates).not.toHaveProperty("record");
  });

  it("virsh prints each sweep at its end, in the order of its host's listing, each domain once, the newest", () => {
    const format = createFormat("virsh", { watch: true });
    const other = record(0, { domain: domain(9, "hv2") });
    const events = [
      record(1),
      other,
      record(0),
      record(1, {}, [["cpu.time", "ullong", 7n]]),
      record(2, { status: "failed" }),
    ];
    expect(events.map((event) => textOf(format, event)).join("")).toBe("");
    const state = "  state.state=1\n  state.reason=1\n";
    expect(textOf(format, sync(1))).toBe(`Domain: 'guest-0'\n${state}\nDomain: 'guest-1'\n${state}  cpu.time=7\n\n`);
    expect(textOf(format, sync(2, "hv2"))).toBe(`Domain: 'guest-9'\n${state}\n`);
    expect(textOf(format, sync(3))).toBe("\n");
  });

  it("virsh prints the domains of all hosts that were swept together", () => {
    const format = createFormat("virsh", { watch: true });
    for (const host of ["hv1", "hv2"]) textOf(format, record(0, { domain: domain(0, host, `of-${host}`) }));
    const printed = textOf(format, sync(1, "hv1,hv2"));
    expect(printed.match(/^Domain: .*$/gm)).toEqual(["Domain: 'of-hv1'", "Domain: 'of-hv2'"]);
    expect(textOf(format, sync(2, "hv1,hv2"))).toBe("\n");
  });

  it("the table is one paragraph per sweep, under one head", () => {
    const output = new PassThrough();
    const display = new LineDisplay(createFormat("table", { groups: 1, watch: true }), output, new Notices("ws://all"));
    const events = [status("connected"), record(1), sync(1, "hv1", { ok: 1, partial: 1 }), record(1), sync(2)];
    for (const event of events) display.take(event, undefined);
    display.end();
    expect(output.read().toString().replaceAll(/ +/g, " ")).toBe(
      "STATUS GUEST WHY\nrunning guest-1\n# sweep 1: 2 domains of hv1 in 0.12 s, 1 partial\n\n" +
        "running guest-1\n# sweep 2: 2 domains of hv1 in 0.12 s\n\n",
    );
  });
});

describe("notices", () => {
  it("tell of gaps, of domains that left, and of the way to the hosts: that it is there only after it was not", () => {
    const notices = new Notices("ws://all");
    const events: WatchEvent[] = [
      status("connected"),
      sync(1),
      { type: "gap", reason: "slow-consumer", skipped: 1, host: "hv1" },
      { type: "gap", reason: "reconnected", skipped: undefined, host: undefined },
      { type: "gone", domain: domain(3, "hv1", "evil\u001b[2J") },
      status("reconnecting"),
      status("connected"),
      status("degraded", "hv2"),
      status("connected", "hv2"),
    ];
    expect(events.map((event) => notices.of(event)).filter((line) => line !== undefined)).toEqual([
      "1 sweep of hv1 skipped: they were not read fast enough",
      "an unknown number of sweeps skipped: the connection was lost, or the server restarted",
      "domain evil\ufffd[2J of hv1 is gone",
      "ws://all: reconnecting: it hung up",
      "ws://all: connected again",
      "hv2: absent, and is tried again: it hung up",
      "hv2: connected again",
    ]);
  });

  it("tell once what is so in every sweep: a domain that hangs, sweeps that outlast the interval", () => {
    const notices = new Notices("ws://all", true);
    const late = record(0, { status: "partial", reason: "timeout", missing: ["block"] });
    const vanished = record(1, { status: "gone" });
    const events = [late, sync(1, "hv1", {}, 1), late, sync(2, "hv1", {}, 1), record(0), vanished];
    expect(events.map((event) => notices.of(event)).filter((line) => line !== undefined)).toEqual([
      "domain guest-0: partial without block: timeout",
      "a sweep of hv1 took 0.12 s, longer than the interval: the sweeps that were due in that time are left out",
      "domain guest-0: ok again",
      "domain guest-1: gone",
    ]);
    expect(notices.of({ type: "gone", domain: domain(1) })).toBeUndefined();
  });
});
