/** @module-tag any-node */

import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, it, onTestFinished } from "vitest";
import { runCommand } from "../lab/command.ts";

/** They ask for no more than their text beside the program, which the packages have. */
const PERMITTED = new Set(["MIT", "ISC", "BSD-2-Clause", "BSD-3-Clause", "Apache-2.0", "0BSD", "Unlicense"]);

const url = (path: string): URL => new URL(`../../${path}`, import.meta.url);
const read = (path: string) => JSON.parse(readFileSync(url(path), "utf8"));
const { runtimePackages, bundledPackages } = (await import(url("packaging/runtime-packages.mjs").href)) as {
  runtimePackages: () => Map<string, { name: string; licence: string | undefined }>;
  bundledPackages: () => Map<string, string>;
};

it("every package that virstream runs with has a licence that lets anybody pass it on", () => {
  const packages = [...runtimePackages().values()];
  expect(packages.map(({ name }) => name)).toEqual(expect.arrayContaining(["ws", "rxjs", "tweetnacl"]));
  const others = packages.filter(({ licence = "none" }) => !PERMITTED.has(licence));
  expect(others).toEqual([]);
});

it("the live page has the licence of every package that it has parts of, each of which lets anybody pass it on", () => {
  const bundled = bundledPackages();
  expect([...bundled.keys()]).toEqual(expect.arrayContaining(["uplot", "@tanstack/virtual-core"]));
  for (const [name, text] of bundled) {
    const { license } = read(`node_modules/${name}/package.json`);
    expect(PERMITTED, name).toContain(license);
    expect(text, name).toMatch(/Copyright|Apache License/);
  }
});

it("the audit fails if a package that virstream runs with has a serious vulnerability, and says so if none could be made", async () => {
  const advisory = (severity: string) => ({
    id: 1,
    url: "https://x.example/1",
    title: "a fault",
    severity,
    vulnerable_versions: "*",
  });
  // npm keeps what it knows of a vulnerability.
  const folder = mkdtempSync(join(tmpdir(), "virstream-audit-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const audit = async (advisories: Record<string, unknown[]> | undefined) => {
    const registry = createServer((request, response) => {
      const path = decodeURIComponent(request.url!);
      const version = advisories?.[path.slice(1)] && read(`node_modules${path}/package.json`).version;
      const answer = path.endsWith("/advisories/bulk")
        ? advisories
        : version && { name: path.slice(1), "dist-tags": { latest: version }, versions: { [version]: { version } } };
      request.resume().once("end", () => response.writeHead(answer ? 200 : 404).end(JSON.stringify(answer ?? {})));
    });
    await new Promise<void>((resolve) => registry.listen(0, "127.0.0.1", resolve));
    try {
      const { port } = registry.address() as AddressInfo;
      const env = {
        ...process.env,
        npm_config_registry: `http://127.0.0.1:${port}`,
        npm_config_cache: mkdtempSync(join(folder, "cache-")),
      };
      return await runCommand(process.execPath, [fileURLToPath(url(".ci/audit.mjs"))], { env });
    } finally {
      registry.closeAllConnections();
      await new Promise((resolve) => registry.close(resolve));
    }
  };
  const [serious, none] = await Promise.all([
    // axe-core is only for tests.
    audit({ ws: [advisory("high")], rxjs: [advisory("moderate")], "axe-core": [advisory("critical")] }),
    audit(undefined),
  ]);
  expect([serious.code, serious.stdout]).toEqual([
    1,
    expect.stringMatching(/^audit: ws .*: high: a fault.*\naudit: \d+ packages, 1 with/),
  ]);
  expect([none.code, none.stdout]).toEqual([0, expect.stringMatching(/^audit: NOT POSSIBLE, .*404/)]);
});
