import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

const root = fileURLToPath(new URL("..", import.meta.url));
/** RxJS as the application has it: .ci/run names the oldest version that the package accepts. */
const rxjs = process.env["VIRSTREAM_TEST_RXJS"] ?? join(root, "node_modules/rxjs");

/** What an application does with streams, types included. */
const STREAMS = `
  const names: Observable<string> = connection.stats().pipe(map(({ domain }) => domain.name), toArray(), map((all) => all.sort().join()));
  console.log(await lastValueFrom(names));
  const watching = lastValueFrom(connection.watch().events.pipe(rates(), map(({ record }) => record.domain.name)));
  setTimeout(() => void connection.close(), 100);
  console.log((await watching).startsWith("guest-"));`;

describe("an application with RxJS of its own", () => {
  const folder = mkdtempSync(join(tmpdir(), "virstream-consumer-"));
  const modules = join(folder, "node_modules");

  beforeAll(() => {
    mkdirSync(join(modules, "virstream"), { recursive: true });
    // A copy, because Node and tsc resolve the imports of a linked package where it really is.
    for (const name of ["dist", "package.json"])
      cpSync(join(root, name), join(modules, "virstream", name), { recursive: true });
    cpSync(rxjs, join(modules, "rxjs"), { recursive: true });
    for (const name of ["ws", "msgpackr", "tslib"]) symlinkSync(join(root, "node_modules", name), join(modules, name));
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  /** Compiles a program, and gives the compiler's complaints. */
  function compile(name: string, program: string, options: object, compiler = "@typescript/native"): string {
    writeFileSync(join(folder, `${name}.ts`), program);
    const compilerOptions = {
      ...{ target: "es2022", module: "esnext", moduleResolution: "bundler", types: [], strict: true, rootDir: "." },
      // RxJS has its types where such a resolution finds them only from 7.5.5 on.
      paths: { rxjs: ["./node_modules/rxjs/dist/types/index.d.ts"] },
      ...options,
    };
    writeFileSync(join(folder, "tsconfig.json"), JSON.stringify({ compilerOptions, files: [`${name}.ts`] }));
    try {
      return execFileSync(process.execPath, [join(root, "node_modules", compiler, "bin/tsc"), "-p", "."], {
        cwd: folder,
        encoding: "utf8",
      });
    } catch (error) {
      return (error as { stdout: string }).stdout;
    }
  }

  it("compiles for browsers without Node's types and with the oldest library that has what it uses itself", {
    tags: "any-node",
  }, () => {
    const program = `
      import { connect } from "virstream/browser";
      import { rates } from "virstream/rates";
      import { lastValueFrom, map, type Observable, toArray } from "rxjs";
      export async function show(url: string): Promise<void> {
        const connection = await connect(url);
        ${STREAMS}
        for await (const event of connection.watch().events) console.log(event.type);
      }`;
    for (const lib of ["es2020", "es2022", "esnext"]) {
      expect(compile("page", program, { lib: [lib, "dom"], noEmit: true })).toBe("");
    }
  });

  it.each(["typescript-5.0", "typescript-5.9", "@typescript/native"])(
    "finds every promise about types kept, by the compiler %s",
    { tags: "any-node" },
    (compiler) => {
      const promises = readFileSync(join(root, "test/model/types.ts"), "utf8");
      expect(promises).toContain('"../../src/index.ts"');
      const program = promises.replace("../../src/index.ts", "virstream");
      // TypeScript 5.0 has no Disposable, which the declarations mention.
      const skipLibCheck = compiler === "typescript-5.0";
      const options = { lib: ["es2022", "dom"], noEmit: true, skipLibCheck };
      expect(compile("promises", program, options, compiler)).toBe("");
      // Without the expected error, each promise would be an assertion that never fails.
      const expected = program.match(/@ts-expect-error/g)!.length;
      const unguarded = compile("unguarded", program.replaceAll("@ts-expect-error", ""), options, compiler);
      expect(unguarded.match(/error TS/g)).toHaveLength(expected);
    },
  );

  it("has streams that are Observables of its RxJS, in types and when it runs", () => {
    const program = `
      import { connect } from "virstream";
      import { rates } from "virstream/rates";
      import { lastValueFrom, map, Observable, toArray } from "rxjs";
      const connection = await connect("test:///default?domains=2");
      console.log(connection.stats() instanceof Observable);
      ${STREAMS}`;
    expect(compile("program", program, { lib: ["es2022", "dom"], outDir: "." })).toBe("");
    writeFileSync(join(folder, "package.json"), '{ "type": "module" }');
    expect(execFileSync(process.execPath, ["program.js"], { cwd: folder, encoding: "utf8" })).toBe(
      "true\nguest-00000,guest-00001\ntrue\n",
    );
  });
});
