/** @module-tag any-node */

import { readFileSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import {
  DOCTOR_OPTIONS,
  GET_OPTIONS,
  parseDoctor,
  parseGet,
  parseTop,
  parseWatch,
  parseWhy,
  TOP_OPTIONS,
  WATCH_COMMAND_OPTIONS,
  WHY_OPTIONS,
} from "../../src/cli/arguments.ts";
import { CHECK_OPTIONS, parseCheck } from "../../src/cli/check/arguments.ts";
import { completedCommands } from "../../src/cli/manual/commands.ts";
import { COMMAND_NAMES, optionsOf, partsOf, summaryOf } from "../../src/cli/manual/help.ts";
import { manPage } from "../../src/cli/manual/man-page.ts";
import { nearest } from "../../src/cli/nearest.ts";
import { parseInfo, parseRecord, RECORD_COMMAND_OPTIONS } from "../../src/cli/recording/arguments.ts";
import { parseServe, SERVE_OPTIONS } from "../../src/cli/serve/arguments.ts";
import { parseToken, TOKEN_OPTIONS } from "../../src/cli/token/arguments.ts";
import { type Command, HELP } from "../../src/cli/usage.ts";
import { DEVICES } from "../../src/overview/devices.ts";
import { mustRun, runCommand } from "../lab/command.ts";
import { describeWith } from "../lab/requirement.ts";
import { PATIENCE } from "../until.ts";
import { PROGRAM, virstream } from "./run.ts";

const TABLES: Readonly<Record<Command, object>> = {
  get: GET_OPTIONS,
  watch: WATCH_COMMAND_OPTIONS,
  serve: SERVE_OPTIONS,
  top: TOP_OPTIONS,
  why: WHY_OPTIONS,
  check: CHECK_OPTIONS,
  record: RECORD_COMMAND_OPTIONS,
  info: { format: {} },
  token: TOKEN_OPTIONS,
  doctor: DOCTOR_OPTIONS,
  completion: {},
};

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "virstream-manual-"));
});
afterAll(() => rm(folder, { recursive: true }));

describe("The help", () => {
  it.each(COMMAND_NAMES)("of %s has exactly the options that the command takes, each with a description", (command) => {
    const options = optionsOf(command);
    const long = options
      .map(({ names }) => names.at(-1)!.slice(2))
      .filter((name) => !["help", "connect"].includes(name));
    expect(long.toSorted()).toEqual(
      Object.keys(TABLES[command])
        .filter((name) => name !== "connect")
        .sort(),
    );
    for (const { names, argument, description } of options) {
      expect([names, description]).toEqual([names, expect.stringMatching(/^\S/)]);
      const entry = (TABLES[command] as Record<string, { type?: string; short?: string }>)[names.at(-1)!.slice(2)];
      if (entry?.type === undefined) continue;
      expect([names, argument !== undefined]).toEqual([names, entry.type === "string"]);
      expect([names, names.length === 2 ? names[0] : undefined]).toEqual([names, entry.short && `-${entry.short}`]);
    }
  });

  it.each(COMMAND_NAMES)("of %s has an example, a summary in the list of commands, and the exit codes", (command) => {
    expect(HELP[command]).toMatch(new RegExp(`^  virstream ${command} `, "m"));
    expect(HELP[command]).toMatch(/^Exit code: 0 /m);
    expect(summaryOf(command)).toMatch(/^\w/);
    for (const line of HELP[command].split("\n")) expect(line.length).toBeLessThanOrEqual(130);
  });

  it("has examples that the commands take", () => {
    const examples = COMMAND_NAMES.flatMap((command) =>
      partsOf(command).flatMap((part) => (part.kind === "lines" ? part.lines : [])),
    ).filter((line) => /^virstream (get|watch) /.test(line));
    expect(examples.length).toBeGreaterThan(5);
    for (const example of examples) {
      const [, command, ...words] = example.split(" | ")[0]!.replaceAll('"', "").split(" ");
      expect(() => (command === "get" ? parseGet : parseWatch)(words)).not.toThrow();
    }
  });
});

describe("An option of other commands", () => {
  const PARSERS: Readonly<Partial<Record<Command, (args: string[]) => unknown>>> = {
    ...{ get: parseGet, watch: parseWatch, serve: parseServe, top: parseTop, why: parseWhy, check: parseCheck },
    ...{ record: parseRecord, info: parseInfo, token: parseToken, doctor: parseDoctor },
  };
  const tables = Object.entries(TABLES) as [Command, Record<string, { readonly short?: string }>][];

  it("is refused with the names of these, by every command and for every option", () => {
    let refused = 0;
    for (const [command, own] of tables) {
      const parse = PARSERS[command];
      if (parse === undefined) continue;
      const foreign = new Set(tables.flatMap(([, table]) => Object.keys(table)).filter((name) => !(name in own)));
      foreign.delete("connect");
      for (const name of foreign) {
        const owners = tables.flatMap(([other, table]) => (name in table ? [other] : []));
        const [last, ...before] = owners.toSorted((a, b) => COMMAND_NAMES.indexOf(b) - COMMAND_NAMES.indexOf(a));
        const list = before.length === 0 ? last : `${before.reverse().join(", ")} and ${last}`;
        const says = `--${name} is an option of ${list}, and not of this command`;
        expect(() => parse([`--${name}`]), `${command} --${name}`).toThrow(says);
        expect(() => parse([`--${name}=x`]), `${command} --${name}=x`).toThrow(says);
        refused++;
      }
    }
    expect(refused).toBeGreaterThan(400);
  });

  it("is refused in the same way by its one letter", async () => {
    expect(() => parseGet(["-n", "3"])).toThrow(/^-n is an option of watch and top, and not of this command$/);
    expect(() => parseGet(["-y"])).toThrow(/^Unknown option '-y'$/);
    const { stderr, code } = await virstream(["watch", "--columns", "guest"]);
    const hint = 'Try "virstream watch --help".';
    expect([code, stderr]).toEqual([2, `virstream: --columns is an option of get, and not of this command\n${hint}\n`]);
  });
});

describe("The name that was probably meant", () => {
  it.each([
    ["gte", "get"],
    ["wacth", "watch"],
    ["TOP", "top"],
    ["docter", "doctor"],
    ["completions", "completion"],
    ["x", undefined],
    ["dance", undefined],
    ["", undefined],
  ])("of %j is %j", (word, meant) => {
    expect(nearest(word, COMMAND_NAMES)).toBe(meant);
  });
});

describe("The completion of values", () => {
  it("has only values that the commands take", () => {
    const devices = DEVICES.flatMap((device) => [
      ["--per", device],
      ["--per", device, "--no-rates"],
    ]);
    for (const [name, parse] of [
      ["get", parseGet],
      ["watch", parseWatch],
    ] as const) {
      const { options } = completedCommands().find((command) => command.name === name)!;
      for (const { names, words } of options) {
        if (!("values" in words) || names.includes("--connect")) continue;
        for (const value of words.values) {
          const accepted = [[], ["--no-rates"], ["--format", "prometheus"], ...devices].some((more) => {
            try {
              parse([...more, names.at(-1)!, value]);
              return true;
            } catch {
              return false;
            }
          });
          expect([names, value, accepted]).toEqual([names, value, true]);
        }
      }
    }
  });

  it("is refused for a shell that is not known, with those that are", async () => {
    const { stderr, code } = await virstream(["completion", "zhs"]);
    expect([code, stderr]).toEqual([2, expect.stringContaining("(did you mean zsh?): choose one of bash, zsh, fish")]);
  });
});

const scripts = new Map<string, string>();

async function scriptOf(shell: string): Promise<string> {
  const file = scripts.get(shell) ?? join(folder, `completion.${shell}`);
  if (!scripts.has(shell)) await writeFile(file, (await virstream(["completion", shell])).stdout);
  scripts.set(shell, file);
  return file;
}

const CASES: [line: string, words: string[]][] = [
  ["virstream w", ["watch", "why"]],
  ["virstream help comp", ["completion"]],
  ["virstream get --form", ["--format"]],
  ["virstream get --format n", ["ndjson"]],
  ["virstream get --list-pa", ["--list-paused"]],
  ["virstream get --cpu-", ["--cpu-total"]],
  ["virstream get --columns guest,cpu-", ["guest,cpu-time"]],
  ["virstream serve --dialect t", ["tinkoff"]],
  ["virstream completion f", ["fish"]],
];

describe("The completion in bash", () => {
  const complete = async (line: string): Promise<string[]> => {
    const script = `source "$1"; COMP_LINE=$2 COMP_POINT=\${#2}; _virstream 2>/dev/null; printf '%s\\n' "\${COMPREPLY[@]}"`;
    const { stdout } = await runCommand("bash", ["--norc", "-c", script, "bash", await scriptOf("bash"), line]);
    return stdout.split("\n").filter((word) => word !== "");
  };

  it("completes commands, options and their values", async () => {
    for (const [line, words] of CASES) expect([line, await complete(line)]).toEqual([line, words]);
  });

  it("completes URIs beyond a colon, values after =, and files", async () => {
    expect(await complete("virstream get qemu:///se")).toEqual(["///session"]);
    expect(await complete("virstream get --format=v")).toEqual(["virsh"]);
    expect(await complete("virstream top --hosts /etc/hostn")).toEqual(["/etc/hostname"]);
    expect(await complete("virstream get --deadline ")).toEqual([]);
    expect(await complete("virstream nothing --")).toEqual([]);
  });
});

describeWith(["fish"], "The completion in fish", () => {
  it("completes what that in bash completes", async () => {
    const file = await scriptOf("fish");
    for (const [line, words] of CASES) {
      const { stdout } = await mustRun("fish", ["--no-config", "-c", `source ${file}; complete -C '${line}'`]);
      const found = stdout
        .trimEnd()
        .split("\n")
        .map((each) => each.split("\t")[0]!);
      expect([line, found.toSorted()]).toEqual([line, words]);
    }
  });
});

describeWith(["tmux", "zsh"], "The completion, at a prompt,", () => {
  const tmux = async (...args: string[]): Promise<string> =>
    (await mustRun("tmux", ["-S", join(folder, "tmux"), "-f", "/dev/null", ...args])).stdout;
  afterAll(() => tmux("kill-server").catch(() => {}));

  const see = (name: string, pattern: RegExp): Promise<void> =>
    vi.waitFor(async () => expect(await tmux("capture-pane", "-p", "-t", name)).toMatch(pattern), PATIENCE);

  it.each([
    ["bash", "bash --norc", ""],
    ["zsh", "zsh -f", "autoload -U compinit; compinit -u -D; "],
  ])("completes options, values and URIs when the user presses Tab in %s", async (shell, start, prepare) => {
    await tmux("new-session", "-d", "-s", shell, "-x", "100", "-y", "20", `env PS1='$ ' PATH="$PATH" ${start}`);
    await see(shell, /\$/);
    const program = `virstream() { '${process.execPath}' '${PROGRAM}' "$@"; }`;
    await tmux(
      "send-keys",
      "-t",
      shell,
      `${prepare}${program}; source ${await scriptOf(shell)}; clear; echo ready`,
      "Enter",
    );
    await see(shell, /^ready$/m);
    await tmux("send-keys", "-t", shell, "--", "virstream ge", "Tab");
    await see(shell, /virstream get$/m);
    await tmux("send-keys", "-t", shell, "--", "--form", "Tab");
    await see(shell, /virstream get --format$/m);
    await tmux("send-keys", "-t", shell, "--", "nd", "Tab");
    await see(shell, /--format ndjson$/m);
    await tmux("send-keys", "-t", shell, "--", "test", "Tab");
    await see(shell, /--format ndjson test:\/\/\/default$/m);
    await tmux("send-keys", "-t", shell, "--", "--list-ru", "Tab");
    await see(shell, /test:\/\/\/default --list-running$/m);
  });
});

describe("The manual page", () => {
  it("is made by the build, and is named in the package", () => {
    const { man } = JSON.parse(readFileSync("package.json", "utf8"));
    expect(readFileSync(man[0], "utf8")).toBe(manPage());
  });

  it("has each command with each of its options, once", () => {
    const page = manPage().replaceAll("\\-", "-");
    for (const command of COMMAND_NAMES) {
      const section = page.split("\n.SS ").find((each) => each.startsWith(`virstream ${command}`))!;
      for (const { names } of optionsOf(command)) {
        if (!names.includes("--connect"))
          expect([command, section]).toEqual([command, expect.stringContaining(`\\fB${names.at(-1)}\\fR`)]);
      }
    }
    expect(page.match(/uri_aliases/g)).toHaveLength(1);
  });
});

describeWith(["groff", "mandoc", "man"], "The manual page", () => {
  const lint = (program: string, args: string[]) =>
    it(`has no error for ${program}`, async () => {
      const file = join(folder, "virstream.1");
      await writeFile(file, manPage());
      const { stdout, stderr, code } = await runCommand(program, [...args, file]);
      expect([stdout, stderr, code]).toEqual(["", "", 0]);
    });
  lint("groff", ["-man", "-ww", "-z", "-Tutf8"]);
  lint("mandoc", ["-T", "lint", "-W", "error"]);

  it("is what man shows", async () => {
    const file = join(folder, "shown.1");
    await writeFile(file, manPage());
    const { stdout, code } = await runCommand("man", ["-l", "-P", "cat", file]);
    expect(code).toBe(0);
    expect(stdout).toMatch(/NAME\s+virstream/);
  });
});
