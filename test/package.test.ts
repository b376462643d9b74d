import { execFileSync, spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, posix } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";
import { afterAll, describe, expect, it } from "vitest";
import { VERSION } from "../src/index.ts";
import { pack } from "./packed.ts";

const root = fileURLToPath(new URL("..", import.meta.url));
const read = (name: string) => JSON.parse(readFileSync(new URL(`../${name}`, import.meta.url), "utf8"));

it("the lock file has the packages of every platform, so that npm ci works on each", { tags: "any-node" }, () => {
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

it("the package needs msgpackr, ws, for the command line get-east-asian-width, pino and smol-toml and, as the application's own, rxjs, and nothing else", () => {
  expect(Object.keys(read("package.json").dependencies)).toEqual([
    "get-east-asian-width",
    "msgpackr",
    "pino",
    "smol-toml",
    "ws",
  ]);
  const { peerDependencies, peerDependenciesMeta } = read("package.json");
  expect(Object.keys(peerDependencies).filter((name) => !peerDependenciesMeta[name]?.optional)).toEqual(["rxjs"]);
});

it("the version that programs read, and servers send, is that of the package", () => {
  expect(VERSION).toBe(read("package.json").version);
});

it.each([
  ["virstream/errors", 'import { VirstreamError } from "virstream/errors"; globalThis.it = VirstreamError;', 600],
  ["virstream/rates", 'import { rates } from "virstream/rates"; globalThis.it = rates;', 5_800],
])("%s takes little of a page, and nothing where the page does not use it", async (entry, program, most) => {
  const sizeOf = async (contents: string) => {
    const { outputFiles } = await build({
      ...{ stdin: { contents, resolveDir: root }, bundle: true, format: "esm", platform: "browser" },
      ...{ minify: true, write: false, external: ["rxjs"] },
    });
    return gzipSync(outputFiles[0]!.contents, { level: 9 }).length;
  };
  expect(await sizeOf(program)).toBeLessThanOrEqual(most);
  expect(await sizeOf(`import { } from "${entry}";`)).toBeLessThan(80);
});

it("a server that is bundled into one file runs where the file is alone", async () => {
  const folder = mkdtempSync(join(tmpdir(), "virstream-bundle-"));
  try {
    const program = `
      import { connect, VERSION } from "virstream";
      import { serve } from "virstream/server";
      (async () => {
        const host = await connect("test:///default");
        const server = await serve(host, { port: 0 });
        const client = await connect(server.url);
        console.log(VERSION, (await client.getAllDomainStats()).length);
        for (const each of [client, server, host]) await each.close();
      })();`;
    const outfile = join(folder, "server.cjs");
    await build({
      stdin: { contents: program, resolveDir: root },
      bundle: true,
      platform: "node",
      format: "cjs",
      outfile,
      logLevel: "silent",
    });
    const printed = execFileSync(process.execPath, [outfile], { cwd: folder, encoding: "utf8", timeout: 120_000 });
    expect(printed).toBe(`${VERSION} 12\n`);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

it("the package has no script that npm runs, or warns of, when it is installed", () => {
  const scripts = Object.keys(read("package.json").scripts);
  expect(scripts.filter((name) => /^(pre|post)?(install|prepare)$/.test(name))).toEqual([]);
});

it("the command of a checkout says what to run while the checkout is not built, and works after that", () => {
  const folder = mkdtempSync(join(tmpdir(), "virstream-checkout-"));
  const run = () => spawnSync(join(folder, read("package.json").bin.virstream), ["--version"], { encoding: "utf8" });
  try {
    for (const name of ["bin", "package.json"]) cpSync(join(root, name), join(folder, name), { recursive: true });
    expect(run()).toMatchObject({ status: 1, stdout: "", stderr: expect.stringMatching(/not built.* run npm ci/) });
    // A build that was interrupted.
    cpSync(join(root, "dist/cli/main.js"), join(folder, "dist/cli/main.js"));
    expect(run()).toMatchObject({ status: 1, stdout: "", stderr: expect.stringMatching(/not completely: run npm ci/) });
    cpSync(join(root, "dist"), join(folder, "dist"), { recursive: true });
    symlinkSync(join(root, "node_modules"), join(folder, "node_modules"));
    expect(run()).toMatchObject({ status: 0, stdout: `${VERSION}\n`, stderr: "" });
  } finally {
    rmSync(folder, { recursive: true });
  }
});

/** The native addons that a program loads. It is JavaScript without imports. */
function addonsOf(program: string): string[] {
  const recorder = `const loaded = [];
    const { dlopen } = process;
    process.dlopen = (module, file, ...flags) => (loaded.push(file), dlopen.call(process, module, file, ...flags));`;
  const args = ["--input-type=module", "--eval", `${recorder}\n${program}\nconsole.log(JSON.stringify(loaded));`];
  return JSON.parse(execFileSync(process.execPath, args, { cwd: root, encoding: "utf8", timeout: 100_000 }));
}

it("a program that serves statistics and reads them loads no native addon", () => {
  const loader = `(await import("node:module")).createRequire(import.meta.url).extensions[".node"]`;
  expect(addonsOf(`try { ${loader}({}, "missing.node"); } catch {}`)).toEqual(["missing.node"]);
  const program = `
    const { connect } = await import("virstream");
    const { serve } = await import("virstream/server");
    await import("virstream/drivers");
    const host = await connect("test:///default");
    const server = await serve(host, { port: 0 });
    const client = await connect(server.url);
    if ((await client.getAllDomainStats()).length === 0) throw new Error("no records came");
    for (const each of [client, server, host]) await each.close();`;
  expect(addonsOf(program)).toEqual([]);
});

describe("the packed package", { tags: "any-node" }, () => {
  const folder = mkdtempSync(join(tmpdir(), "virstream-packed-"));
  const [{ tarball, paths }] = pack(folder);
  afterAll(() => rmSync(folder, { recursive: true }));

  /** Runs the program of a package over the packed one, and returns its output. A fault of the packed package is an error. */
  function examine(program: string, ...args: string[]): string {
    const { status, stdout } = spawnSync(process.execPath, [join(root, "node_modules", program), ...args], {
      encoding: "utf8",
    });
    expect(status, stdout).toBe(0);
    return stdout;
  }

  it("has no fault that publint finds", () => {
    expect(examine("publint/src/cli.js", "run", tarball, "--strict")).toContain("All good!");
  });

  it("has entries whose types attw finds to be right, for modules and for bundlers", () => {
    // The package has ES modules only; every supported Node can require() them. The profile leaves out what attw asks of other
    // packages: CommonJS files, and entries for resolvers that do not read "exports" (TypeScript's node10).
    const output = examine("@arethetypeswrong/cli/dist/index.js", tarball, "--profile", "esm-only");
    for (const entry of Object.keys(read("package.json").exports)) {
      expect(output).toContain(`"${posix.join("virstream", entry)}"`);
    }
  });

  it("has the sources that its source maps and declaration maps point to", () => {
    // The live page is bundled, without maps.
    const sources = paths.filter((path) => path.startsWith("src/") && !path.startsWith("src/page/"));
    expect(sources).toContain("src/index.ts");
    for (const source of sources) {
      for (const kind of [".js.map", ".d.ts.map"]) {
        const map = source.replace(/^src/, "dist").replace(/\.ts$/, kind);
        expect(paths).toContain(map);
        expect(read(map).sources.map((path: string) => posix.join(posix.dirname(map), path))).toEqual([source]);
      }
    }
  });
});
