import { describe, expect, it } from "vitest";
import { VirstreamError } from "../../../src/model/error.ts";
import { Domain } from "../../../src/model/record.ts";
import { familiesOf } from "../../../src/outlets/prometheus/families.ts";
import { negotiate } from "../../../src/outlets/prometheus/negotiation.ts";
import { chunksOf, type Param, pageOf, recordOf, samplesNamed, samplesOf } from "./page.ts";

/** The names that tinkoff/libvirt-exporter and inovex/prometheus-libvirt-exporter share, with their types and labels. */
const COMMON: Readonly<Record<string, readonly [type: string, labels: string]>> = {
  libvirt_up: ["gauge", ""],
  libvirt_domain_info_maximum_memory_bytes: ["gauge", "domain"],
  libvirt_domain_info_memory_usage_bytes: ["gauge", "domain"],
  libvirt_domain_info_virtual_cpus: ["gauge", "domain"],
  libvirt_domain_info_cpu_time_seconds_total: ["counter", "domain"],
  libvirt_domain_vcpu_state: ["gauge", "domain,vcpu"],
  libvirt_domain_vcpu_time_seconds_total: ["counter", "domain,vcpu"],
  libvirt_domain_vcpu_delay_seconds_total: ["counter", "domain,vcpu"],
  libvirt_domain_vcpu_wait_seconds_total: ["counter", "domain,vcpu"],
  ...Object.fromEntries(
    ["read", "write"].flatMap((way) =>
      ["bytes", "requests", "time_seconds"].map((unit) => [
        `libvirt_domain_block_stats_${way}_${unit}_total`,
        ["counter", "domain,target_device"],
      ]),
    ),
  ),
  libvirt_domain_block_stats_flush_requests_total: ["counter", "domain,target_device"],
  libvirt_domain_block_stats_flush_time_seconds_total: ["counter", "domain,target_device"],
  libvirt_domain_block_stats_capacity_bytes: ["gauge", "domain,target_device"],
  ...Object.fromEntries(
    ["receive", "transmit"].flatMap((way) =>
      ["bytes", "packets", "errors", "drops"].map((unit) => [
        `libvirt_domain_interface_stats_${way}_${unit}_total`,
        ["counter", "domain,target_device"],
      ]),
    ),
  ),
  libvirt_domain_memory_stats_unused_bytes: ["gauge", "domain"],
  libvirt_domain_memory_stats_available_bytes: ["gauge", "domain"],
  libvirt_domain_memory_stats_usable_bytes: ["gauge", "domain"],
  libvirt_domain_memory_stats_rss_bytes: ["gauge", "domain"],
  libvirt_domain_memory_stats_used_percent: ["gauge", "domain"],
  libvirt_domain_memory_stats_major_fault_total: ["counter", "domain"],
  libvirt_domain_memory_stats_minor_fault_total: ["counter", "domain"],
};

/** A domain with everything that the common names need. */
const WHOLE: readonly Param[] = [
  ["state.state", "int", 1],
  ["state.reason", "int", 5],
  ["cpu.time", "ullong", 1_500_000_000n],
  ["balloon.current", "ullong", 2n],
  ["balloon.maximum", "ullong", 4n],
  ["balloon.major_fault", "ullong", 7n],
  ["balloon.minor_fault", "ullong", 8n],
  ["balloon.unused", "ullong", 1n],
  ["balloon.available", "ullong", 8n],
  ["balloon.usable", "ullong", 2n],
  ["balloon.rss", "ullong", 3n],
  ["balloon.last-update", "ullong", 0n],
  ["vcpu.current", "uint", 1],
  ["vcpu.maximum", "uint", 1],
  ["vcpu.0.state", "int", 1],
  ["vcpu.0.time", "ullong", 1n],
  ["vcpu.0.wait", "ullong", 0n],
  ["vcpu.0.delay", "ullong", 250_000_000n],
  ["net.count", "uint", 1],
  ["net.0.name", "string", "vnet0"],
  ...["rx", "tx"].flatMap((way) =>
    ["bytes", "pkts", "errs", "drop"].map((unit): Param => [`net.0.${way}.${unit}`, "ullong", 9n]),
  ),
  ["block.count", "uint", 1],
  ["block.0.name", "string", "vda"],
  ...["rd.reqs", "rd.bytes", "rd.times", "wr.reqs", "wr.bytes", "wr.times", "fl.reqs", "fl.times"].map(
    (field): Param => [`block.0.${field}`, "ullong", 3_000_000_000n],
  ),
  ["block.0.capacity", "ullong", 1_024n],
];

const SELF = {
  durations: {
    buckets: new Map([
      [0.5, 1],
      [1, 2],
    ]),
    count: 3,
    sum: 4.5,
  },
  cutShort: false,
  inFlightCalls: 2,
  reconnects: 1,
  droppedSamples: 0,
} as const;

describe("A page for Prometheus", () => {
  it("has the 33 names that the two common exporters share, with their types, labels and units, in each dialect", () => {
    expect(Object.keys(COMMON)).toHaveLength(33);
    for (const dialect of ["tinkoff", "inovex", "both"] as const) {
      const page = pageOf([recordOf("web-1", WHOLE)], { dialect });
      for (const [name, [type, labels]] of Object.entries(COMMON)) {
        expect(page).toContain(`\n# TYPE ${name} ${type}\n`.slice(name === "libvirt_up" ? 1 : 0));
        const [sample, ...others] = samplesNamed(page, name);
        expect([others.length, [...sample!.matchAll(/(\w+)="/g)].map(([, label]) => label).join()]).toEqual([
          0,
          labels,
        ]);
      }
      expect(page).toContain('libvirt_domain_info_cpu_time_seconds_total{domain="web-1"} 1.5\n');
      expect(page).toContain('libvirt_domain_info_memory_usage_bytes{domain="web-1"} 2048\n');
      expect(page).toContain('libvirt_domain_vcpu_delay_seconds_total{domain="web-1",vcpu="0"} 0.25\n');
      expect(page).toContain(
        'libvirt_domain_block_stats_read_time_seconds_total{domain="web-1",target_device="vda"} 3\n',
      );
      expect(page).toContain('libvirt_domain_memory_stats_used_percent{domain="web-1"} 75\n');
    }
  });

  it("has the names of a dialect only where that dialect is asked for", () => {
    const names = (dialect: "tinkoff" | "inovex" | "both") => familiesOf(dialect).map(({ name }) => name);
    expect(names("tinkoff")).toContain("libvirt_domain_info_vstate");
    expect(names("tinkoff")).not.toContain("libvirt_domain_info_state");
    expect(names("inovex")).not.toContain("libvirt_domain_info_vstate");
    expect(names("both")).toEqual(expect.arrayContaining(["libvirt_domain_info_vstate", "libvirt_domain_info_state"]));
    expect(new Set(names("both")).size).toBe(names("both").length);
    expect(pageOf([recordOf("web-1", WHOLE)], { dialect: "inovex" })).toContain(
      'libvirt_domain_info_state{domain="web-1",state_desc="the domain is running"} 1\n',
    );
  });

  it("has each family once, with all its samples, in both formats", () => {
    const records = ["web-1", "web-2", "web-3"].map((name) => recordOf(name, WHOLE));
    for (const format of ["text", "openmetrics"] as const) {
      const page = pageOf(records, { format, self: SELF });
      const heads = [...page.matchAll(/^# TYPE (\S+)/gm)].map(([, name]) => name);
      expect(new Set(heads).size).toBe(heads.length);
      for (const block of page.split(/^# HELP /m).slice(1)) {
        const [name] = block.split(" ");
        const samples = samplesOf(block.split("\n").slice(1).join("\n"));
        expect(samples.length).toBeGreaterThan(0);
        for (const sample of samples) expect(sample.startsWith(name!)).toBe(true);
      }
      expect(new Set(samplesOf(page).map((line) => line.replace(/ \S+$/, ""))).size).toBe(samplesOf(page).length);
    }
  });

  it("has no sample for a value that is not known, and no family without samples", () => {
    const page = pageOf([recordOf("off", [["state.state", "int", 5]]), recordOf("web-1", WHOLE)]);
    expect(samplesNamed(page, "libvirt_domain_info_cpu_time_seconds_total")).toHaveLength(1);
    expect(page).not.toContain("NaN");
    // The guest has never reported its memory.
    expect(page).not.toContain("last_update");
    expect(page).not.toContain("swap_in");
    const odd = pageOf([
      recordOf("odd", [
        ["cpu.time", "llong", -1n],
        ["balloon.available", "ullong", 0n],
        ["balloon.usable", "ullong", 0n],
        ["vcpu.0.time", "double", Number.NaN],
      ]),
    ]);
    expect(odd).not.toMatch(/cpu_time|used_percent|vcpu_time/);
  });

  it("says of each domain how complete, how old and how long without an answer its sample is", () => {
    const timeout = recordOf("web-1", [["state.state", "int", 1]], {
      status: "partial",
      reason: "timeout",
      missing: ["block", "perf"],
      steadyAt: 8_500,
    });
    const page = pageOf([timeout], { now: 10_000, stuckSince: 4_000 });
    const status = samplesNamed(page, "libvirt_domain_scrape_status");
    expect(status).toHaveLength(6);
    expect(status.filter((line) => line.endsWith(" 1"))).toEqual([
      'libvirt_domain_scrape_status{domain="web-1",status="timeout"} 1',
    ]);
    // Not perf: no family is made from it.
    expect(samplesNamed(page, "libvirt_domain_group_missing")).toEqual([
      'libvirt_domain_group_missing{domain="web-1",group="block"} 1',
    ]);
    expect(page).toContain('libvirt_domain_sample_age_seconds{domain="web-1"} 1.5\n');
    expect(page).toContain('libvirt_domain_stuck_seconds{domain="web-1"} 6\n');
    expect(page).toContain('libvirt_domain_timed_out{domain="web-1"} 1\n');
    const error = new VirstreamError("denied", "no");
    const words = [
      ["failed", "denied", "error"],
      ["failed", "busy", "busy"],
      ["partial", "quarantined", "skipped"],
      ["partial", "unsupported", "partial"],
    ] as const;
    for (const [status, reason, word] of words) {
      expect(pageOf([recordOf("a", [], { status, reason, error })])).toContain(`{domain="a",status="${word}"} 1\n`);
    }
  });

  it("leaves out a domain that is gone", () => {
    const page = pageOf([recordOf("old", WHOLE, { status: "gone" }), recordOf("web-1", WHOLE)]);
    expect(page).not.toContain("old");
  });

  it("never has two equal series, for domains, disks and hosts of one name", () => {
    const on = (host: string, id: number) => ({
      domain: new Domain("22222222-2222-2222-2222-222222222222", "web-1", id, host),
    });
    const twins: Param[] = [
      ["cpu.time", "ullong", 5_000_000_000n],
      ["block.0.name", "string", "vda"],
      ["block.0.rd.bytes", "ullong", 1n],
      ["block.1.name", "string", "vda"],
      ["block.1.rd.bytes", "ullong", 2n],
    ];
    const page = pageOf([
      recordOf("web-1", [["cpu.time", "ullong", 1n]], on("hv1", -1)),
      recordOf("web-1", twins, on("hv1", 4)),
    ]);
    expect(samplesNamed(page, "libvirt_domain_info_cpu_time_seconds_total")).toEqual([
      'libvirt_domain_info_cpu_time_seconds_total{domain="web-1"} 5',
    ]);
    expect(samplesNamed(page, "libvirt_domain_block_stats_read_bytes_total")).toEqual([
      'libvirt_domain_block_stats_read_bytes_total{domain="web-1",target_device="vda"} 1',
    ]);
    const hosts = [
      { name: "hv1", up: true },
      { name: "hv2", up: false },
    ];
    const both = pageOf([recordOf("web-1", WHOLE, on("hv1", 1)), recordOf("web-1", WHOLE, on("hv2", 1))], { hosts });
    expect(samplesNamed(both, "libvirt_up")).toEqual(['libvirt_up{host="hv1"} 1', 'libvirt_up{host="hv2"} 0']);
    expect(samplesNamed(both, "libvirt_domain_vcpu_state").map((line) => line.split("{")[1])).toEqual([
      'domain="web-1",host="hv1",vcpu="0"} 1',
      'domain="web-1",host="hv2",vcpu="0"} 1',
    ]);
  });

  it("escapes what names have", () => {
    const page = pageOf([recordOf('a"b\\c\nd', WHOLE)], { format: "openmetrics" });
    expect(page).toContain('libvirt_domain_info_virtual_cpus{domain="a\\"b\\\\c\\nd"} 1\n');
  });

  it("is OpenMetrics where the scraper prefers it: units, counters without _total in their heads, and an end", () => {
    const page = pageOf([recordOf("web-1", WHOLE)], { format: "openmetrics", self: SELF });
    expect(page).toContain(
      "# TYPE libvirt_domain_info_cpu_time_seconds counter\n# UNIT libvirt_domain_info_cpu_time_seconds seconds\n" +
        'libvirt_domain_info_cpu_time_seconds_total{domain="web-1"} 1.5\n',
    );
    expect(page).toContain("# TYPE libvirt_domain_block_stats_read_requests counter\n");
    expect(page).not.toMatch(/^# (TYPE|HELP|UNIT) \S+_total /m);
    expect(page).toContain('libvirt_exporter_collect_duration_seconds_bucket{le="1.0"} 2\n');
    expect(page.endsWith("\n# EOF\n")).toBe(true);
    const text = pageOf([recordOf("web-1", WHOLE)], { self: SELF });
    expect(text).toContain('libvirt_exporter_collect_duration_seconds_bucket{le="1"} 2\n');
    expect(text).not.toMatch(/# (EOF|UNIT)/);
  });

  it("comes in chunks of bounded size, whatever the number of domains", () => {
    const records = Array.from({ length: 3_000 }, (_, i) => recordOf(`guest-${i}`, WHOLE));
    const chunks = chunksOf(records);
    expect(Math.max(...chunks.map(({ length }) => length))).toBeLessThan(500_000);
    expect(chunks.length).toBeGreaterThan(100);
    expect(samplesNamed(chunks.join(""), "libvirt_domain_vcpu_state")).toHaveLength(3_000);
  });
});

describe("The format of a page", () => {
  it("is what the request accepts, by its q-values", () => {
    const prometheus =
      "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
    const protobufFirst =
      "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,text/plain;version=0.0.4;q=0.3";
    for (const accept of [prometheus, protobufFirst, 'Application/OpenMetrics-Text; version="1.0.0"']) {
      expect(negotiate(accept)).toBe("openmetrics");
    }
    for (const accept of [
      undefined,
      "",
      "*/*",
      "text/html",
      "text/plain,application/openmetrics-text;q=0.9",
      "text/plain;q=0.5,application/openmetrics-text;version=2.0.0",
      "text/plain;q=0.2,application/openmetrics-text;q=0",
      "text/plain;q=0.2,application/openmetrics-text;q=many",
      `${"x/y,".repeat(40)}application/openmetrics-text`,
    ]) {
      expect(negotiate(accept)).toBe("text");
    }
  });
});
