import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { posix } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";

const read = (name: string) => JSON.parse(readFileSync(new URL(`../${name}`, import.meta.url), "utf8"));

it("the lock file has the packages of every platform, so that npm ci works on each", () => {
  const { packages } = read("package-lock.json") as {
    packages: Record<string, { optionalDependencies?: Record<string, string>; resolved?: string }>;
  };
  const missing = Object.entries(packages).flatMap(([path, entry]) =>
    Object.keys(entry.optionalDependencies ?? {}).filter(
      (name) =>
        packages[`node_modules/${name}`] === undefined && packages[`${path}/node_modules/${name}`] === undefined,
    ),
  );
  expect(missing).toEqual([]);
});

it("the package needs msgpackr, ws and, as the application's own, rxjs, and nothing else", () => {
  expect(Object.keys(read("package.json").dependencies)).toEqual(["msgpackr", "ws"]);
  expect(Object.keys(read("package.json").peerDependencies)).toEqual(["rxjs"]);
});

it("the package has the sources that its source maps and declaration maps point to", () => {
  const cwd = fileURLToPath(new URL("..", import.meta.url));
  const listing = execFileSync("npm", ["pack", "--dry-run", "--json", "--ignore-scripts"], { cwd, encoding: "utf8" });
  const [{ files }] = JSON.parse(listing) as [{ files: { path: string }[] }];
  const packed = files.map(({ path }) => path);
  const sources = packed.filter((path) => path.startsWith("src/"));
  expect(sources).toContain("src/index.ts");
  for (const source of sources) {
    for (const kind of [".js.map", ".d.ts.map"]) {
      const map = source.replace(/^src/, "dist").replace(/\.ts$/, kind);
      expect(packed).toContain(map);
      expect(read(map).sources.map((path: string) => posix.join(posix.dirname(map), path))).toEqual([source]);
    }
  }
});
