/** @module-tag any-node */

import { spawn } from "node:child_process";
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { createGuest, type Guest } from "../lab/guest.ts";
import { type Libvirtd, startLibvirtd } from "../lab/libvirtd.ts";
import { describeWith, labRequirements } from "../lab/requirement.ts";
import { outcomeOf, PROGRAM } from "./run.ts";

/** One command of the page, and what it prints there; `…` stands for any text. */
interface Step {
  readonly command: string;
  readonly prints: string;
}

const PAGE = readFileSync(new URL("../../docs/tutorial.md", import.meta.url), "utf8");
const STEPS: Step[] = [...PAGE.matchAll(/^```console\n(.*?)^```$/gms)].flatMap(([, block]) =>
  block!
    .split(/^[$#] /m)
    .slice(1)
    .map((step) => {
      const [command = "", ...lines] = step.split("\n");
      return { command, prints: lines.join("\n") };
    }),
);

function patternOf(text: string): RegExp {
  const lines = text.trimEnd().split("\n");
  // A line that is only `…` stands for any lines.
  const patterns = lines.map((line) =>
    line === "…" ? "(?:.*\\n)*?" : `${line.split("…").map(literal).join(".*")}${line.endsWith("…") ? "" : " *"}\\n`,
  );
  return new RegExp(`^${patterns.join("")}$`);
}

/** A text with as many spaces between its words as a column is wide. */
function literal(text: string): string {
  return text.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&").replaceAll(/ +/g, " +");
}

describeWith(labRequirements, "The tutorial", () => {
  let folder: string;
  let libvirtd: Libvirtd;
  const guests: Guest[] = [];

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), "virstream-tutorial-"));
    writeFileSync(join(folder, "virstream"), `#!/bin/sh\nexec '${process.execPath}' '${PROGRAM}' "$@"\n`);
    chmodSync(join(folder, "virstream"), 0o755);
    libvirtd = await startLibvirtd();
    for (const name of ["web1", "web2", "web3"]) guests.push(await createGuest(libvirtd, { name }));
  });
  afterAll(async () => {
    for (const guest of guests) guest.thaw();
    await libvirtd?.stop();
    rmSync(folder, { recursive: true });
  });

  async function run(command: string, retries = 2): Promise<string> {
    // From stdin: in its arguments, the shell's own command would have the guest's name.
    const shell = spawn("bash", ["-s"], {
      env: { ...process.env, PATH: `${folder}${delimiter}${process.env.PATH}`, VIRSTREAM_URI: libvirtd.uri },
      stdio: ["pipe", "pipe", "pipe"],
    });
    shell.stdin.end(`exec 2>&1\n${command}\n`);
    const { stdout } = await outcomeOf(shell);
    // When the machine is busy with other tests, guests wait for its processors, and the page is of a machine that is not.
    return retries > 0 && /^STEAL[- ]\d/m.test(stdout) ? run(command, retries - 1) : stdout;
  }

  it.each(STEPS)("prints what it says after: $command", async ({ command, prints }) => {
    const stdout = await run(command);
    if (prints.trim() !== "") expect(stdout).toMatch(patternOf(prints));
    else expect(stdout).toBe("");
  });
});
