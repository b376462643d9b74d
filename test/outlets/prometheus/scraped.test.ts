import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import "../../../src/drivers/builtin.ts";
import { connect } from "../../../src/client/connect.ts";
import { serve } from "../../../src/server/server.ts";
import { FaultLab, faultRequirements } from "../../lab/fault-lab.ts";
import { Prometheus } from "../../lab/prometheus.ts";
import { describeWith } from "../../lab/requirement.ts";
import { PATIENCE } from "../../until.ts";

const examples = new URL("../../../examples/prometheus/", import.meta.url);
const rules = fileURLToPath(new URL("alerts.yml", examples));
const dashboard = JSON.parse(readFileSync(new URL("dashboard.json", examples), "utf8")) as {
  panels: { title: string; targets: { expr: string }[] }[];
};
const TOKEN = "a token of the test";
/** What users of the two common exporters compute, each with its bounds. */
const SHAPES: readonly [query: string, least: number, most: number][] = [
  ["rate(libvirt_domain_info_cpu_time_seconds_total[10s]) / libvirt_domain_vcpu_current * 100", 0, 120],
  ["rate(libvirt_domain_info_cpu_time_seconds_total[10s]) / libvirt_domain_info_virtual_cpus * 100", 0, 120],
  [
    "sum by (domain)(rate(libvirt_domain_vcpu_delay_seconds_total[10s])) / sum by (domain)(rate(libvirt_domain_vcpu_time_seconds_total[10s]) > 0) * 100",
    0,
    1e5,
  ],
  [
    "rate(libvirt_domain_block_stats_read_time_seconds_total[10s]) / (rate(libvirt_domain_block_stats_read_requests_total[10s]) > 0) * 1000",
    0,
    10_000,
  ],
  ["libvirt_domain_info_vstate * on (domain) group_left(uuid) libvirt_domain_info_meta", 1, 1],
  ["count by (domain) (libvirt_domain_block_stats_info)", 1, 1],
];

describeWith([...faultRequirements, "prometheus"], "A real Prometheus that scrapes QEMU guests", () => {
  it("gets sane values from every query, also while half of the guests are frozen, and loses no scrape", async () => {
    await using lab = await FaultLab.start(12);
    await using connection = await connect(lab.libvirtd.uri);
    const metrics = { dialect: "both", intervalMs: 1_000 } as const;
    await using server = await serve(connection, { port: 0, token: TOKEN, metrics });
    const page = new URL(`${server.url.replace("ws:", "http:")}/metrics`);
    await using prometheus = await Prometheus.start(page, TOKEN, rules);
    const value = (query: string) => expect.poll(() => prometheus.value(query), PATIENCE);
    await value("count(libvirt_domain_info_vstate == 1)").toBe(12);
    for (const [query, least, most] of SHAPES) {
      await expect
        .poll(async () => [query, (await prometheus.query(query)).length > 0], PATIENCE)
        .toEqual([query, true]);
      for (const sample of await prometheus.query(query)) {
        expect([query, sample.value >= least && sample.value <= most]).toEqual([query, true]);
      }
    }
    for (const { title, targets } of dashboard.panels) {
      for (const { expr } of targets) {
        const query = expr.replaceAll("$__rate_interval", "10s").replaceAll("$domain", ".*");
        await expect
          .poll(async () => [title, (await prometheus.query(query)).length > 0], PATIENCE)
          .toEqual([title, true]);
      }
    }
    await expect
      .poll(async () => [...new Set((await prometheus.rules()).map(({ health }) => health))], PATIENCE)
      .toEqual(["ok"]);

    lab.freeze(6);
    await value('count(libvirt_domain_scrape_status{status=~"timeout|skipped"} == 1)').toBe(6);
    await value("count(libvirt_domain_info_cpu_time_seconds_total)").toBe(6);
    await value("count(libvirt_domain_stuck_seconds > 3)").toBe(6);
    expect(await prometheus.value("libvirt_up")).toBe(1);
    expect(await prometheus.value("count(libvirt_domain_info_vstate == 1)")).toBe(12);
    expect(await prometheus.value("min_over_time(up[1m])")).toBe(1);
    await lab.calm();
    await value("count(libvirt_domain_stuck_seconds == 0)").toBe(12);
  });
});

describeWith(["prometheus"], "The alert rules in examples/", () => {
  it("are correct, and fire for a frozen guest, a full disk and a host that is away", () => {
    for (const [command, file] of [
      ["check", rules],
      ["test", fileURLToPath(new URL("alerts.test.yml", examples))],
    ] as const) {
      const { status, stdout, stderr } = spawnSync("promtool", [command, "rules", file], { encoding: "utf8" });
      expect([status, stdout + stderr]).toEqual([0, expect.stringContaining("SUCCESS")]);
    }
  });
});
