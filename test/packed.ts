import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));

/** A package, packed as npm publishes it. */
export interface Packed {
  /** The file. */
  readonly tarball: string;
  /** The paths of the files in it. */
  readonly paths: readonly string[];
}

/** Packs packages into a folder, without their scripts: first this one, then others, each from its folder. */
export function pack(folder: string, ...others: string[]): [Packed, ...Packed[]] {
  const args = ["pack", root, ...others, "--json", "--ignore-scripts", "--offline", "--pack-destination", folder];
  type Listed = { filename: string; files: { path: string }[] };
  const packedOf = ({ filename, files }: Listed): Packed => ({
    tarball: join(folder, filename),
    paths: files.map(({ path }) => path),
  });
  const [own, ...rest] = JSON.parse(execFileSync("npm", args, { encoding: "utf8" })) as [Listed, ...Listed[]];
  return [packedOf(own), ...rest.map(packedOf)];
}
