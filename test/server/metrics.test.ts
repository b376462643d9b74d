import { once } from "node:events";
import { get as httpGet } from "node:http";
import { describe, expect, it } from "vitest";
import "../../src/drivers/builtin.ts";
import { connect, connectAll } from "../../src/client/connect.ts";
import { Connection } from "../../src/client/connection.ts";
import { sleep } from "../../src/driver/clock.ts";
import { VirstreamError } from "../../src/model/error.ts";
import type { DomainStatsRecord } from "../../src/model/record.ts";
import { type ServeOptions, serve, type VirstreamServer } from "../../src/server/server.ts";
import { answerAt } from "../answer.ts";
import { samplesNamed, samplesOf } from "../outlets/prometheus/page.ts";
import { own } from "../owned.ts";
import { until } from "../until.ts";
import { aborted, ScriptedDriver } from "./scripted-driver.ts";
import { startServer } from "./serving.ts";
import { TickingHost } from "./ticking-host.ts";

const at = (server: VirstreamServer): string => `${server.url.replace("ws:", "http:")}/metrics`;

async function scrape(server: VirstreamServer, headers: Record<string, string> = {}): Promise<string> {
  const response = await fetch(at(server), { headers });
  expect(response.status).toBe(200);
  return response.text();
}

async function serveUri(uri: string, options: ServeOptions = {}): Promise<VirstreamServer> {
  return own(await serve(own(await connect(uri)), { port: 0, ...options }));
}

/** The names of the domains of a page. */
const domainsOf = (page: string): string[] => [
  ...new Set([...page.matchAll(/domain="([^"]*)"/g)].map(([, name]) => name!)),
];

describe("/metrics of a server", () => {
  it("is a page in the format that the scraper prefers", async () => {
    const server = await serveUri("test:///default?domains=3");
    const text = await fetch(at(server));
    expect(text.headers.get("content-type")).toBe("text/plain; version=0.0.4; charset=utf-8");
    const page = await text.text();
    expect(page).toMatch(/^libvirt_up 1$/m);
    expect(domainsOf(page)).toEqual(["guest-00000", "guest-00001", "guest-00002"]);
    const open = await fetch(at(server), { headers: { accept: "application/openmetrics-text;version=1.0.0" } });
    expect(open.headers.get("content-type")).toBe("application/openmetrics-text; version=1.0.0; charset=utf-8");
    expect((await open.text()).endsWith("# EOF\n")).toBe(true);
    const head = await fetch(at(server), { method: "HEAD" });
    expect([head.status, await head.text()]).toEqual([200, ""]);
  });

  it("has the names of the dialect that was asked for", async () => {
    const server = await serveUri("test:///default?domains=1", { metrics: { dialect: "inovex" } });
    const page = await scrape(server);
    expect(page).toContain("libvirt_domain_info_state{");
    expect(page).not.toContain("libvirt_domain_info_vstate");
    await expect(serveUri("test:///default", { metrics: { dialect: "kumina" as "both" } })).rejects.toMatchObject({
      code: "invalid-argument",
    });
  });

  it("is only for clients with the token that shows every domain, and for no page of another site", async () => {
    const viewers = [{ name: "tenant", token: "only-one", domains: ["guest-00000"] }];
    const server = await serveUri("test:///default?domains=2", { token: "secret-secret", viewers });
    const status = async (headers: Record<string, string>) => (await fetch(at(server), { headers })).status;
    expect(await status({})).toBe(401);
    expect(await status({ authorization: "Bearer wrong" })).toBe(401);
    expect(await status({ authorization: "Bearer only-one" })).toBe(403);
    expect(await status({ authorization: "Bearer secret-secret" })).toBe(200);
    const open = await serveUri("test:///default?domains=1");
    expect((await answerAt(at(open), { headers: { host: "attacker.example" } })).status).toBe(403);
  });

  it("costs one sweep for scrapes that come together, and none while a watch runs", async () => {
    let release = (): void => {};
    const driver = new ScriptedDriver(async function* (self) {
      await new Promise<void>((resolve) => {
        release = resolve;
      });
      yield [self.record(0)];
    });
    const server = await startServer(driver);
    const scrapes = [scrape(server), scrape(server), scrape(server)];
    await until(() => driver.running === 1);
    release();
    for (const page of await Promise.all(scrapes)) expect(domainsOf(page)).toEqual(["domain-0"]);
    expect(driver.queries).toHaveLength(1);

    const host = new TickingHost(2);
    own(host);
    const watched = await host.serve();
    using table = host.connection.table({}, { intervalMs: 1_000 });
    await host.tick(2);
    await table.ready;
    const before = host.driver.queries.length;
    expect(domainsOf(await scrape(watched))).toEqual(["domain-0", "domain-1"]);
    expect(host.driver.queries).toHaveLength(before);
  });

  it("is answered from a watch of its own where it has one, so that scrapes cost the hypervisor nothing", async () => {
    const host = new TickingHost(3);
    own(host);
    const server = await host.serve({ metrics: { intervalMs: 5_000 } });
    const first = scrape(server);
    await host.tick(1, 5_000);
    expect(domainsOf(await first)).toEqual(["domain-0", "domain-1", "domain-2"]);
    const swept = host.driver.queries.length;
    const pages = await Promise.all([scrape(server), scrape(server)]);
    expect(host.driver.queries).toHaveLength(swept);
    expect(samplesNamed(pages[0]!, "libvirt_exporter_collect_duration_seconds_count")).toHaveLength(1);
    // A domain that is removed has no series from the next sweep on.
    host.script = () => [host.driver.record(2)];
    await host.tick(1, 5_000);
    expect(domainsOf(await scrape(server))).toEqual(["domain-2"]);
  });

  it("says that the hypervisor is away, and still has status 200", async () => {
    const host = new TickingHost(2);
    own(host);
    const server = await host.serve({ metrics: { intervalMs: 1_000 } });
    await host.tick();
    expect(await scrape(server)).toMatch(/^libvirt_up 1$/m);
    host.failure = new VirstreamError("connection-lost", "it is gone");
    await host.tick();
    const page = await scrape(server);
    expect(page).toMatch(/^libvirt_up 0$/m);
    expect(domainsOf(page)).toEqual([]);
    host.failure = undefined;
    await host.tick();
    expect(await scrape(server)).toMatch(/^libvirt_up 1$/m);

    const failing = await startServer(
      new ScriptedDriver(async function* () {
        yield await Promise.reject(new VirstreamError("connection-lost", "it is gone"));
      }),
    );
    expect(await scrape(failing)).toMatch(/^libvirt_up 0$/m);
  });

  it("has what came within the scraper's time, and says that it was cut short", async () => {
    const driver = new ScriptedDriver(async function* (self, { signal }) {
      yield [self.record(0)];
      await aborted(signal);
    });
    const server = await startServer(driver);
    const page = await scrape(server, { "x-prometheus-scrape-timeout-seconds": "0.5" });
    expect(domainsOf(page)).toEqual(["domain-0"]);
    expect(page).toMatch(/^libvirt_exporter_collect_cut_short 1$/m);
    // A domain's own deadline is shorter than the scraper's time.
    expect(driver.queries[0]!.deadlineMs).toBeLessThan(500);
    await until(() => driver.running === 0);
  });

  it("has a guest that is frozen, with its status, its missing groups and how long it has been so", async () => {
    const server = await serveUri("test:///default?domains=4&freeze=1");
    const timeout = { "x-prometheus-scrape-timeout-seconds": "0.5" };
    const page = await scrape(server, timeout);
    expect(page).toContain('libvirt_domain_scrape_status{domain="guest-00001",status="timeout"} 1');
    expect(page).toContain('libvirt_domain_group_missing{domain="guest-00001",group="block"} 1');
    expect(page).toContain('libvirt_domain_info_vstate{domain="guest-00001"} 1');
    expect(samplesNamed(page, "libvirt_domain_info_cpu_time_seconds_total")).toHaveLength(3);
    expect(page).toContain('libvirt_domain_stuck_seconds{domain="guest-00000"} 0\n');
    expect(page).not.toContain('libvirt_domain_stuck_seconds{domain="guest-00001"} 0\n');
  });

  it("has the label host where there are several, and of each whether it can be reached", async () => {
    const uris = ["test:///default?domains=2&host=hv1", "test:///default?domains=2&host=hv2"];
    const connection = own(await connectAll([...uris, "ws://127.0.0.1:9"]));
    const server = own(await serve(connection, { port: 0 }));
    const page = await scrape(server);
    expect(samplesNamed(page, "libvirt_up")).toEqual([
      'libvirt_up{host="hv1"} 1',
      'libvirt_up{host="hv2"} 1',
      'libvirt_up{host="ws://127.0.0.1:9"} 0',
    ]);
    const series = samplesOf(page).map((line) => line.replace(/ \S+$/, ""));
    expect(new Set(series).size).toBe(series.length);
    expect(samplesNamed(page, "libvirt_domain_info_virtual_cpus")).toHaveLength(4);
  });

  it("breaks off a page that its reader does not take in time, and makes at most 8 at a time", async () => {
    const records: DomainStatsRecord[] = [];
    const driver = new ScriptedDriver(async function* () {
      yield records;
    });
    for (let i = 0; i < 20_000; i++) records.push(driver.record(i));
    const server = own(await serve(own(new Connection(driver)), { port: 0 }));
    const statusOfOne = async (): Promise<number> => {
      const request = httpGet(at(server), { agent: false, headers: { "x-prometheus-scrape-timeout-seconds": "3" } });
      request.on("error", () => {});
      own({ close: () => request.destroy() });
      // It takes nothing of the page.
      const [response] = await once(request, "response");
      response.on("error", () => {});
      return response.statusCode;
    };
    const statuses = await Promise.all(Array.from({ length: 9 }, statusOfOne));
    expect(statuses.sort()).toEqual([...Array(8).fill(200), 503]);
    const status = async (): Promise<number> => (await fetch(at(server), { method: "HEAD" })).status;
    expect(await status()).toBe(503);
    while ((await status()) !== 200) await sleep(20);
  });

  it("is all that a server without WebSockets has", async () => {
    const server = await serveUri("test:///default?domains=1", { webSockets: false });
    expect(await scrape(server)).toMatch(/^libvirt_up 1$/m);
    await expect(connect(server.url)).rejects.toThrow(/404/);
    const landing = await fetch(server.url.replace("ws:", "http:"));
    expect([landing.status, await landing.text()]).toEqual([
      200,
      "This is virstream's exporter for Prometheus: /metrics\n",
    ]);
  });
});
