import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { chromium } from "playwright-core";
import { describe, expect, it } from "vitest";
import { describeWith, findProgram } from "../lab/requirement.ts";

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
  it("00-tour prints a line per domain as it arrives, then the batch", async () => {
    const { stdout, lines, code } = await run("00-tour.mjs", "test:///default?domains=8&latency=5");
    expect(code).toBe(0);
    expect(lines.filter((line) => /^ *\d+ ms {2}guest-\d{5} {2}running, .* parameters, ok$/.test(line))).toHaveLength(
      8,
    );
    expect(stdout).toMatch(/the batch: 8 records in \d+ ms/);
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
    const { lines, code } = await run("04-own-driver.mjs");
    expect(code).toBe(0);
    expect(lines.some((line) => /^\d+ ok node \d+n$/.test(line))).toBe(true);
    expect((await readFile(file("04-own-driver.mjs"), "utf8")).split("\n").length).toBeLessThanOrEqual(61);
  });

  it("07-watch shows three sweeps, with rates from the second on", async () => {
    const { lines, code } = await run("07-watch.mjs");
    expect(code).toBe(0);
    expect(lines.filter((line) => /^guest-\d{5} ok - -$/.test(line))).toHaveLength(2);
    expect(lines.filter((line) => /^guest-\d{5} ok \d+\.\d % \d+ KiB\/s$/.test(line))).toHaveLength(4);
    expect(lines.filter((line) => /^guest-00002 partial /.test(line))).toHaveLength(3);
    expect(lines.at(-1)).toBe("sweep 3: 2 of 3 whole");
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
  it("holds nothing of Node's, and stays small", async () => {
    const bundle = await build({
      stdin: { contents: 'export * from "virstream/browser"', resolveDir: file("") },
      bundle: true,
      format: "esm",
      platform: "browser",
      minify: true,
      write: false,
    });
    const code = bundle.outputFiles[0]!.text;
    // Not the code itself in the message: it is long.
    expect(/\bnode:|require\(|\beval\(/.exec(code)?.[0]).toBeUndefined();
    expect(code.length).toBeLessThan(160_000);
  });
});

describeWith(["chromium"], "the browser example, in Chromium,", () => {
  it("shows a row per domain with its CPU use, and marks the one that is frozen", async () => {
    const server = spawn(process.execPath, [file("05-browser/serve.mjs")], { stdio: ["ignore", "pipe", "inherit"] });
    try {
      const [url] = (await once(server.stdout.setEncoding("utf8"), "data")) as [string];
      const browser = await chromium.launch({
        executablePath: findProgram("chromium")!,
        args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-sync"],
      });
      try {
        const page = await browser.newPage();
        const complaints: string[] = [];
        page.on("pageerror", (error) => complaints.push(String(error)));
        await page.goto(url.trim());
        await page.waitForSelector('#progress[data-sweeps="2"]');
        expect(await page.locator("tbody tr").count()).toBe(12);
        expect(await page.locator("tr.partial").textContent()).toMatch(/^guest-00003.*-.*partial \(.*\)$/);
        expect(await page.locator("tr.ok td:nth-child(3)").first().textContent()).toMatch(/^\d+\.\d$/);
        expect(await page.locator("#progress").textContent()).toBe("sweep 2: 11 of 12 domains of simulated are whole");
        expect(complaints).toEqual([]);
        if (process.env["VIRSTREAM_TEST_SCREENSHOT"]) {
          await page.screenshot({ path: process.env["VIRSTREAM_TEST_SCREENSHOT"] });
        }
      } finally {
        await browser.close();
      }
    } finally {
      server.kill("SIGTERM");
      await once(server, "close");
    }
  });
});
