/** @module-tag any-node */

import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { connect } from "../../src/client/connect.ts";
import { serve } from "../../src/server/server.ts";
import "../../src/drivers/builtin.ts";
import { mustRun } from "../lab/command.ts";
import { describeWith } from "../lab/requirement.ts";
import { PATIENCE } from "../until.ts";
import { recorded } from "./recorded.ts";
import { PROGRAM, virstream } from "./run.ts";

/** A line with the shell's prompt and nothing else: the command has ended. */
const PROMPT = /^\$ *$/m;

describeWith(["tmux"], "virstream top, on a terminal,", () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "virstream-top-"));
  });
  afterAll(async () => {
    await tmux("kill-server").catch(() => {});
    await rm(folder, { recursive: true });
  });

  const tmux = async (...args: string[]): Promise<string> =>
    (await mustRun("tmux", ["-S", join(folder, "tmux"), "-f", "/dev/null", ...args])).stdout;

  /** A shell on a terminal of its own, in which the command runs. */
  class Shell {
    readonly #name: string;

    constructor(name: string) {
      this.#name = name;
    }

    static async run(name: string, command: string, columns = 100, rows = 20): Promise<Shell> {
      await tmux("new-session", "-d", "-s", name, "-x", `${columns}`, "-y", `${rows}`, "env PS1='$ ' sh");
      const shell = new Shell(name);
      await shell.see(/^\$/m);
      await shell.type(command, "Enter");
      return shell;
    }

    type(...keys: string[]): Promise<string> {
      return tmux("send-keys", "-t", this.#name, ...keys);
    }

    screen(): Promise<string> {
      return tmux("capture-pane", "-p", "-t", this.#name);
    }

    /** Waits until the screen shows something. */
    async see(pattern: RegExp): Promise<string> {
      return vi.waitFor(async () => {
        const text = await this.screen();
        expect(text).toMatch(pattern);
        return text;
      }, PATIENCE);
    }
  }

  const command = (args: string): string => `${process.execPath} ${PROGRAM} ${args}`;

  it("shows a frozen guest on top, sorts, filters and opens a guest by keys, and leaves the terminal as it was", async () => {
    const shell = await Shell.run("keys", command("top 'test:///default?domains=40&freeze=3'"));
    await shell.see(
      /^STUCK \d+s +guest-00003 [\s\S]*^guest-00003: does not answer\. +virstream why guest-00003 'test:/m,
    );
    await shell.see(/^running +guest-\d+ +\d +\d+\.\d /m);
    await shell.type("n", "/", "0", "2", "1");
    await shell.see(/^running +guest-00021 [\s\S]*^\/021_ +1 of 40 /m);
    await shell.type("Enter", "Enter");
    await shell.see(/^guest-00021 on simulated: running\n.*\n(.*\n)*DISK +READ\/s/m);
    await shell.type("p");
    await shell.see(/^cpu\.time +\d+$/m);
    await shell.type("q", "q");
    const left = await shell.see(PROMPT);
    expect(left).not.toContain("STUCK");
    await shell.type("clear; stty -a | grep -cw -e '-echo' -e '-icanon'; echo done", "Enter");
    await shell.see(/^0\ndone$/m);
  });

  it("fits a terminal that is resized, stops at Ctrl-Z, and continues", async () => {
    const shell = await Shell.run("resize", command("top 'test:///default?domains=40'"), 120, 20);
    await shell.see(/ AGE$/m);
    await tmux("resize-window", "-t", "resize", "-x", "50", "-y", "12");
    await vi.waitFor(async () => {
      const text = await shell.screen();
      expect(text).toMatch(/^STATUS +GUEST .*CPU%/m);
      expect(text).not.toContain("AGE");
    }, PATIENCE);
    await shell.type("C-z");
    await shell.see(/Stopped/);
    await shell.type("fg", "Enter");
    await shell.see(/^STATUS +GUEST/m);
    await shell.type("C-c");
    await shell.see(PROMPT);
  });

  it("restores the terminal when it is terminated", async () => {
    const shell = await Shell.run("kill", `sh -c 'echo $$ > ${folder}/pid; exec ${command("top test:///default")}'`);
    await shell.see(/^STATUS/m);
    await mustRun("sh", ["-c", `kill $(cat ${folder}/pid)`]);
    expect(await shell.see(PROMPT)).not.toContain("STATUS");
  });

  it("shows a host whose server is lost in one line, and its guests again when it is back; over several hosts", async () => {
    const source = async (name: string) => connect(`test:///default?domains=3&host=${name}`);
    await using one = await source("hv1");
    await using other = await source("hv2");
    await using server = await serve(one, { port: 0 });
    let second = await serve(other, { port: 0 });
    const { port } = new URL(second.url);
    await writeFile(join(folder, "hosts"), `# two hosts\n${server.url}\n\n${second.url}\n`);
    const shell = await Shell.run("hosts", command(`top --hosts ${folder}/hosts`));
    await shell.see(/hv1 hv2 +6 guests/);
    await second.close();
    await shell.see(/^NO HOST +\(3 guests\) +hv2 [\s\S]*hv2 cannot be reached[,:] /m);
    second = await serve(other, { port: Number(port) });
    await vi.waitFor(async () => expect(await shell.screen()).not.toContain("NO HOST"), PATIENCE);
    await shell.see(/hv1 hv2 +6 guests/);
    await shell.type("q");
    await shell.see(PROMPT);
    await second.close();
  });

  it("shows the interval of a recording, which no key changes", async () => {
    const file = join(folder, "host.rec");
    expect((await recorded(["test:///default?domains=3"], file, 12_000, "SIGINT")).code).toBe(0);
    const shell = await Shell.run("recording", command(`top 'file://${file}?speed=0.1'`));
    await shell.see(/^virstream .* 250ms$[\s\S]*^running/m);
    await shell.type("+", "+", "n");
    await shell.see(/^virstream .* 250ms$[\s\S]*sort: GUEST/m);
    await shell.type("q");
    await shell.see(PROMPT);
  });

  it("takes the pace of a host that comes later", async () => {
    await using one = await connect("test:///default?domains=3&host=hv1");
    await using other = await connect("test:///default?domains=3&host=hv2");
    await using server = await serve(one, { port: 0 });
    const early = await serve(other, { port: 0 });
    const { url } = early;
    await early.close();
    const shell = await Shell.run("later", command(`top ${server.url} ${url}`));
    await shell.see(/^virstream .* 1s$[\s\S]*NO HOST/m);
    await using _late = await serve(other, { port: Number(new URL(url).port), limits: { minIntervalMs: 2_000 } });
    await shell.see(/hv1 hv2 +6 guests.* 2s$/m);
    expect(await shell.screen()).not.toContain("NO HOST");
    await shell.type("q");
    await shell.see(PROMPT);
  });

  it("ends with the error of a server that refuses it for good, also after another interval was chosen", async () => {
    await using source = await connect("test:///default?domains=3");
    const open = await serve(source, { port: 0 });
    const { url } = open;
    const shell = await Shell.run("refused", `${command(`top ${url}`)}; echo code=$?`);
    await shell.see(/3 guests.* 1s$/m);
    await shell.type("+");
    await shell.see(/3 guests.* 2s$/m);
    await open.close();
    await using _locked = await serve(source, { port: Number(new URL(url).port), token: "secret" });
    await shell.see(/\[unauthenticated\]\s+code=1$/m);
  });

  it("is what watch shows on a terminal", async () => {
    const shell = await Shell.run("watch", command("watch 'test:///default?domains=3'"));
    await shell.see(/^STATUS +GUEST/m);
    await shell.type("q");
    await shell.see(PROMPT);
  });
});

describe("virstream top, in a script,", () => {
  it("prints as many tables as it is asked for with -b, the second with rates, and exits with 3 if a guest is stuck", async () => {
    const { stdout, code } = await virstream(["top", "-b", "-n", "2", "test:///default?domains=3&freeze=1"]);
    const tables = stdout.trimEnd().split("\n\n");
    expect(tables).toHaveLength(2);
    for (const table of tables) {
      const [summary, titles, first] = table.split("\n");
      expect(summary).toMatch(/^virstream {2}simulated {3}3 guests {3}1 stuck/);
      expect(titles).toMatch(/^STATUS +GUEST .* AGE$/);
      expect(first).toMatch(/^STUCK-\d+s +guest-00001 /);
    }
    expect(tables[1]).toMatch(/^running +guest-00000 +\d+ +\d+\.\d /m);
    expect(code).toBe(3);
  });

  it("says what to do where there is no terminal", async () => {
    const { stderr, code } = await virstream(["top", "test:///default"]);
    expect(code).toBe(2);
    expect(stderr).toContain("top -b -n 2");
  });
});
