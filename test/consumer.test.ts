/** @module-tag any-node */

import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { pack } from "./packed.ts";

const root = fileURLToPath(new URL("..", import.meta.url));
const installed = (name: string) => join(root, "node_modules", name);

const versionOf = (folder: string): string => JSON.parse(readFileSync(join(folder, "package.json"), "utf8")).version;

/** Packages, and all that these need. */
function withDependencies(names: readonly string[], all = new Set<string>()): string[] {
  for (const name of names) {
    if (all.has(name)) continue;
    all.add(name);
    const { dependencies = {} } = JSON.parse(readFileSync(join(installed(name), "package.json"), "utf8"));
    withDependencies(Object.keys(dependencies), all);
  }
  return [...all];
}

/** What an application does with streams, types included. */
const STREAMS = `
  const names: Observable<string> = connection.stats().pipe(map(({ domain }) => domain.name), toArray(), map((all) => all.sort().join()));
  console.log(await lastValueFrom(names));
  const domains: Observable<string> = of(connection).pipe(
    mergeMap((each) => from(each.stats())),
    mergeWith(connection.stats()),
    map(({ domain }) => domain.name),
    distinct(),
  );
  console.log((await lastValueFrom(domains.pipe(toArray()))).length);
  const watching = lastValueFrom(connection.watch().events.pipe(rates(), map(({ record }) => record.domain.name)));
  setTimeout(() => void connection.close(), 100);
  console.log((await watching).startsWith("guest-"));`;
const STREAMS_IMPORTS =
  'import { distinct, from, lastValueFrom, map, mergeMap, mergeWith, Observable, of, toArray } from "rxjs";';

describe.each([
  ["the oldest that the package accepts", "rxjs-7.5", "7.5.0", ["typescript-5.0"]],
  ["the newest", "rxjs", versionOf(installed("rxjs")), ["typescript-5.9", "@typescript/native"]],
])("an application with RxJS of its own, %s", (_, rxjs, version, compilers) => {
  const folder = mkdtempSync(join(tmpdir(), "virstream-consumer-"));

  beforeAll(() => {
    // npm installs from files alone, as it would from the registry.
    const { dependencies } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
    const others = withDependencies([rxjs, ...Object.keys(dependencies)]).map(installed);
    const tarballs = pack(folder, ...others).map(({ tarball }) => tarball);
    writeFileSync(join(folder, "package.json"), '{ "type": "module", "private": true }');
    const quiet = ["--ignore-scripts", "--no-audit", "--no-fund", "--omit=optional", "--loglevel=error"];
    execFileSync("npm", ["install", "--offline", ...quiet, ...tarballs], { cwd: folder });
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  /** Compiles a program, and gives the compiler's complaints. */
  function compile(
    files: { readonly name: string; readonly text: string }[],
    options: object,
    compiler = "@typescript/native",
  ): string {
    for (const { name, text } of files) writeFileSync(join(folder, name), text);
    const compilerOptions = {
      ...{ target: "es2022", module: "esnext", moduleResolution: "bundler", types: [], strict: true, rootDir: "." },
      skipDefaultLibCheck: true,
      // RxJS has its types where such a resolution finds them only from 7.5.5 on.
      paths: { rxjs: ["./node_modules/rxjs/dist/types/index.d.ts"] },
      ...options,
    };
    const project = { compilerOptions, files: files.map(({ name }) => name) };
    writeFileSync(join(folder, "tsconfig.json"), JSON.stringify(project));
    try {
      return execFileSync(process.execPath, [join(root, "node_modules", compiler, "bin/tsc"), "-p", "."], {
        cwd: folder,
        encoding: "utf8",
      });
    } catch (error) {
      return (error as { stdout: string }).stdout;
    }
  }

  it("has one copy of RxJS in its tree after the package is installed: its own", () => {
    const files = readdirSync(folder, { recursive: true, encoding: "utf8" });
    expect(files.filter((file) => /(^|\/)node_modules\/rxjs\/package\.json$/.test(file))).toEqual([
      "node_modules/rxjs/package.json",
    ]);
    expect(versionOf(join(folder, "node_modules/rxjs"))).toBe(version);
    expect(files).toContain("node_modules/virstream/package.json");
  });

  it("compiles for browsers without Node's types and with the oldest lib of TypeScript that has what the program itself uses", {
    tags: "any-node",
  }, () => {
    const text = `
      import { connect } from "virstream/browser";
      import { rates } from "virstream/rates";
      ${STREAMS_IMPORTS}
      export async function show(url: string): Promise<void> {
        const connection = await connect(url);
        ${STREAMS}
        for await (const event of connection.watch().events) console.log(event.type);
      }`;
    for (const lib of ["es2020", "es2022", "esnext"]) {
      expect(compile([{ name: "page.ts", text }], { lib: [lib, "dom"], noEmit: true })).toBe("");
    }
  });

  it.each(compilers)("finds every promise about types kept, by the compiler %s", { tags: "any-node" }, (compiler) => {
    const entries = { "../../src/index.ts": "virstream", "../../src/server/index.ts": "virstream/server" };
    const names = readdirSync(join(root, "test/types"));
    const promises = names.map((name) => {
      let text = readFileSync(join(root, "test/types", name), "utf8");
      for (const [source, entry] of Object.entries(entries)) text = text.replace(`"${source}"`, `"${entry}"`);
      expect(text).not.toContain("../src/");
      return { name, text };
    });
    const lib = ["es2022", "dom"];
    const options = {
      lib,
      noEmit: true,
      types: ["node"],
      typeRoots: [installed("@types")],
      allowImportingTsExtensions: true,
    };
    // TypeScript 5.0 has no Disposable, which the declarations mention.
    const skipLibCheck = compiler === "typescript-5.0";
    expect(compile(promises, { ...options, skipLibCheck }, compiler)).toBe("");
    // Without the expected error, each promise would be an assertion that never fails.
    const guard = /@ts-expect-error/g;
    const expected = promises.flatMap(({ text }) => text.match(guard) ?? []);
    expect(expected.length).toBeGreaterThan(60);
    const unguarded = promises.map(({ name, text }) => ({ name, text: text.replace(guard, "") }));
    const complaints = compile(unguarded, { ...options, skipLibCheck: true }, compiler);
    expect(complaints.match(/error TS/g)).toHaveLength(expected.length);
  });

  it("has streams that are Observables of its RxJS, in types and when it runs", () => {
    const text = `
      import { connect } from "virstream";
      import { rates } from "virstream/rates";
      ${STREAMS_IMPORTS}
      const connection = await connect("test:///default?domains=2");
      console.log(connection.stats() instanceof Observable);
      ${STREAMS}`;
    expect(compile([{ name: "program.ts", text }], { lib: ["es2022", "dom"], outDir: "." })).toBe("");
    expect(execFileSync(process.execPath, ["program.js"], { cwd: folder, encoding: "utf8" })).toBe(
      "true\nguest-00000,guest-00001\n2\ntrue\n",
    );
  });
});
