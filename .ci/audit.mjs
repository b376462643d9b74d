/**
 * Asks npm's registry for known vulnerabilities of the packages that virstream runs with or has parts of, and fails if one is high or
 * critical. It does not fail where the registry does not answer, or has no such service: then it says so.
 */

import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { bundledPackages, runtimePackages } from "../packaging/runtime-packages.mjs";

const SERIOUS = ["high", "critical"];

const cwd = fileURLToPath(new URL("..", import.meta.url));
const { stdout } = spawnSync("npm", ["audit", "--json", "--fetch-retries=0"], { cwd, encoding: "utf8" });
const report = reportOf(stdout);
if (report.vulnerabilities === undefined) {
  console.log(
    `audit: NOT POSSIBLE, the registry gave no report: ${report.message ?? report.error?.summary ?? "no answer"}`,
  );
} else {
  const packages = new Set([
    ...runtimePackages().keys(),
    ...[...bundledPackages().keys()].map((name) => `node_modules/${name}`),
  ]);
  const found = Object.values(report.vulnerabilities).filter(
    ({ severity, nodes }) => SERIOUS.includes(severity) && nodes.some((path) => packages.has(path)),
  );
  for (const { name, severity, range, via } of found) {
    const titles = via.map((each) => (typeof each === "string" ? `by ${each}` : `${each.title} ${each.url}`));
    console.log(`audit: ${name} ${range}: ${severity}: ${titles.join("; ")}`);
  }
  console.log(`audit: ${packages.size} packages, ${found.length} with high or critical vulnerabilities`);
  if (found.length > 0) process.exitCode = 1;
}

function reportOf(text) {
  try {
    return JSON.parse(text);
  } catch {
    return {};
  }
}
