import { PassThrough } from "node:stream";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { LineDisplay } from "../../src/cli/display.ts";
import type { Format } from "../../src/cli/format/format.ts";
import { createFormat } from "../../src/cli/format/format.ts";
import { Notices } from "../../src/cli/format/notice.ts";
import { type Frame, Screen } from "../../src/cli/format/screen.ts";
import { printable, width } from "../../src/cli/format/text.ts";
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

const LARGE = { columns: 200, rows: 50 };

function linesOf({ head, title, rows }: Frame): string[] {
  return [...head, title, ...rows];
}

/** The first word of each row. */
function names({ rows }: Frame): string[] {
  return rows.map((row) => row.split(" ")[0]!);
}

describe("the screen", () => {
  it("shows every domain's newest record by name, and forgets a domain that is gone", () => {
    const screen = new Screen("test:///", 0, false);
    expect(screen.frame(LARGE).head).toEqual(["test:///: waiting for the first sweep"]);
    for (const index of [2, 0, 1]) screen.take(record(index));
    screen.take(sync(1));
    screen.take(record(1, {}, [["vcpu.current", "uint", 8]]));
    screen.take({ type: "gone", domain: domain(0) });
    const frame = screen.frame(LARGE);
    expect(names(frame)).toEqual(["guest-1", "guest-2"]);
    expect(frame.rows[0]).toMatch(/^guest-1 +running +8 .* ok$/);
    expect(frame.head[0]).toBe("sweep 1: 2 domains of hv1 in 0.12 s");
  });

  it("has totals as libvirt counts them when they are to be raw", () => {
    const cells = (raw: boolean) => {
      const screen = new Screen("test:///", 2, false, () => 0, raw);
      screen.take(record(0, {}, [["cpu.time", "ullong", 1_600_000_000n]]));
      return screen.frame(LARGE).rows[0];
    };
    expect(cells(false)).toMatch(/^guest-0 +1\.60 s /);
    expect(cells(true)).toMatch(/^guest-0 +1600000000 /);
  });

  it("puts guests that failed on top, and says how, never cut, on a terminal of 80 cells", () => {
    const screen = new Screen("test:///", 0, true);
    const state = (number: number, reason: number): TypedParams =>
      TypedParams.from([
        ["state.state", "int", number],
        ["state.reason", "int", reason],
        ["cpu.time", "ullong", 1n],
      ]);
    screen.take(record(0));
    screen.take(record(1, { params: state(5, 3), domain: new Domain(domain(1).uuid, "guest-1", -1, "hv1") }));
    screen.take(record(2, { params: state(3, 5) }));
    screen.take(record(3, { params: state(5, 1) }));
    screen.take(sync(1));
    const frame = screen.frame({ columns: 80, rows: 24 });
    expect(frame.rows[0]).toMatch(/^guest-1 .* shut off \(crashed\)$/);
    expect(frame.rows[1]).toMatch(/^guest-2 .* paused \(I\/O error\)$/);
    expect(frame.rows.slice(2).map((row) => row.replaceAll(/ .* /g, " "))).toEqual(["guest-0 ok", "guest-3 ok"]);
    expect(frame.alerts).toBe(2);
  });

  it("lists who left or failed lately, the newest first, until they are back", () => {
    let now = 0;
    const screen = new Screen("test:///", 0, false, () => now);
    const failed = record(1, {
      params: TypedParams.from([
        ["state.state", "int", 5],
        ["state.reason", "int", 3],
      ]),
    });
    const lately = (): string | undefined => screen.frame(LARGE).head.find((line) => line.startsWith("lately: "));
    for (const index of [0, 1]) screen.take(record(index));
    expect(lately()).toBeUndefined();
    screen.take({ type: "gone", domain: domain(0) });
    now = 65_000;
    for (const event of [failed, failed]) screen.take(event);
    now = 70_000;
    expect(lately()).toBe("lately: guest-1 shut off (crashed) 5 s ago, guest-0 left 1 min ago");
    screen.take(record(0));
    expect(lately()).toBe("lately: guest-1 shut off (crashed) 5 s ago");
    screen.take(record(1));
    expect(lately()).toBeUndefined();
    for (let i = 2; i < 300; i++)
      for (const event of [record(i), { type: "gone", domain: domain(i) } as const]) screen.take(event);
    expect(lately()).toMatch(/^lately: guest-299 left 0 s ago, .* and 46 more$/);
    now += 3_600_000;
    expect(lately()).toBeUndefined();
  });

  it("lists no guest as failed that only had no state for a while, because its record failed", () => {
    let now = 0;
    const screen = new Screen("test:///", 0, false, () => now);
    const crashed = TypedParams.from([
      ["state.state", "int", 5],
      ["state.reason", "int", 3],
    ]);
    const late = { status: "failed", reason: "timeout", params: TypedParams.EMPTY } as const;
    const lately = (): string | undefined => screen.frame(LARGE).head.find((line) => line.startsWith("lately: "));
    screen.take(record(0, late));
    for (const rest of [{ params: crashed }, late, { params: crashed }]) screen.take(record(0, rest));
    expect(lately()).toBeUndefined();
    screen.take(record(1));
    screen.take(record(1, { params: crashed }));
    now = 5_000;
    for (const rest of [late, { params: crashed }]) {
      screen.take(record(1, rest));
      expect(lately()).toBe("lately: guest-1 shut off (crashed) 5 s ago");
    }
  });

  it("has the memory that a guest reports, else what its process occupies or what it may have, marked", () => {
    const screen = new Screen("test:///", 0, true);
    const meter = new RateMeter();
    const assigned = ["balloon.current", "ullong", 4_194_304n] as const;
    const rss = ["balloon.rss", "ullong", 1_048_576n] as const;
    const report = [
      ["balloon.available", "ullong", 4_000_000n],
      ["balloon.usable", "ullong", 3_475_712n],
    ] as const;
    const off = { domain: new Domain(domain(3).uuid, "guest-3", -1, "hv1") };
    const cases = [
      record(0, {}, [assigned, rss, ...report]),
      record(1, {}, [assigned, rss]),
      record(2, {}, [assigned]),
    ];
    for (const event of [...cases, record(3, off, [assigned])]) screen.take(event, meter.take(event.record));
    const { title, rows } = screen.frame(LARGE);
    const end = title.indexOf("MEM") + 3;
    expect(rows.map((row) => row.slice(0, end).split(" ").at(-1))).toEqual(["512M", "~1.0G", "≤4.0G", "-"]);
  });

  it("keeps its columns in line, whatever the names are, and cuts no character in half", () => {
    const names = [
      "web-01",
      "数据库服务器",
      "👩‍👩‍👧‍👦-family",
      "cafe\u0301",
      "数".repeat(40),
      `${"👩‍👩‍👧‍👦".repeat(19)}-é`,
      "evil\u202etxt.exe\u009b2J",
    ];
    for (const columns of [60, 80, 81, 200]) {
      const screen = new Screen("test:///", 1, false);
      for (const [i, name] of names.entries()) screen.take(record(i, { domain: domain(i, "hv1", name) }));
      const { title, rows } = screen.frame({ columns, rows: 24 });
      const place = title.indexOf("STATE");
      for (const row of rows) {
        expect(width(row.slice(0, row.indexOf("running")))).toBe(place);
        expect(width(row)).toBeLessThanOrEqual(columns);
        expect(row).toMatch(/ok$/);
        // A family that is cut has fewer members, and a joiner that joins nothing.
        expect(row.replaceAll("👩‍👩‍👧‍👦", "")).not.toMatch(/\u200d|\p{Surrogate}|\p{Bidi_Control}/u);
      }
    }
  });

  it("asks to be shown as the first sweep goes on, and then at the end of each", () => {
    const screen = new Screen("test:///", 0, false);
    expect([record(0), sync(1), record(0), record(1), sync(2)].map((event) => screen.take(event))).toEqual([
      true,
      true,
      false,
      false,
      true,
    ]);
    expect(screen.take({ type: "gone", domain: domain(1) })).toBe(true);
    expect(screen.take(status("reconnecting"))).toBe(true);
  });

  it("puts the busiest domains first with rates, before them those whose record is not whole, and says how many more there are", () => {
    const screen = new Screen("test:///", 0, true);
    const meter = new RateMeter();
    for (const second of [0, 1]) {
      for (let i = 0; i < 20; i++) {
        const time = BigInt(second) * BigInt(i % 7) * 100_000_000n;
        const event = record(i, { sampledAt: 1_700_000_000_000 + second * 1_000 }, [["cpu.time", "ullong", time]]);
        screen.take(event, meter.take(event.record));
      }
      const late = record(20, { status: "partial", reason: "timeout", missing: ["cpu-total"] });
      screen.take(late, meter.take(late.record));
      screen.take(sync(second + 1));
    }
    const frame = screen.frame({ columns: 120, rows: 8 });
    expect(names(frame)).toEqual(["guest-20", "guest-13", "guest-6", "guest-12", "guest-19", "and"]);
    expect(frame.rows[0]).toMatch(/^guest-20 .*partial \(timeout\)…$/);
    // 0.6 s of processor time in a second.
    expect(frame.rows[1]).toMatch(/^guest-13 +running +60\.0 /);
    expect(frame.rows.at(-1)).toBe("and 16 more");
    expect(linesOf(frame)).toHaveLength(8);
  });

  it("is never larger than the terminal, whatever its size, and whatever the names are", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 250 }),
        fc.integer({ min: 3, max: 60 }),
        fc.array(fc.string({ maxLength: 80, unit: "binary" }), { maxLength: 30 }),
        fc.array(fc.string({ maxLength: 80, unit: "grapheme" }), { maxLength: 30 }),
        fc.boolean(),
        (columns, rows, guests, hosts, rates) => {
          const screen = new Screen("test:///", 0, rates);
          for (const [i, name] of guests.entries()) screen.take(record(i, { domain: domain(i, "hv1", name) }));
          for (const [i, host] of hosts.entries()) screen.take(sync(i + 1, host));
          screen.take(status("reconnecting"));
          screen.take({ type: "gap", reason: "slow-consumer", skipped: 3, host: undefined });
          const lines = linesOf(screen.frame({ columns, rows }));
          expect(lines.length).toBeLessThanOrEqual(rows);
          for (const line of lines) expect([line, width(line) <= columns]).toEqual([printable(line), true]);
        },
      ),
    );
  });

  it("leaves out the columns that matter least when it is narrow, never the name and the status", () => {
    const screen = new Screen("test:///", 0, true);
    screen.take(record(0));
    const titles = (columns: number): string[] => screen.frame({ columns, rows: 10 }).title.split(/\s+/);
    expect(screen.frame({ columns: 120, rows: 10 }).title.length).toBeLessThanOrEqual(120);
    expect(screen.frame({ columns: 120, rows: 10 }).title).toMatch(
      /^DOMAIN +STATE +CPU % +STEAL% +MEM +RX\/s +TX\/s +RD\/s +WR\/s +RDOP\/s +WROP\/s +LATENCY +STATUS$/,
    );
    expect(titles(80)).toEqual(["DOMAIN", "STATE", "CPU", "%", "MEM", "RX/s", "TX/s", "RD/s", "WR/s", "STATUS"]);
    expect(titles(30)).toEqual(["DOMAIN", "CPU", "%", "STATUS"]);
    expect(titles(15)).toEqual(["DOMAIN", "STATUS"]);
  });

  it("shortens a long name in its middle, and cuts what does not fit the line", () => {
    const screen = new Screen("test:///", 1, false);
    const name = "production-database-of-the-accounting-department-07";
    screen.take(
      record(0, {
        domain: domain(0, "hv1", name),
        status: "failed",
        reason: "error",
        error: new VirstreamError("internal", "x".repeat(90)),
      }),
    );
    const [row] = screen.frame({ columns: 70, rows: 10 }).rows;
    expect(row).toMatch(/^production-database-…nting-department-07 +running +2 +failed …$/);
    expect(row).toHaveLength(70);
  });

  it("gives each host a line, the troubled ones first, and a column of hosts", () => {
    const screen = new Screen("ws://all", 0, false);
    for (let i = 1; i <= 6; i++) {
      screen.take(record(i, { domain: domain(i, `hv${i}`) }));
      screen.take(sync(i, `hv${i}`, { ok: 1 }));
    }
    screen.take(status("degraded", "hv5"));
    const frame = screen.frame(LARGE);
    expect(frame.head).toEqual([
      "sweep 5: 1 domain of hv5 in 0.12 s; absent: it hung up",
      "sweep 1: 1 domain of hv1 in 0.12 s",
      "sweep 2: 1 domain of hv2 in 0.12 s",
      "and 3 more hosts: 6 domains in all",
    ]);
    expect(frame.title).toMatch(/^DOMAIN +HOST /);
    // What is known of the domains of a host that is not there is old, says so, and comes last.
    expect(frame.rows[4]).toMatch(/^guest-6 +hv6 .* ok$/);
    expect(frame.rows[5]).toMatch(/^guest-5 +hv5 .* stale: host absent$/);
    screen.take(status("connected", "hv5"));
    expect(screen.frame(LARGE).rows[4]).toMatch(/^guest-5 +hv5 .* ok$/);
    expect(screen.frame(LARGE).head[0]).toMatch(/of hv1 /);
    screen.take({ type: "gone", domain: domain(6, "hv6") });
    expect(screen.frame(LARGE).head.at(-1)).toBe("lately: guest-6 of hv6 left 0 s ago");
  });

  it("has a line only for hosts: none for a URI once that host answers, for several, or for a domain that no host has", () => {
    const screen = new Screen("ws://all", 0, false);
    screen.take(record(0, { status: "gone", domain: domain(0, "") }));
    screen.take(record(1, { domain: domain(1, "hvA") }));
    screen.take(sync(1, "hvA"));
    for (const host of ["ws://hv2", "hvA,hvB"]) screen.take(status("degraded", host));
    expect(screen.frame(LARGE).head).toEqual([
      "sweep 1: 2 domains of hvA in 0.12 s; absent: it hung up",
      "hvB: waiting for its first sweep; absent: it hung up",
      "ws://hv2: waiting for its first sweep; absent: it hung up",
    ]);
    expect(screen.frame(LARGE).rows.at(-1)).toMatch(/^guest-1 +hvA .* stale: host absent$/);
    for (const host of ["ws://hv2", "hvA,hvB"]) screen.take(status("connected", host));
    expect(screen.frame(LARGE).head).toEqual(["sweep 1: 2 domains of hvA in 0.12 s"]);
    screen.take(sync(2, "hvA,hvB"));
    expect(new Set(screen.frame(LARGE).head)).toEqual(new Set(["sweep 2: 2 domains of hvA,hvB in 0.12 s"]));
  });

  it("says that the connection is lost while it is, and of a gap for some sweeps", () => {
    const screen = new Screen("ws://all", 0, false);
    screen.take(sync(1));
    screen.take(status("reconnecting"));
    expect(screen.frame(LARGE).head[0]).toBe("ws://all: reconnecting: it hung up");
    screen.take(status("connected"));
    screen.take({ type: "gap", reason: "reconnected", skipped: undefined, host: undefined });
    screen.take(sync(2, "hv1", {}, 3));
    expect(screen.frame(LARGE).head).toEqual([
      "sweep 2: 2 domains of hv1 in 0.12 s; 3 left out: it outlasted the interval",
      "an unknown number of sweeps skipped: the connection was lost, or the server restarted",
    ]);
    for (let tick = 3; tick < 8; tick++) screen.take(sync(tick));
    expect(screen.frame(LARGE).head).toHaveLength(1);
  });
});

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
    const nobody = record(0, { status: "gone", domain: domain(0, "") });
    const counted = count(1, status("degraded", "ws://hv2"), nobody, sync(1), status("connected", "ws://hv2"));
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
      "DOMAIN STATE PARAMS STATUS\nguest-1 running 2 ok\n# sweep 1: 2 domains of hv1 in 0.12 s, 1 partial\n\n" +
        "guest-1 running 2 ok\n# sweep 2: 2 domains of hv1 in 0.12 s\n\n",
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
      "hv2: absent: it hung up",
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
