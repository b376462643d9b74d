import { describe, expect, it } from "vitest";
import { createFormat } from "../../src/cli/format/format.ts";
import { complaint } from "../../src/cli/format/notice.ts";
import { showsColours } from "../../src/cli/format/text.ts";
import { Progress } from "../../src/cli/get.ts";
import { defaultUri as chooseDefaultUri } from "../../src/cli/source.ts";
import { VirstreamError } from "../../src/model/error.ts";
import { TypedParams } from "../../src/model/params.ts";
import { Domain, DomainStatsRecord, type RecordInit } from "../../src/model/record.ts";

function record(index: number, rest: Partial<RecordInit> = {}): DomainStatsRecord {
  return new DomainStatsRecord({
    domain: new Domain(`00000000-0000-4000-8000-00000000000${index}`, `guest-${index}`, index, "hv1"),
    params: TypedParams.from([["state.state", "int", 1]]),
    status: "ok",
    sampledAt: 1_700_000_000_000,
    tookMs: 0.5,
    index,
    ...rest,
  });
}

describe("the virsh format", () => {
  it("prints values of every type as virsh does", () => {
    const format = createFormat("virsh");
    const params = TypedParams.from([
      ["a.int", "int", -5],
      ["a.ullong", "ullong", 2n ** 64n - 1n],
      ["a.llong", "llong", -(2n ** 63n)],
      ["a.double", "double", 0.1],
      ["a.whole", "double", 3],
      ["a.large", "double", 1e22],
      ["a.nan", "double", Number.NaN],
      ["a.inf", "double", Number.NEGATIVE_INFINITY],
      ["a.minus", "double", -0],
      ["a.yes", "boolean", true],
      ["a.no", "boolean", false],
      ["a.text", "string", "/a path/with = and 'quotes'"],
    ]);
    expect(format.record(record(0, { params })) + format.end()).toBe(
      "Domain: 'guest-0'\n  a.int=-5\n  a.ullong=18446744073709551615\n  a.llong=-9223372036854775808\n" +
        "  a.double=0.100000\n  a.whole=3.000000\n  a.large=10000000000000000000000.000000\n  a.nan=nan\n  a.inf=-inf\n  a.minus=-0.000000\n" +
        "  a.yes=yes\n  a.no=no\n  a.text=/a path/with = and 'quotes'\n\n",
    );
  });

  it("prints in the order of the listing, each record as soon as those before it are there", () => {
    const format = createFormat("virsh");
    const text = [2, 0, 1, 4].map((index) => format.record(record(index)));
    const block = (index: number) => `Domain: 'guest-${index}'\n  state.state=1\n`;
    expect(text).toEqual(["", block(0), `\n${block(1)}\n${block(2)}`, ""]);
    // A named domain that did not pass the filters leaves a gap: the end does not wait for it.
    expect(format.end()).toBe(`\n${block(4)}\n`);
  });

  it("leaves out what virsh would leave out", () => {
    const format = createFormat("virsh");
    expect(format.record(record(0, { status: "gone" })) + format.record(record(1, { status: "failed" }))).toBe("");
    expect(format.record(record(2))).toMatch(/^Domain: 'guest-2'/);
  });
});

describe("the table of a watch", () => {
  it("shows what is missing as missing, and why", () => {
    const several = createFormat("table", { groups: 0x1, hosts: true });
    expect(several.begin()).toMatch(/^STATUS +GUEST +HOST +/);
    expect(several.record(record(0, {}))).toContain(` ${record(0, {}).domain.host}`);
    const format = createFormat("table");
    const line = format.record(record(0, { status: "partial", reason: "timeout", missing: ["block", "vm"] }));
    expect(line).toMatch(/^STUCK-0s +guest-0( +-)+ +partial \(timeout\) without block, vm\n$/);
    const error = new VirstreamError("hypervisor-error", "it said no");
    expect(format.record(record(0, { status: "failed", reason: "error", error }))).toMatch(
      /^ERROR .* failed \(error\): it said no\n$/,
    );
  });

  it("has totals in libvirt's units with --raw, with all their digits", () => {
    const params = TypedParams.from([
      ["cpu.time", "ullong", 9_007_199_254_740_993n],
      ["balloon.current", "ullong", 2_097_152n],
      ["net.count", "uint", 1],
      ["net.0.rx.bytes", "ullong", 26_199_273_472n],
    ]);
    const line = createFormat("table", { raw: true }).record(record(1, { params }));
    expect(line).toMatch(/ guest-1 .* 9007199254740993 +2097152( +-){3} +26199273472 /);
  });

  it("sums the devices that a record has, whatever number of them it claims", () => {
    for (const count of [4_294_967_295, Number.NaN, -1, 1.5]) {
      const params = TypedParams.from([
        ["net.count", "double", count],
        ["net.0.rx.bytes", "ullong", 512n],
      ]);
      const line = createFormat("table", { groups: 0x10 }).record(record(0, { params }));
      expect(line).toMatch(count > 0 ? / guest-0 +512 +-\n$/ : / guest-0 +- +-\n$/);
    }
  });

  it("has no processor time of a guest that does not run: a user's libvirtd reports its own there", () => {
    const off = new Domain("00000000-0000-4000-8000-000000000000", "off", -1, "hv1");
    const params = TypedParams.from([["cpu.time", "ullong", 1_600_000_000n]]);
    const table = createFormat("table", { groups: 0x2 });
    expect(table.record(record(0, { params }))).toMatch(/ guest-0 +1\.6s\n$/);
    expect(table.record(record(0, { params, domain: off }))).toMatch(/ off +-\n$/);
    expect(createFormat("ndjson").record(record(0, { params, domain: off }))).toContain('"cpu.time":1600000000');
  });

  it("has the uuid of a domain that was asked for by uuid, and that no host has", () => {
    const uuid = "aaaaaaaa-0000-4000-8000-000000000001";
    const domain = new Domain(uuid, "", -1, "hv1");
    const gone = record(0, { domain, status: "gone", reason: "unknown", params: TypedParams.EMPTY });
    expect(createFormat("table").record(gone)).toMatch(new RegExp(`^NO-GUEST +${uuid} +-.* gone \\(unknown\\)\n$`));
    expect(complaint(gone)).toBe(`domain ${uuid}: gone: unknown`);
  });

  it("shows guests in trouble in bold red, where the output shows colours", () => {
    const failed = record(0, { status: "failed", reason: "error" });
    const line = (colours: boolean, each = failed) => createFormat("table", { colours }).record(each);
    expect(line(true)).toBe(`\u001b[1;31m${line(false).trimEnd()}\u001b[m\n`);
    expect(line(false)).toMatch(/failed \(error\): .*\n$/);
    expect(line(true, record(0))).toBe(line(false, record(0)));
    expect(showsColours({ isTTY: true }, {})).toBe(true);
    expect([{ NO_COLOR: "1" }, { TERM: "dumb" }].map((env) => showsColours({ isTTY: true }, env))).toEqual([
      false,
      false,
    ]);
    expect(showsColours({}, {})).toBe(false);
  });

  it("says since when a guest has been stuck, also after one that was well in between", () => {
    const table = createFormat("table");
    const words = (at: number, rest: Partial<RecordInit> = {}) =>
      table.record(record(0, { sampledAt: at, steadyAt: at, ...rest })).split(" ")[0];
    const stuck = { status: "partial", reason: "timeout", missing: ["block"], tookMs: 2_000 } as const;
    expect([words(0, stuck), words(10_000, stuck), words(20_000), words(30_000, stuck)]).toEqual([
      "STUCK-2s",
      "STUCK-12s",
      "running",
      "STUCK-2s",
    ]);
  });

  it("does not let a name from elsewhere move the cursor", () => {
    const domain = new Domain("00000000-0000-4000-8000-000000000000", "evil\u001b[2J\r\nname", 1, "hv1");
    expect(createFormat("table", { groups: 1 }).record(record(0, { domain }))).toMatch(
      /^running +evil\ufffd\[2J\ufffd\ufffdname/,
    );
  });
});

describe("the JSON formats", () => {
  it("tell the error of a record that has one, and are JSON whatever a double is", () => {
    const params = TypedParams.from([
      ["a", "double", Number.POSITIVE_INFINITY],
      ['k"ey', "string", "\u2028\n"],
    ]);
    const error = new VirstreamError("deadline-exceeded", "too late");
    const text = createFormat("ndjson").record(record(0, { params, status: "failed", reason: "timeout", error }));
    expect(text.endsWith("}\n") && !text.slice(0, -1).includes("\n")).toBe(true);
    expect(JSON.parse(text)).toEqual({
      domain: { uuid: "00000000-0000-4000-8000-000000000000", name: "guest-0", id: 0, host: "hv1" },
      status: "failed",
      reason: "timeout",
      missing: [],
      error: { code: "deadline-exceeded", message: "too late", retryable: true },
      sampledAt: 1_700_000_000_000,
      steadyAt: expect.any(Number),
      tookMs: 0.5,
      state: null,
      params: { a: "Infinity", 'k"ey': "\u2028\n" },
    });
  });
});

describe("an error inside an event", () => {
  it("keeps its message in JSON, for example the error of a host that is absent from a sweep", () => {
    const error = new VirstreamError("connection-refused", "nothing listens");
    const summary = { domains: 0, ok: 0, partial: 0, failed: 0, gone: 0, startedAt: 1, tookMs: 1 };
    const sync = {
      type: "sync",
      tick: 1,
      host: "a",
      summary: { ...summary, absent: [{ host: "b", error }] },
      overrun: 0,
    };
    const plain = { code: "connection-refused", message: "nothing listens", retryable: true };
    const printed = JSON.parse(createFormat("ndjson").event(sync as never));
    expect(printed.summary.absent).toEqual([{ host: "b", error: plain }]);
    expect(JSON.parse(JSON.stringify(sync)).summary.absent).toEqual([{ host: "b", error: plain }]);
    expect(Object.keys(JSON.parse(createFormat("ndjson").record(record(0))))).toContain("steadyAt");
  });
});

describe("progress", () => {
  it("tells how far it is, redraws ten times a second at most, and erases itself", () => {
    const written: string[] = [];
    let now = 0;
    const progress = new Progress({ write: (text) => written.push(text) }, () => now);
    progress.show();
    progress.expect(41);
    for (let i = 0; i < 17; i++) {
      progress.add(record(i % 9, { status: i < 2 ? "partial" : "ok" }));
      now += 10;
      progress.show();
    }
    progress.hide();
    progress.hide();
    expect(written).toEqual(["\r\u001b[K0 domains", "\r\u001b[K10 of 41 domains, 2 partial", "\r\u001b[K"]);
    expect(progress.text).toBe("17 of 41 domains, 2 partial");
    expect(progress.incomplete).toBe(true);
  });
});

describe("without a URI", () => {
  it("the environment is asked, then this machine, and never the simulated host", () => {
    const none = () => undefined;
    const defaultUri = (env: NodeJS.ProcessEnv, find = none as () => string | undefined) =>
      chooseDefaultUri(env, find, { defaultUri: undefined });
    expect(defaultUri({ VIRSTREAM_URI: "a:b", LIBVIRT_DEFAULT_URI: "c:d" }, none)).toBe("a:b");
    expect(defaultUri({ VIRSTREAM_URI: "", LIBVIRT_DEFAULT_URI: "c:d" }, none)).toBe("c:d");
    expect(defaultUri({}, () => "/run/libvirt/libvirt-sock-ro")).toBe("qemu:///system");
    expect(defaultUri({}, () => "/run/user/1000/libvirt/libvirt-sock")).toBe("qemu:///session");
    expect(defaultUri({}, none)).toBe("qemu:///system");
  });

  it("libvirt's client configuration is asked after the environment", () => {
    const configuration = { defaultUri: "xen:///system" };
    expect(chooseDefaultUri({}, () => "/run/libvirt/libvirt-sock-ro", configuration)).toBe("xen:///system");
    expect(chooseDefaultUri({ LIBVIRT_DEFAULT_URI: "c:d" }, () => undefined, configuration)).toBe("c:d");
  });
});
