import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, open, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type CommandResult, mustRun, runCommand } from "./command.ts";
import type { Libvirtd } from "./libvirtd.ts";
import { POLKITD } from "./requirement.ts";

/** A message bus on which everyone may do everything: who may read from libvirt is polkit's to say. */
const BUS = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path=/run/dbus/system_bus_socket</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <allow own="*"/>
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
  </policy>
</busconfig>
`;

/**
 * Starts a private message bus and a private polkitd in the daemon's namespaces, with libvirt's usual rules and one more:
 * the user `nobody` may not monitor. The daemon is started again, since it looks for the bus once. All ends with the
 * daemon. Needs polkitd and dbus-daemon.
 */
export async function startPolkit(libvirtd: Libvirtd): Promise<void> {
  const folder = join(libvirtd.directory, "polkit");
  await mkdir(join(folder, "rules.d"), { recursive: true });
  await mkdir(join(libvirtd.directory, "run/dbus"), { recursive: true });
  await writeFile(join(folder, "bus.conf"), BUS);
  await writeFile(
    join(folder, "rules.d/10-lab.rules"),
    'polkit.addRule(function (action, subject) {\n  if (action.id == "org.libvirt.unix.monitor" && ' +
      'subject.user == "nobody") return polkit.Result.NO;\n});\n',
  );
  // polkitd reads its rules as a user of its own, to whom the daemon's folder is closed: a bind mount has its own door.
  await mustRun("chmod", ["-R", "a+rX", folder]);
  await inside(libvirtd, "mount", "--bind", join(folder, "rules.d"), "/etc/polkit-1/rules.d");
  await background(libvirtd, folder, "dbus-daemon", `--config-file=${folder}/bus.conf`, "--nofork", "--nopidfile");
  await until("the message bus", () => inside(libvirtd, ...ask("ListNames")));
  await background(libvirtd, folder, POLKITD, "--no-debug");
  await until("polkitd", async () => {
    const answer = await inside(libvirtd, ...ask("NameHasOwner"), "string:org.freedesktop.PolicyKit1");
    return { ...answer, code: answer.stdout.includes("boolean true") ? 0 : 1 };
  });
  await libvirtd.restart();
}

/** Runs a program in the daemon's mount and process namespaces: to the daemon, it is a process of its own machine. */
export function inside(libvirtd: Libvirtd, ...words: string[]): Promise<CommandResult> {
  return runCommand("nsenter", ["-t", String(libvirtd.pid), "-m", "-p", "--", ...words], { timeout: 20_000 });
}

function ask(method: string): string[] {
  const target = ["--dest=org.freedesktop.DBus", "/org/freedesktop/DBus", `org.freedesktop.DBus.${method}`];
  return ["dbus-send", "--system", "--print-reply", ...target];
}

async function background(libvirtd: Libvirtd, folder: string, ...words: string[]): Promise<void> {
  const log = await open(join(folder, "log"), "a");
  const child = spawn("nsenter", ["-t", String(libvirtd.pid), "-m", "-p", "--", ...words], {
    stdio: ["ignore", log.fd, log.fd],
    detached: true,
  });
  await once(child, "spawn");
  await log.close();
  child.unref();
}

async function until(what: string, probe: () => Promise<CommandResult>): Promise<void> {
  const started = Date.now();
  for (;;) {
    const { code, stderr } = await probe();
    if (code === 0) return;
    if (Date.now() - started > 15_000) throw new Error(`${what} does not answer: ${stderr.trim()}`);
    await sleep(50);
  }
}
