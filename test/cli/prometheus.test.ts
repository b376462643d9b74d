/** @module-tag any-node */

import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { afterEach, describe, expect, it } from "vitest";
import { describeWith } from "../lab/requirement.ts";
import { samplesNamed } from "../outlets/prometheus/page.ts";
import { aborted, ScriptedDriver } from "../server/scripted-driver.ts";
import { startServer } from "../server/serving.ts";
import { until } from "../until.ts";
import { start, virstream } from "./run.ts";

const ends: (() => unknown)[] = [];

afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

/** A page, and its status. The connection is closed: Node would keep it. */
async function read(url: string, headers: Record<string, string> = {}): Promise<{ status: number; text: string }> {
  const response = await fetch(url, { headers: { connection: "close", ...headers } });
  return { status: response.status, text: await response.text() };
}

/** Starts `virstream serve` and reads its first lines, which are URLs. */
async function serveUrls(args: readonly string[], count: number): Promise<string[]> {
  const child = start(["serve", ...args]);
  ends.push(async () => {
    child.kill("SIGTERM");
    expect((await once(child, "close"))[0]).toBe(0);
  });
  child.stderr.resume();
  const urls: string[] = [];
  for await (const line of createInterface(child.stdout)) if (urls.push(line) === count) break;
  return urls;
}

describe("virstream serve --metrics", () => {
  it("has a page for Prometheus on loopback, at a port of its own, and nothing else", async () => {
    const [url] = await serveUrls(["test:///default?domains=3", "--metrics", "0", "--metrics-interval", "1s"], 1);
    expect(url).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/metrics$/);
    const { text: page } = await read(url!);
    expect(samplesNamed(page, "libvirt_domain_info_vstate")).toHaveLength(3);
    const other = await virstream(["get", url!.replace("http:", "ws:").replace("/metrics", "")]);
    expect(other.code).toBe(1);
  });

  it("has both with --listen, and the names of the dialect", async () => {
    const args = ["test:///default?domains=3", "--metrics", "0", "--listen", "0", "--dialect", "inovex"];
    const [url, metrics] = await serveUrls(args, 2);
    expect((await virstream(["get", url!, "--state"])).code).toBe(0);
    for (const page of [metrics!, `${url!.replace("ws:", "http:")}/metrics`]) {
      const { text } = await read(page);
      expect(samplesNamed(text, "libvirt_domain_info_state")).toHaveLength(3);
      expect(text).not.toContain("libvirt_domain_info_vstate");
    }
  });

  it("has only the domains and the groups that are asked for, with a watch of its own and without one", async () => {
    const only = ["--metrics-name", "guest-0000[12]", "--metrics-groups", "state,cpu-total", "--dialect", "both"];
    const args = ["test:///default?domains=5", "--metrics", "0", "--listen", "0", ...only];
    const [url, metrics] = await serveUrls(args, 2);
    for (const page of [metrics!, `${url!.replace("ws:", "http:")}/metrics`]) {
      const { text } = await read(page);
      expect(samplesNamed(text, "libvirt_domain_info_cpu_time_seconds_total")).toHaveLength(2);
      expect(samplesNamed(text, "libvirt_domain_info_meta")).toHaveLength(2);
      expect(samplesNamed(text, "libvirt_domains")).toEqual(["libvirt_domains 2"]);
      expect(samplesNamed(text, "libvirt_domain_scrape_status").filter((line) => line.endsWith(" 1"))).toEqual([
        'libvirt_domain_scrape_status{domain="guest-00001",status="ok"} 1',
        'libvirt_domain_scrape_status{domain="guest-00002",status="ok"} 1',
      ]);
      expect(text).not.toMatch(
        /libvirt_domain_(vcpu|memory_stats|block_stats_read|interface_stats_receive|group_missing)/,
      );
    }
  });

  it("needs the token where there is one, and beyond loopback", async () => {
    const folder = await mkdtemp(join(tmpdir(), "virstream-"));
    ends.push(() => rm(folder, { recursive: true }));
    const file = join(folder, "token");
    await writeFile(file, "open sesame\n", { mode: 0o600 });
    const [url] = await serveUrls(["test:///default", "--metrics", "0", "--token-file", file], 1);
    expect((await read(url!)).status).toBe(401);
    expect((await read(url!, { authorization: "Bearer open sesame" })).status).toBe(200);
    const open = await virstream(["serve", "test:///default", "--metrics", "0.0.0.0:0"]);
    expect([open.code, open.stderr]).toEqual([2, expect.stringContaining("[invalid-argument]")]);
  });

  it("refuses what does not go together", async () => {
    for (const [args, reason] of [
      [["serve", "--metrics", "nine"], "--metrics takes HOST:PORT"],
      [["serve", "--metrics-interval", "5s"], "goes with --metrics"],
      [
        ["serve", "--metrics", "0", "--metrics-groups", "cpu"],
        '--metrics-groups has no "cpu" (did you mean vcpu?): choose one of state, cpu-total',
      ],
      [["serve", "--metrics", "0", "--dialect", "kumina"], '--dialect has no "kumina"'],
      [["get", "--dialect", "both"], "goes with --format prometheus"],
      [["get", "--metrics-metadata", "a=/title"], "goes with --format prometheus"],
      [["get", "--metrics-extra", "vcpu-cpu"], "goes with --format prometheus"],
      [
        ["get", "--format", "prometheus", "--metrics-extra", "cpu"],
        '--metrics-extra has no "cpu": choose one of blkiotune, vcpu-cpu',
      ],
      [["get", "--format", "prometheus", "--metrics-extra", "pools"], "goes with virstream serve"],
      [["get", "--format", "prometheus", "--raw"], "--raw"],
      [["get", "--format", "prometheus", "--rates"], "--rates"],
      [["watch", "--format", "prometheus"], "virstream serve --metrics"],
    ] as const) {
      const { code, stderr } = await virstream(args);
      expect([args, code, stderr]).toEqual([args, 2, expect.stringContaining(reason)]);
    }
  });
});

describe("virstream get --format prometheus", () => {
  it("prints one page of the whole sweep, for node_exporter's textfile collector", async () => {
    const { stdout, code } = await virstream(["get", "test:///default?domains=3", "--format", "prometheus"]);
    expect(code).toBe(0);
    expect(samplesNamed(stdout, "libvirt_domain_info_vstate")).toHaveLength(3);
    expect(stdout).toMatch(/^libvirt_up 1$/m);
    expect(stdout).not.toContain("libvirt_exporter_");
    const both = await virstream(["get", "test:///default", "--format", "prometheus", "--dialect", "both"]);
    for (const name of ["libvirt_domain_info_state", "libvirt_domain_info_vstate"]) {
      expect(samplesNamed(both.stdout, name)).toHaveLength(12);
    }
  });

  it("has what identifies the domains, as the server's page has, and the texts that are asked for", async () => {
    const args = ["--format", "prometheus", "--dialect", "both", "--metrics-metadata", "flavor=instance/flavor@name"];
    const { stdout, stderr } = await virstream(["get", "test:///default?domains=3", ...args]);
    expect(stderr).toBe("");
    const [url] = await serveUrls(["test:///default?domains=3", "--metrics", "0", ...args.slice(2)], 1);
    const { text: page } = await read(url!);
    const names = ["libvirt_domain_info_meta", "libvirt_domain_openstack_info", "libvirt_domain_block_meta"];
    for (const name of [...names, "libvirt_domain_metadata_info", "libvirt_domain_interface_stats_info"]) {
      expect(samplesNamed(stdout, name).length).toBeGreaterThanOrEqual(3);
      expect(samplesNamed(stdout, name)).toEqual(samplesNamed(page, name));
    }
  });

  it("says why the texts that are asked for are not there, and that a path cannot be read", async () => {
    const driver = new ScriptedDriver(async function* (self) {
      yield [self.record(0)];
    });
    const server = await startServer(driver);
    const asked = ["--format", "prometheus", "--metrics-metadata", "title=/title"];
    const { stdout, stderr } = await virstream(["get", server.url, ...asked]);
    expect(stderr).toMatch(
      /there are no series about the identity of domains: .* must be connected to their hypervisor itself/,
    );
    expect(stdout).toMatch(/^libvirt_up 1$/m);
    expect((await virstream(["get", server.url, "--format", "prometheus"])).stderr).toBe("");
    const bad = await virstream(["get", "test:///default", "--format", "prometheus", "--metrics-metadata", "title"]);
    expect([bad.code, bad.stderr]).toEqual([1, expect.stringContaining("[invalid-argument]")]);
  });

  it("says of a frozen guest what is missing, and since when", async () => {
    const uri = "test:///default?domains=2&freeze=1";
    const { stdout, code } = await virstream(["get", uri, "--format", "prometheus", "--deadline", "300ms"]);
    expect(code).toBe(3);
    expect(stdout).toContain('libvirt_domain_scrape_status{domain="guest-00001",status="timeout"} 1\n');
    expect(stdout).toMatch(/libvirt_domain_stuck_seconds\{domain="guest-00001"\} 0\.\d+\n/);
  });

  it("prints nothing when the sweep is interrupted: the domains that are missing would seem to have left", async () => {
    const driver = new ScriptedDriver(async function* (self, { signal }) {
      yield [self.record(0)];
      await aborted(signal);
    });
    const server = await startServer(driver);
    const child = start(["get", server.url, "--format", "prometheus"]);
    let stdout = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      stdout += text;
    });
    child.stderr.resume();
    await until(() => driver.running === 1);
    child.kill("SIGINT");
    expect((await once(child, "close"))[0]).toBe(130);
    expect(stdout).toBe("");
  });
});

describeWith(["prometheus"], "Prometheus's own checker", () => {
  it("finds nothing to say about a page, in each dialect", async () => {
    for (const dialect of ["tinkoff", "inovex", "both"]) {
      const { stdout } = await virstream(["get", "test:///default", "--format", "prometheus", "--dialect", dialect]);
      const { status, stderr } = spawnSync("promtool", ["check", "metrics"], { input: stdout, encoding: "utf8" });
      expect([dialect, status, stderr]).toEqual([dialect, 0, ""]);
    }
    const [url] = await serveUrls(["test:///default", "--metrics", "0", "--dialect", "both"], 1);
    const { text: page } = await read(url!);
    const { status, stderr } = spawnSync("promtool", ["check", "metrics"], { input: page, encoding: "utf8" });
    expect([status, stderr]).toEqual([0, ""]);
  });
});
