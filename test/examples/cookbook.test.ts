/** @module-tag any-node */

import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import type { AddressInfo } from "node:net";
import { fileURLToPath } from "node:url";
import { build, type Plugin } from "esbuild";
import type { Page } from "playwright-core";
import { describe, expect, it } from "vitest";
import { connect } from "../../src/index.ts";
import { serve } from "../../src/server/index.ts";
import { inChromium } from "../lab/chromium.ts";
import { describeWith } from "../lab/requirement.ts";
import { PATIENCE } from "../until.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const page = readFileSync(new URL("../../docs/cookbook.md", import.meta.url), "utf8");

/** The blocks of code of a recipe, in order. */
function recipe(title: string): string[] {
  const section = page.split(/^## /m).find((text) => text.startsWith(`${title}\n`))!;
  return [...section.matchAll(/^```\w+\n(.*?)^```$/gms)].map(([, code]) => code!);
}

/** What the recipe prints, all of which it must; one that does not end by itself is then ended. */
async function prints(code: string, expected: readonly RegExp[]): Promise<string> {
  const child = spawn(process.execPath, ["--input-type=module", "--eval", code], {
    cwd: root,
    stdio: ["ignore", "pipe", "inherit"],
  });
  const closed = once(child, "close");
  try {
    let output = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      output += text;
    });
    await expect.poll(() => expected.filter((line) => !line.test(output)), PATIENCE).toEqual([]);
    return output;
  } finally {
    child.kill("SIGKILL");
    await closed;
  }
}

/** Only the recipe for Svelte loads its compiler. */
const compile = (source: string): string =>
  createRequire(import.meta.url)("svelte/compiler").compile(source, { generate: "client" }).js.code;

/** Bundles a program whose other files are blocks of the cookbook, too. */
async function bundle(code: string, platform: "browser" | "node", files: Record<string, string> = {}): Promise<string> {
  const blocks: Plugin = {
    name: "blocks",
    setup({ onResolve, onLoad }) {
      onResolve({ filter: /^\.\// }, ({ path }) => (path in files ? { path, namespace: "block" } : undefined));
      onLoad({ filter: /.*/, namespace: "block" }, ({ path }) =>
        path.endsWith(".svelte")
          ? { contents: compile(files[path]!), resolveDir: root }
          : { contents: files[path]!, loader: "jsx", resolveDir: root },
      );
    },
  };
  const { outputFiles } = await build({
    stdin: { contents: code, loader: "jsx", resolveDir: root },
    plugins: [blocks],
    bundle: true,
    format: "esm",
    platform,
    jsx: "automatic",
    write: false,
    ...(platform === "node" ? { packages: "external" as const } : {}),
  });
  return outputFiles[0]!.text;
}

/** Shows a page whose scripts are recipes, beside a server of a simulated host. */
async function show(html: string, scripts: Record<string, string>, test: (page: Page) => Promise<void>): Promise<void> {
  await using host = await connect("test:///default?domains=200");
  await using server = await serve(host, { port: 0 });
  const web = createServer((request, response) => {
    const script = scripts[request.url!.slice(1)]?.replaceAll("ws://127.0.0.1:16580", server.url);
    if (request.url !== "/" && script === undefined) return response.writeHead(404).end();
    response.setHeader("content-type", script === undefined ? "text/html" : "text/javascript");
    return response.end(script ?? html);
  }).listen(0, "127.0.0.1");
  await once(web, "listening");
  try {
    await inChromium(`http://127.0.0.1:${(web.address() as AddressInfo).port}/`, test);
  } finally {
    web.closeAllConnections();
    web.close();
  }
}

const ROOT =
  '<!doctype html><link rel="icon" href="data:,"><div id="root"></div><script type="module" src="page.js"></script>';
const GUEST = /^guest-\d{5} \d+\.\d$/;

describe("The cookbook", () => {
  it("shows the busiest guests", async () => {
    await prints(recipe("The five busiest guests").join(""), [/^(guest-\d{5} \d+ %(, |$)){5}$/m]);
  });

  it("reports a guest that hangs, and no other", async () => {
    const output = await prints(recipe("An alert for guests that hang").join(""), [/^ALERT: /m]);
    expect(output).toMatch(/^ALERT: guest-00003 does not answer \((timeout|quarantined)\)\n$/);
  });

  it("changes the interval without an empty table", async () => {
    await prints(recipe("Another interval").join(""), [/^12 guests, four times per second$/m]);
  });

  it("renders rows on the server", async () => {
    const [guests] = recipe("React");
    const [code] = recipe("Rendering on the server");
    const program = await bundle(code!, "node", { "./guests.jsx": guests! });
    const html = `\nhttp.get(await new Promise((resolve) => web.on("listening", () => resolve("http://127.0.0.1:" + web.address().port))),
      (response) => response.pipe(process.stdout));`;
    await prints(`import http from "node:http";\n${program}${html}`, [/<li>guest-00000<!-- --> <!-- -->[-\d.]+<\/li>/]);
  });

  it("adds and removes a host under a table", async () => {
    const output = await prints(recipe("Several hosts that come and go").join(""), [/^5 guests are left$/m]);
    expect(output).toMatch(/^5 guests of hv1 and hv2$/m);
    expect(output).toMatch(/^came: guest-00003$/m);
  });

  it("tests a program with faults of the simulated host", async () => {
    await prints(recipe("Tests of your own program").join(""), [/^# pass 1$|^ℹ pass 1$/m]);
  });

  it("has no recipe without a test", () => {
    const titles = [...page.matchAll(/^## (.*)$/gm)].map(([, title]) => title!);
    const source = readFileSync(new URL(import.meta.url), "utf8");
    // examples/11-embedded has a test of its own.
    const untested = titles.filter((title) => !source.includes(`recipe("${title}")`));
    expect(untested).toEqual(["Express with users and sessions"]);
  });
});

describeWith(["chromium"], "The cookbook's pages, in Chromium,", () => {
  it("work without a framework", async () => {
    const [html, script] = recipe("A page without a framework");
    await show(html!, { "page.js": await bundle(script!, "browser") }, async (page) => {
      await expect.poll(() => page.locator("td:nth-child(3)").first().textContent(), PATIENCE).toMatch(/^\d+\.\d$/);
      expect(await page.locator("tr.ok").count()).toBe(50);
      expect(await page.locator("#state").textContent()).toBe("connected");
    });
  });

  it("work with React", async () => {
    const [guests, main] = recipe("React");
    const script = await bundle(main!, "browser", { "./guests.jsx": guests! });
    await show(ROOT, { "page.js": script }, async (page) => {
      await expect.poll(() => page.locator("li").first().textContent(), PATIENCE).toMatch(GUEST);
      expect(await page.locator("li").count()).toBe(200);
    });
  });

  it("work with Svelte", async () => {
    const [component, main] = recipe("Svelte");
    const script = await bundle(main!, "browser", { "./Guests.svelte": component! });
    await show(ROOT, { "page.js": script }, async (page) => {
      await expect.poll(() => page.locator("li").first().textContent(), PATIENCE).toMatch(GUEST);
      expect(await page.locator("li").count()).toBe(200);
    });
  });

  it("get rows from a worker", async () => {
    const [worker, script] = recipe("A worker that decodes for the page");
    const scripts = { "worker.js": await bundle(worker!, "browser"), "page.js": script! };
    await show(ROOT, scripts, async (page) => {
      await expect
        .poll(() => page.locator("body").textContent(), PATIENCE)
        .toMatch(/^(guest-\d{5} \d+\.\d(, |$)){50}$/);
    });
  });
});
