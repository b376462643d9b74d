import { spawnSync } from "node:child_process";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, expect, it, vi } from "vitest";
import "../../../src/drivers/builtin.ts";
import { connect } from "../../../src/client/connect.ts";
import { STEADY_CLOCK } from "../../../src/driver/clock.ts";
import { PROCEDURES } from "../../../src/drivers/libvirt/rpc/procedures.ts";
import { Exporter } from "../../../src/outlets/prometheus/exporter.ts";
import { start } from "../../cli/run.ts";
import { createGuest } from "../../lab/guest.ts";
import { HangingFolder } from "../../lab/hanging-folder.ts";
import { type Libvirtd, startLibvirtd } from "../../lab/libvirtd.ts";
import { describeWith, labRequirements } from "../../lab/requirement.ts";
import { RpcProxy } from "../../lab/rpc-proxy.ts";
import { PATIENCE } from "../../until.ts";
import { samplesNamed } from "./page.ts";

const MINUTE = 60_000;
const needs = [...labRequirements, "a file system in user space", "prometheus"] as const;

describeWith(needs, "The storage pools of a real libvirtd", () => {
  let libvirtd: Libvirtd;

  /** Runs virsh, which must succeed. */
  const virsh = async (...args: string[]): Promise<string> => {
    const { stdout, stderr, code } = await libvirtd.virsh(...args);
    expect([args, code, stderr]).toEqual([args, 0, ""]);
    return stdout;
  };

  /** Defines a pool that is a folder. */
  const define = async (name: string): Promise<string> => {
    const folder = join(libvirtd.directory, `pool-${name}`);
    const file = join(libvirtd.directory, `${name}.xml`);
    await mkdir(folder);
    await writeFile(file, `<pool type="dir"><name>${name}</name><target><path>${folder}</path></target></pool>`);
    await virsh("pool-define", file);
    return folder;
  };

  beforeAll(async () => {
    libvirtd = await startLibvirtd();
    for (const name of ["images", "spare"]) await define(name);
    await virsh("pool-start", "images");
  });

  afterEach(() => {
    vi.restoreAllMocks();
  });

  afterAll(async () => {
    await libvirtd?.stop();
  });

  /** Moves the clock of the reader of pools. */
  const clock = () => {
    let ahead = 0;
    vi.spyOn(STEADY_CLOCK, "now").mockImplementation(() => performance.now() + ahead);
    return {
      minuteLater: (): void => {
        ahead += MINUTE;
      },
    };
  };

  const pageOf = async (exporter: Exporter): Promise<string> => {
    let page = "";
    for await (const chunk of exporter.page()) page += chunk;
    return page;
  };
  /** The sample of a pool; undefined: it has none. */
  const value = (page: string, name: string, pool: string): number | undefined => {
    const [line] = samplesNamed(page, name).filter((each) => each.includes(`pool="${pool}"}`));
    return line === undefined ? undefined : Number(line.split(" ").at(-1));
  };

  it("have the sizes that virsh shows while they are active, a state at any time, and no series once they are undefined", async () => {
    const { minuteLater } = clock();
    await using connection = await connect(libvirtd.uri);
    await using exporter = new Exporter(connection, { dialect: "both", extras: ["pools"] });
    expect(await exporter.pools()).toBe(undefined);
    const page = await pageOf(exporter);
    const shown = await virsh("pool-info", "--bytes", "images");
    for (const of of ["capacity", "allocation", "available"]) {
      const bytes = Number(new RegExp(`${of}: +(\\d+)`, "i").exec(shown)?.[1]);
      expect(bytes).toBeGreaterThan(0);
      expect(value(page, `libvirt_pool_info_${of}_bytes`, "images")).toBe(bytes);
      expect(value(page, `libvirt_storage_pool_${of}_bytes`, "images")).toBe(bytes);
      expect(value(page, `libvirt_pool_info_${of}_bytes`, "spare")).toBe(undefined);
    }
    expect(samplesNamed(page, "libvirt_storage_pool_state").sort()).toEqual([
      'libvirt_storage_pool_state{storage_pool="images"} 2',
      'libvirt_storage_pool_state{storage_pool="spare"} 0',
    ]);
    expect(samplesNamed(page, "libvirt_storage_pool_timed_out")).toHaveLength(2);
    const { status, stderr } = spawnSync("promtool", ["check", "metrics"], { input: page, encoding: "utf8" });
    expect([status, stderr]).toEqual([0, ""]);

    await virsh("pool-destroy", "images");
    await virsh("pool-start", "spare");
    minuteLater();
    const swapped = await pageOf(exporter);
    expect(value(swapped, "libvirt_storage_pool_state", "images")).toBe(0);
    expect(value(swapped, "libvirt_pool_info_capacity_bytes", "images")).toBe(undefined);
    expect(value(swapped, "libvirt_pool_info_capacity_bytes", "spare")).toBeGreaterThan(0);
    await virsh("pool-destroy", "spare");
    await virsh("pool-undefine", "spare");
    await virsh("pool-start", "images");
    minuteLater();
    const last = await pageOf(exporter);
    expect(last).not.toContain("spare");
    expect(value(last, "libvirt_storage_pool_state", "images")).toBe(2);
  });

  it("are on the page while the storage of one of them hangs, which costs one call, and the guests are, too", async () => {
    const { minuteLater } = clock();
    const guest = await createGuest(libvirtd, { name: "vm1", paused: true });
    const folder = await define("a-share");
    await virsh("pool-start", "a-share");
    await using proxy = await RpcProxy.start(libvirtd.readOnlySocket);
    await using connection = await connect(proxy.uri);
    await using exporter = new Exporter(connection, { dialect: "both", extras: ["pools"] });
    expect(value(await pageOf(exporter), "libvirt_storage_pool_timed_out", "a-share")).toBe(0);

    const hanging = await HangingFolder.mount(libvirtd, folder);
    const waiting = [libvirtd.virsh("pool-refresh", "a-share")];
    try {
      const asked = (procedure: number) => proxy.calls.filter((call) => call.procedure === procedure).length;
      // From the moment on when the refresh hangs, virsh does as well.
      const hangs = async (): Promise<boolean> => {
        waiting.push(libvirtd.virsh("pool-info", "a-share"));
        return Promise.race([waiting.at(-1)!.then(() => false), sleep(500, true)]);
      };
      await expect.poll(hangs, PATIENCE).toBe(true);
      const infos = asked(PROCEDURES.poolInfo.number);
      const pools = samplesNamed(await pageOf(exporter), "libvirt_storage_pool_timed_out").length;
      minuteLater();
      await expect
        .poll(async () => {
          const page = await pageOf(exporter);
          expect(page).toContain(`libvirt_domain_info_meta{domain="${guest.name}",uuid="${guest.uuid}"`);
          expect(page).toMatch(/^libvirt_up 1$/m);
          return value(page, "libvirt_storage_pool_timed_out", "a-share");
        }, PATIENCE)
        .toBe(1);
      // The other pools follow in the same read.
      await expect.poll(() => asked(PROCEDURES.poolInfo.number), PATIENCE).toBe(infos + pools);
      const lists = asked(PROCEDURES.listPools.number);
      for (let read = 0; read < 5; read++) {
        minuteLater();
        let page = "";
        const available = async (): Promise<number> => {
          page = await pageOf(exporter);
          return value(page, "libvirt_pool_info_available_bytes", "images") ?? 0;
        };
        // The page does not wait for a read that takes longer than its deadline.
        await expect.poll(available, PATIENCE).toBeGreaterThan(0);
        expect(value(page, "libvirt_storage_pool_timed_out", "images")).toBe(0);
        expect(value(page, "libvirt_pool_info_available_bytes", "a-share")).toBe(undefined);
      }
      expect(proxy.unanswered(PROCEDURES.poolInfo.number)).toBe(1);
      expect(proxy.unanswered(PROCEDURES.listPools.number)).toBe(0);
      expect(asked(PROCEDURES.listPools.number)).toBe(lists);
    } finally {
      await hanging.release();
      await Promise.all(waiting);
    }
    await expect
      .poll(async () => {
        minuteLater();
        const page = await pageOf(exporter);
        // A pool whose refresh fails is stopped.
        return [
          value(page, "libvirt_storage_pool_timed_out", "a-share"),
          value(page, "libvirt_storage_pool_state", "a-share"),
        ];
      }, PATIENCE)
      .toEqual([0, 0]);
    const allowed = new Set(Object.values(PROCEDURES).map(({ number }) => number));
    for (const { program, procedure } of proxy.calls) if (program === 0x20008086) expect(allowed).toContain(procedure);
    expect(connection.driver.unansweredCalls).toBe(0);
  });

  it("are on the page of virstream serve, which says at its start where there are none", async () => {
    const serve = async (uri: string): Promise<{ page: string; log: string }> => {
      const server = start(["serve", uri, "--metrics", "0", "--metrics-extra", "pools"]);
      let log = "";
      server.stderr.on("data", (text) => {
        log += text;
      });
      try {
        const url = await new Promise<string>((resolve) =>
          server.stdout.once("data", (text) => resolve(String(text).trim())),
        );
        const page = await (await fetch(url, { headers: { connection: "close" } })).text();
        if (!page.includes("libvirt_pool_info")) await expect.poll(() => log, PATIENCE).toContain("storage pools");
        return { page, log };
      } finally {
        server.kill();
      }
    };
    const { page, log } = await serve(libvirtd.uri);
    expect(value(page, "libvirt_pool_info_capacity_bytes", "images")).toBeGreaterThan(0);
    expect(log).not.toContain("storage pools");
    const without = await serve("test:///default?domains=1");
    expect(without.log).toMatch(
      /\/metrics has no series about storage pools: .* must be connected to their hypervisor itself/,
    );
  });
});
