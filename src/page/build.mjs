/** Builds the live page into dist/page: its scripts, its style sheets, and the licences of the libraries that are in them. */

import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const from = fileURLToPath(new URL(".", import.meta.url));
const root = fileURLToPath(new URL("../..", import.meta.url));
const to = join(root, "dist/page");

rmSync(to, { recursive: true, force: true });
mkdirSync(to, { recursive: true });
const { metafile } = await build({
  absWorkingDir: root,
  entryPoints: ["page.ts", "page.css", "guests.ts", "guests.css"].map((name) => join(from, name)),
  splitting: true,
  chunkNames: "[name]-[hash]",
  outdir: to,
  bundle: true,
  format: "esm",
  target: "es2023",
  minify: true,
  legalComments: "none",
  // package.json names the modules with side effects by their paths in dist/.
  ignoreAnnotations: true,
  metafile: true,
});
for (const name of ["index.html", "icon.svg"]) cpSync(join(from, name), join(to, name));

const libraries = new Set(
  Object.keys(metafile.inputs).flatMap((path) => /^.*node_modules\/(?:@[^/]+\/)?[^/]+/.exec(path)?.[0] ?? []),
);
const licences = [...libraries].sort().map((folder) => {
  const file = readdirSync(join(root, folder)).find((name) => /^licen[cs]e/i.test(name));
  const text = file === undefined ? "" : readFileSync(join(root, folder, file), "utf8").trim();
  return `${folder.replace(/^.*node_modules\//, "")}\n\n${text}\n`;
});
writeFileSync(join(to, "licences.txt"), licences.join("\n----\n\n"));
