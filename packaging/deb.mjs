/**
 * Builds virstream_VERSION_all.deb in a folder: node packaging/deb.mjs [FOLDER]
 *
 * The package has what npm packs, and the packages that it runs with: from node_modules, in the versions of package-lock.json, without
 * a network. The same files and the same SOURCE_DATE_EPOCH (default: the time of the newest commit) make the same bytes.
 */

import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  chmodSync,
  cpSync,
  lstatSync,
  lutimesSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const root = fileURLToPath(new URL("..", import.meta.url));
const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
/** As Debian sorts it: a pre-release comes before its release. */
const version = manifest.version.replace("-", "~");
// dpkg-deb reads it, too.
process.env.SOURCE_DATE_EPOCH ??= run("git", "-C", root, "log", "-1", "--format=%ct").trim();
const epoch = Number(process.env.SOURCE_DATE_EPOCH);
const MAINTAINER = "The virstream authors <virstream@localhost>";
const LIBRARY = "usr/lib/virstream";
const DOCUMENTS = "usr/share/doc/virstream";

/** Files that only compilers and debuggers use, and the manual page, which is elsewhere. */
const UNUSED = /\.(map|ts|1)$/;
const LICENCE = /^(licen[cs]e|notice|copyrightnotice)(\.(txt|md))?$/i;

process.umask(0o022);
const work = mkdtempSync(join(tmpdir(), "virstream-deb-"));
try {
  const tree = join(work, "tree");
  layOut(tree, packedFiles(), await importedFiles());
  writeControl(tree);
  for (const path of readdirSync(tree, { recursive: true })) lutimesSync(join(tree, path), epoch, epoch);
  const file = resolve(process.argv[2] ?? ".", `virstream_${version}_all.deb`);
  run("dpkg-deb", "--root-owner-group", "-Zxz", "--build", tree, file);
  console.log(file);
} finally {
  rmSync(work, { recursive: true });
}

/** The paths of what npm packs. */
function packedFiles() {
  const [{ files }] = JSON.parse(run("npm", "pack", root, "--json", "--ignore-scripts", "--offline", "--dry-run"));
  return files.map(({ path }) => path);
}

/** The files of other packages that virstream imports, directly or not, also of its optional peers. */
async function importedFiles() {
  const entries = Object.values(manifest.exports).flatMap((entry) => entry.default ?? []);
  const { metafile } = await build({
    absWorkingDir: root,
    entryPoints: [...entries, "dist/cli/main.js"],
    ...{ bundle: true, platform: "node", format: "esm", splitting: true, ignoreAnnotations: true, treeShaking: false },
    // Those that Node knows.
    conditions: [],
    ...{ outdir: work, write: false, metafile: true, logLevel: "error" },
  });
  const paths = Object.keys(metafile.inputs).filter((path) => path.startsWith("node_modules/"));
  const { packages } = JSON.parse(readFileSync(join(root, "package-lock.json"), "utf8"));
  for (const path of new Set(paths.map(packageOf))) {
    if (manifestOf(path).version !== packages[path]?.version) {
      throw new Error(`${path} is not the version of package-lock.json: run npm ci`);
    }
  }
  return paths.sort();
}

/** Puts everything into the tree that the package installs. */
function layOut(tree, packed, imported) {
  const put = (path, content) => {
    mkdirSync(join(tree, dirname(path)), { recursive: true });
    writeFileSync(join(tree, path), content);
  };
  const own = (name) => readFileSync(join(root, "packaging", name));
  const copy = (path, to) => put(join(to, path), readFileSync(join(root, path)));

  for (const path of packed) {
    if (/^(package\.json$|bin\/|dist\/)/.test(path) && !UNUSED.test(path)) copy(path, LIBRARY);
    if (/^((README|PROTOCOL|SECURITY)\.md$|docs\/|examples\/prometheus\/)/.test(path)) copy(path, DOCUMENTS);
  }
  const packages = [...new Set(imported.map(packageOf))];
  const manifests = packages.flatMap((path) =>
    readdirSync(join(root, path), { recursive: true })
      .filter((name) => basename(name) === "package.json")
      .map((name) => join(path, name))
      .filter((manifest) => imported.some((file) => file.startsWith(`${dirname(manifest)}/`))),
  );
  for (const path of [...imported, ...manifests]) copy(path, LIBRARY);
  const command = `${LIBRARY}/bin/virstream.js`;
  // Not the first node of the user's PATH: the package depends on this one.
  put(command, readFileSync(join(tree, command), "utf8").replace(/^#!.*/, "#!/usr/bin/node"));
  chmodSync(join(tree, command), 0o755);
  mkdirSync(join(tree, "usr/bin"), { recursive: true });
  symlinkSync(relative("usr/bin", command), join(tree, "usr/bin/virstream"));

  const completion = (shell) => run(process.execPath, join(tree, command), "completion", shell);
  put("usr/share/bash-completion/completions/virstream", completion("bash"));
  put("usr/share/zsh/vendor-completions/_virstream", completion("zsh"));
  put("usr/share/fish/vendor_completions.d/virstream.fish", completion("fish"));
  put("usr/share/man/man1/virstream.1.gz", gzip(readFileSync(join(root, "dist/virstream.1"))));
  put("usr/lib/systemd/system/virstream.service", own("virstream.service"));
  put("usr/lib/sysusers.d/virstream.conf", own("debian/sysusers.conf"));
  put("etc/virstream/virstream.toml", own("virstream.toml"));
  put("usr/share/lintian/overrides/virstream", own("debian/lintian-overrides"));
  put(`${DOCUMENTS}/NEWS.gz`, gzip(readFileSync(join(root, "CHANGELOG.md"))));
  put(`${DOCUMENTS}/changelog.gz`, gzip(changelog()));
  put(`${DOCUMENTS}/copyright`, copyright(packages));
}

/** Writes what dpkg reads, into DEBIAN. */
function writeControl(tree) {
  const files = readdirSync(tree, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map(({ parentPath, name }) => join(parentPath, name))
    .sort();
  const sumOf = (path) => createHash("md5").update(readFileSync(path)).digest("hex");
  const kibibytes = files.reduce((sum, path) => sum + Math.ceil(lstatSync(path).size / 1024), 0);
  const control = join(tree, "DEBIAN");
  mkdirSync(control);
  writeFileSync(join(control, "md5sums"), files.map((path) => `${sumOf(path)}  ${relative(tree, path)}\n`).join(""));
  writeFileSync(join(control, "conffiles"), "/etc/virstream/virstream.toml\n");
  const NODE = manifest.engines.node.replace(">=", ">= ");
  const fields = { VERSION: version, MAINTAINER, SIZE: kibibytes, NODE };
  const template = readFileSync(join(root, "packaging/debian/control"), "utf8");
  const content = template.replaceAll(/@(\w+)@/g, (_, name) => fields[name]);
  writeFileSync(join(control, "control"), content);
  for (const name of ["postinst", "prerm", "postrm"]) {
    cpSync(join(root, "packaging/debian", name), join(control, name));
    chmodSync(join(control, name), 0o755);
  }
}

function changelog() {
  const date = new Date(epoch * 1000).toUTCString().replace("GMT", "+0000");
  return `virstream (${version}) unstable; urgency=medium\n\n  * See NEWS.gz.\n\n -- ${MAINTAINER}  ${date}\n`;
}

/** The licences of virstream, and of every package in it. */
function copyright(paths) {
  const bundled = readFileSync(join(root, "dist/page/licences.txt"), "utf8");
  const parts = paths.map((path) => {
    const { name, version, license, author } = manifestOf(path);
    const by = author === undefined ? "" : `, by ${author.name ?? author}`;
    const texts = readdirSync(join(root, path))
      .filter((file) => LICENCE.test(file))
      .sort();
    const text = texts.map((file) => readFileSync(join(root, path, file), "utf8").trim()).join("\n\n");
    return `${path}: ${name} ${version}${by}. Licence: ${license}.\n\n${shortened(text)}`;
  });
  const own = readFileSync(join(root, "LICENSE"), "utf8").trim();
  const page = `dist/page has parts of these:\n\n${shortened(bundled)}`;
  return `${[`virstream\n\n${own}`, ...parts, page].join("\n\n----\n\n").trim()}\n`;
}

/** A text with the place of the Apache License, which every Debian system has, in place of each copy of it. */
function shortened(text) {
  return text
    .replaceAll("\r", "")
    .replaceAll(/^ *Apache License\n *Version 2\.0.*?limitations under the License\.\n?/gms, (copy) => {
      const holders = copy.match(/^ *Copyright (?!\[).*$/gm) ?? [];
      return `${holders.map((line) => `${line.trim()}\n`).join("")}The Apache License 2.0 is in /usr/share/common-licenses/Apache-2.0.\n`;
    })
    .trim();
}

/** The folder of the package that a file is in. */
function packageOf(path) {
  return /^.*node_modules\/(?:@[^/]+\/)?[^/]+/.exec(path)[0];
}

function manifestOf(path) {
  return JSON.parse(readFileSync(join(root, path, "package.json"), "utf8"));
}

function gzip(content) {
  return gzipSync(content, { level: 9 });
}

function run(program, ...args) {
  return execFileSync(program, args, { encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] });
}
