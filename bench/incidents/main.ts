import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { mustRun, runCommand } from "../../test/lab/command.ts";
import { startLibvirtd } from "../../test/lab/libvirtd.ts";
import { labRequirements, mustHave } from "../../test/lab/requirement.ts";
import { ServedProcess } from "../../test/lab/served-process.ts";
import { INCIDENTS } from "./incident.ts";
import { type Screen, Screens } from "./screens.ts";

/**
 * `npm run bench:incidents -- [--only WORD]`: makes six things go wrong on a real host, and looks at each with
 * `virstream top`, `get`, `why` and the live page, as a user would. It prints, as Markdown, what each screen says and
 * after how many seconds; it fails if a screen does not name the cause and what helps within a minute. It needs the lab
 * of test/lab/, tmux and Chromium.
 */
async function main(): Promise<void> {
  const { values } = parseArgs({ options: { only: { type: "string" } } });
  mustHave([...labRequirements, "tmux", "chromium"]);
  // The daemon sees only the mounts that exist when it starts, so this file system is mounted first.
  const small = await mkdtemp(join(tmpdir(), "virstream-full-"));
  await mustRun("mount", ["-t", "tmpfs", "-o", "size=1m", "tmpfs", small]);
  try {
    await look(small, values.only);
  } finally {
    await mustRun("umount", [small]);
    await rm(small, { recursive: true });
  }
}

async function look(small: string, only: string | undefined): Promise<void> {
  await using libvirtd = await startLibvirtd();
  await using other = await ServedProcess.start({ uri: "test:///default?domains=3&host=hv2" });
  await using served = await ServedProcess.start({ uri: libvirtd.uri, args: [other.url, "--ui"] });
  await using screens = await Screens.open([libvirtd.uri, other.url], served);
  let unnamed = 0;
  const print = (title: string, found: readonly Screen[]): void => {
    console.log(`\n### ${title}\n`);
    for (const { name, text, seconds } of found) {
      if (seconds === undefined) unnamed++;
      const when = seconds === undefined ? "**does not name it within a minute**" : `after ${seconds.toFixed(1)} s`;
      console.log(`${name}, ${when}:\n\n\`\`\`\n${text.trimEnd()}\n\`\`\`\n`);
    }
  };
  for (const { title, begin, cause, remedy } of INCIDENTS) {
    if (only !== undefined && !title.includes(only)) continue;
    console.error(`incidents: ${title}`);
    const { guest, end } = await begin(libvirtd, small);
    try {
      print(title, await screens.lookAt(guest, cause, remedy));
    } finally {
      await end();
    }
  }
  const title = "absent host: its server was killed";
  if (only === undefined || title.includes(only)) {
    console.error(`incidents: ${title}`);
    await other.kill();
    print(title, await screens.lookForHost("hv2", "guest-00001"));
  }
  const { stdout } = await runCommand("uname", ["-sr"]);
  console.error(`incidents: on ${stdout.trim()}, Node ${process.version}; screens that do not name it: ${unnamed}`);
  if (unnamed > 0) process.exitCode = 1;
}

await main();
