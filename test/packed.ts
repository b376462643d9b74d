import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));

/** Packs a package as npm publishes it, by default this one, but runs none of its scripts. */
export function pack(folder: string, what = root): { tarball: string; paths: string[] } {
  const args = ["pack", what, "--json", "--ignore-scripts", "--offline", "--pack-destination", folder];
  const [{ filename, files }] = JSON.parse(execFileSync("npm", args, { encoding: "utf8" })) as [
    { filename: string; files: { path: string }[] },
  ];
  return { tarball: join(folder, filename), paths: files.map(({ path }) => path) };
}
