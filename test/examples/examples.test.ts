import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";
import { describe, expect, it } from "vitest";
import { Connection, connect } from "../../src/index.ts";
import { serve } from "../../src/server/index.ts";
import { inChromium } from "../lab/chromium.ts";
import { Dice } from "../lab/dice.ts";
import { describeWith } from "../lab/requirement.ts";
import { TickingHost } from "../lab/ticking-host.ts";
import { PATIENCE } from "../until.ts";

const file = (name: string) => fileURLToPath(new URL(`../../examples/${name}`, import.meta.url));

async function run(name: string, ...args: string[]): Promise<{ stdout: string; lines: string[]; code: number | null }> {
  const child = spawn(process.execPath, [file(name), ...args], { stdio: ["ignore", "pipe", "inherit"] });
  let stdout = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    stdout += text;
  });
  const [code] = (await once(child, "close")) as [number | null];
  return { stdout, lines: stdout.trimEnd().split("\n"), code };
}

describe("the examples", () => {
  it("00-tour shows each guest as it arrives, the frozen one last, and then a table with rates", async () => {
    const { stdout, lines, code } = await run("00-tour.mjs", "test:///default?domains=8&latency=5&freeze=3");
    expect(code).toBe(0);
    const sweep = lines.filter((line) => /^ *\d+ ms {2}guest-\d{5} {2}running, \d+ parameters, \w+$/.test(line));
    expect(sweep.map((line) => line.split(", ").at(-1))).toEqual([...Array(7).fill("ok"), "partial"]);
    expect(sweep.at(-1)).toContain("guest-00003");
    expect(stdout).toMatch(/came at the deadline: guest-00003, without cpu-total, /);
    expect(stdout.match(/^ {2}sweep \d: 7 of 8 complete /gm)).toHaveLength(6);
    // Five guests per table; from the second one on with rates.
    expect(stdout.match(/^ {2}guest-\d{5} +\d+\.\d %( +\d+ KiB\/s){2} {2}ok$/gm)!.length).toBeGreaterThanOrEqual(20);
    expect(stdout).toMatch(/^Now try$/m);
  });

  it("01-subscribe shows every running domain, also the one that is frozen", async () => {
    const { lines, code } = await run("01-subscribe.mjs");
    expect(code).toBe(0);
    expect(lines.filter((line) => /^guest-\d{5} ok/.test(line))).toHaveLength(9);
    expect(lines.at(-1)).toMatch(/^guest-00003 partial \(timeout\) without balloon, block/);
  });

  it("02-batch awaits all domains and some of them", async () => {
    const { lines, code } = await run("02-batch.mjs");
    expect(code).toBe(0);
    expect(lines[0]).toBe("12 domains");
    expect(lines.filter((line) => /^guest-\d{5} [0-9a-f-]{36} \d+n \d+ vCPUs$/.test(line))).toHaveLength(3);
  });

  it("03-callback ends the stream after five records", async () => {
    const { lines, code } = await run("03-callback.mjs");
    expect(code).toBe(0);
    expect(lines).toHaveLength(6);
    expect(lines.at(-1)).toBe("ended: five are enough");
  });

  it("04-own-driver fits into 60 lines and streams what it makes", async () => {
    // A process of the test's own: how Node names its threads differs from version to version.
    const sleeping = spawn("sleep", ["600"], { stdio: "ignore" });
    try {
      await once(sleeping, "spawn");
      const { lines, code } = await run("04-own-driver.mjs");
      expect(code).toBe(0);
      expect(lines.filter((line) => line.startsWith(`${sleeping.pid} `))).toEqual([
        expect.stringMatching(/^\d+ ok sleep \d+n$/),
      ]);
    } finally {
      sleeping.kill();
    }
    expect((await readFile(file("04-own-driver.mjs"), "utf8")).split("\n").length).toBeLessThanOrEqual(61);
  });

  it("07-watch shows three sweeps, with rates from the second on", async () => {
    const { lines, code } = await run("07-watch.mjs");
    expect(code).toBe(0);
    expect(lines.filter((line) => /^guest-\d{5} ok - -$/.test(line))).toHaveLength(2);
    expect(lines.filter((line) => /^guest-\d{5} ok \d+\.\d % \d+ KiB\/s$/.test(line))).toHaveLength(4);
    expect(lines.filter((line) => /^guest-00002 partial /.test(line))).toHaveLength(3);
    expect(lines.at(-1)).toBe("sweep 3: 2 of 3 domains are complete");
  });

  it("11-top draws the live table of a dashboard in ten lines of code", async () => {
    const child = spawn(process.execPath, [file("11-top.mjs"), "test:///default?domains=8"]);
    let stdout = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      stdout += text;
    });
    try {
      // From the second sweep on there are rates.
      await expect.poll(() => stdout, PATIENCE).toMatch(/— 8 domains\n(guest-\d{5} \d+\.\d %\n){5}— 8 domains\n/);
    } finally {
      child.kill();
      await once(child, "close");
    }
    const source = await readFile(file("11-top.mjs"), "utf8");
    expect(source.split("\n").filter((line) => line !== "" && !line.startsWith("//")).length).toBeLessThanOrEqual(10);
  });

  it("08-several-hosts shows the domains of each host", async () => {
    const { lines, code } = await run("08-several-hosts.mjs");
    expect(code).toBe(0);
    expect(lines[0]).toBe("hv1,hv2");
    expect(lines.filter((line) => line.startsWith("hv1 "))).toHaveLength(2);
    expect(lines.filter((line) => line.startsWith("hv2 "))).toHaveLength(3);
  });
});

describe("the browser build", () => {
  it("holds nothing of Node's, and takes at most 20 kB, compressed, where a page connects to servers", async () => {
    const { metafile, outputFiles } = await build({
      stdin: {
        contents: 'import { connect } from "virstream/browser"; globalThis.connect = connect;',
        resolveDir: file(""),
      },
      bundle: true,
      splitting: true,
      outdir: "bundle",
      external: ["rxjs"],
      format: "esm",
      platform: "browser",
      minify: true,
      write: false,
      metafile: true,
    });
    const entry = Object.keys(metafile.outputs).find((path) => metafile.outputs[path]!.entryPoint !== undefined)!;
    // The simulated host is a chunk of its own, which only a page that asks for it loads.
    const loaded = new Set([entry]);
    for (const path of loaded) {
      for (const { path: imported, kind } of metafile.outputs[path]!.imports) {
        if (kind === "import-statement" && imported in metafile.outputs) loaded.add(imported);
      }
    }
    let size = 0;
    for (const { path, text } of outputFiles) {
      // Not the code itself in the message: it is long.
      expect(/\bnode:|require\(|\beval\(/.exec(text)?.[0]).toBeUndefined();
      if ([...loaded].some((each) => path.endsWith(each))) size += gzipSync(text, { level: 9 }).length;
    }
    expect(size).toBeGreaterThan(10_000);
    expect(size).toBeLessThanOrEqual(20_000);
  });
});

describeWith(["chromium"], "the browser example, in Chromium,", () => {
  it("shows a row per domain with its CPU use, marks the one that is frozen, and needs no eval", async () => {
    const server = spawn(process.execPath, [file("05-browser/serve.mjs")], { stdio: ["ignore", "pipe", "inherit"] });
    try {
      const [line] = (await once(server.stdout.setEncoding("utf8"), "data")) as [string];
      const url = line.trim();
      const policy = (await fetch(url)).headers.get("content-security-policy");
      expect(policy).toMatch(/^default-src 'none'; script-src 'self';/);
      expect(policy).not.toContain("unsafe-eval");
      await inChromium(url, async (page) => {
        // From the second sweep on there are rates; the third may have ended before the page is read.
        await page.waitForSelector('#progress[data-sweeps]:not([data-sweeps="1"])');
        expect(await page.locator("tbody tr").count()).toBe(12);
        expect(await page.locator("tr.partial").textContent()).toMatch(/^guest-00003.*-.*partial \(.*\)$/);
        const rates = await page.locator("tr.ok td:nth-child(3)").allTextContents();
        expect(rates.filter((rate) => /^\d+\.\d$/.test(rate)).length).toBeGreaterThanOrEqual(8);
        expect(await page.locator("#progress").textContent()).toMatch(
          /^sweep \d+: 11 of 12 domains of simulated are complete$/,
        );
        if (process.env["VIRSTREAM_TEST_SCREENSHOT"]) {
          await page.screenshot({ path: process.env["VIRSTREAM_TEST_SCREENSHOT"] });
        }
      });
    } finally {
      server.kill("SIGTERM");
      await once(server, "close");
    }
  });
});

describeWith(["chromium"], "the page without a library, in Chromium,", () => {
  it("shows the newest records, sweep after sweep, under a policy that allows its own script only", async () => {
    const html = await readFile(file("10-json-page/index.html"), "utf8");
    const script = /<script>(.*)<\/script>/s.exec(html)![1]!;
    const hash = createHash("sha256").update(script).digest("base64");
    await using host = new Connection(new TickingHost(30, new Dice(3)));
    await using server = await serve(host, { port: 0 });
    const policy = `default-src 'none'; script-src 'sha256-${hash}'; connect-src ${server.url}`;
    const web = createServer((_request, response) => {
      response.writeHead(200, { "content-type": "text/html", "content-security-policy": policy }).end(html);
    }).listen(0, "127.0.0.1");
    await once(web, "listening");
    /** What this package's own client had at the end of each sweep. */
    const sweeps: string[] = [];
    await using beside = await connect(server.url);
    const table = new Map<string, string>();
    const watch = beside.watch({}, { intervalMs: 1_000 }).events.subscribe((event) => {
      if (event.type === "gone") table.delete(event.domain.name);
      if (event.type === "sync") sweeps.push([...table.values()].sort().join("\n"));
      if (event.type !== "record") return;
      const { domain, status, state, params } = event.record;
      table.set(domain.name, `${domain.name} ${status} ${state!.state} ${params.get("cpu.time")}`);
    });
    try {
      await inChromium(`http://127.0.0.1:${(web.address() as AddressInfo).port}/?${server.url}`, async (page) => {
        const shown = new Set<string>();
        while (shown.size < 3) {
          // The line and the rows at once: the next sweep may come at any time.
          const [line, rows] = (await page.evaluate(
            `[line.textContent, [...table.rows].map((row) => [...row.cells].map((cell) => cell.textContent).join(" "))]`,
          )) as [string, string[]];
          if (line === "connecting …" || shown.has(line)) continue;
          shown.add(line);
          expect(line).toMatch(new RegExp(`^sweep \\d+: ${rows.length} domains$`));
          await expect.poll(() => sweeps, PATIENCE).toContain(rows.sort().join("\n"));
        }
      });
    } finally {
      watch.unsubscribe();
      web.closeAllConnections();
      web.close();
    }
  });
});
