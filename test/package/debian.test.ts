/** @module-tag any-node */

import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, it } from "vitest";
import { VERSION } from "../../src/index.ts";
import { type CommandResult, mustRun, runCommand } from "../lab/command.ts";
import { describeWith } from "../lab/requirement.ts";
import { SystemCopy } from "../lab/system-copy.ts";

const SCRIPT = fileURLToPath(new URL("../../packaging/deb.mjs", import.meta.url));
/** When the package of the test was made, in seconds since 1970. */
const EPOCH = 1_700_000_000;
const ADDRESS = "127.0.0.1:16580";
/** Also where the system's configuration leaves documents out, as in containers; and without man-db's own work of many seconds. */
const DPKG = "dpkg --path-include='/usr/share/*' --no-triggers --force-unsafe-io";
/** What every installation changes: dpkg's own files, and those of users. */
const BOOKKEEPING =
  /^\/(var\/(lib\/dpkg|cache|log)\/|etc\/(passwd|shadow|group|gshadow|subuid|subgid)-?$|etc\/\.pwd\.lock$)/;

describeWith(["dpkg", "a copy of this system", "man", "zsh", "fish"], "The Debian package", () => {
  let folder: string;
  let file: string;
  let lintian: Promise<CommandResult>;
  /** A second build, later, in another folder, time zone and language, with other permissions of new files, and with one thread. */
  let again: Promise<CommandResult>;
  let system: SystemCopy;
  /** What is different before anything is installed. */
  let before: Set<string>;

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), "virstream-deb-test-"));
    const env = { ...process.env, SOURCE_DATE_EPOCH: String(EPOCH) };
    const build = ["-c", 'umask 077 && exec "$@"', "sh", process.execPath, SCRIPT, folder];
    file = (await mustRun("sh", build, { env })).stdout.trim();
    const elsewhere = {
      TZ: "Pacific/Kiritimati",
      DPKG_DEB_THREADS_MAX: "1",
      LC_ALL: "tr_TR.UTF-8",
      TMPDIR: mkdtempSync(join(folder, "again-")),
    };
    const differently = ["-c", 'umask 002 && cd / && exec nice "$@"', "sh", process.execPath, SCRIPT, elsewhere.TMPDIR];
    again = runCommand("sh", differently, { env: { ...env, ...elsewhere } });
    lintian = runCommand("lintian", ["--allow-root", "--fail-on", "error,warning", file]);
    system = await SystemCopy.create(folder);
    // The package depends on the system's node; the tests may run with another one.
    await system.output(`[ -x /usr/bin/node ] || ln -s '${process.execPath}' /usr/bin/node`);
    before = new Set(await system.changes());
  });
  afterAll(async () => {
    await system?.[Symbol.asyncDispose]();
    await Promise.all([lintian, again]);
    rmSync(folder, { recursive: true });
  });

  it("has nothing of the machine and the time of its build", async () => {
    const list = 'dpkg-deb --fsys-tarfile "$1" | tar --list --verbose --full-time --utc --numeric-owner';
    const { stdout } = await mustRun("sh", ["-c", list, "sh", file]);
    const lines = stdout.trimEnd().split("\n");
    const time = new Date(EPOCH * 1_000).toISOString().slice(0, 19).replace("T", " ");
    const usual = new RegExp(`^(drwxr-xr-x|-rw-r--r--|-rwxr-xr-x|lrwxrwxrwx) 0/0 +\\d+ ${time} `);
    expect(lines.filter((line) => !usual.test(line))).toEqual([]);
    // In the order of their names; dpkg-deb puts links last.
    const paths = lines.filter((line) => !line.startsWith("l")).map((line) => line.split(" ./")[1]!.split("/"));
    const keys = paths.map((path) => path.filter((name) => name !== "").join("\u0000"));
    expect(keys).toEqual([...keys].sort());
    expect(lines.filter((line) => line.startsWith("-rwx"))).toEqual([expect.stringMatching(/bin\/virstream\.js$/)]);
  });

  it("installs a command with all that it can use, its manual page, and its completion for three shells", async () => {
    await system.output(`${DPKG} --force-depends --install /mnt/given/virstream_*.deb`);
    // The URIs of the configuration may have passwords.
    expect(await system.output("stat -c '%a %U:%G' /etc/virstream")).toBe("750 root:virstream\n");
    expect(await system.output("virstream --version")).toBe(`${VERSION}\n`);
    expect(await system.output("virstream get test:///default --format ndjson | wc -l")).toBe("12\n");
    expect(await system.output("man virstream | head -1")).toMatch(/^VIRSTREAM\(1\)/);
    const bash = ". /usr/share/bash-completion/completions/virstream; complete -p virstream";
    expect(await system.output(`bash -c '${bash}'`)).toMatch(/^complete .*virstream/);
    expect(await system.output("zsh -c 'autoload -Uz compinit; compinit -D; echo $_comps[virstream]'")).toBe(
      "_virstream\n",
    );
    expect(await system.output("fish -c 'complete -C \"virstream doc\"'")).toMatch(/^doctor\t/);
    // Peers that npm would leave out.
    const peers = ["@nats-io/transport-node", "@nats-io/jetstream", "@nats-io/kv", "fast-xml-parser", "rxjs"];
    const program = [
      ...peers.map((name) => `import ${JSON.stringify(name)};`),
      'import "./dist/outlets/otlp/index.js";',
    ];
    await system.output(`cd /usr/lib/virstream && node --input-type=module --eval '${program.join("")}'`);
  });

  it("runs the service after the installation, as its own user, and again when it hangs", async () => {
    await begun();
    expect(await system.output("systemctl is-enabled virstream")).toBe("enabled\n");
    expect(await system.output("ps -o user= -p $(systemctl show --property=MainPID --value virstream)")).toMatch(
      /^virstre/,
    );
    // No libvirtd runs in the copy.
    expect(await health()).toMatch(/"status":"degraded".*"sourcesAbsent":1/);
    await system.output(`
      mkdir -p /run/systemd/system/virstream.service.d
      printf '[Service]\nWatchdogSec=3\nRestartSec=0\n' >/run/systemd/system/virstream.service.d/test.conf
      systemctl daemon-reload && systemctl restart virstream
      systemctl kill --signal=STOP virstream
      until [ "$(systemctl show --property=NRestarts --value virstream)" -ge 1 ]; do sleep 0.1; done
      rm -r /run/systemd/system/virstream.service.d && systemctl daemon-reload && systemctl restart virstream`);
    await begun();
  });

  it("tells systemd of each reload and of its end, and is not started again with a wrong configuration", async () => {
    await system.output("systemctl reload virstream && systemctl stop virstream");
    expect(await system.output("journalctl --unit=virstream --output=cat")).not.toMatch(/cannot tell systemd/);
    expect(await system.output("systemctl show --property=Result --value virstream")).toBe("success\n");
    await system.output(
      "cp /etc/virstream/virstream.toml /tmp/ && sed -i '1i listne = 1' /etc/virstream/virstream.toml",
    );
    expect((await system.run("systemctl start virstream")).code).toBe(1);
    expect((await system.run("systemctl is-active virstream")).stdout).toBe("failed\n");
    expect(await system.output("journalctl --unit=virstream --output=cat")).toMatch(/did you mean listen/);
    await system.output("cp /tmp/virstream.toml /etc/virstream/ && systemctl start virstream");
  });

  it("replaces its configuration in an upgrade, keeps one that was changed, also in a return to the older version, and restarts the service", async () => {
    const config = "/etc/virstream/virstream.toml";
    const given = await system.output(`cat ${config}`);
    await system.output(`
      cd /tmp && dpkg-deb -R /mnt/given/virstream_*.deb next
      sed -i 's/^Version: .*/&+next/' next/DEBIAN/control
      echo '# a new line' >>next${config}
      dpkg-deb -Znone --build next next.deb
      ${DPKG} --force-depends --install next.deb`);
    expect(await system.output("dpkg-query --show virstream")).toBe(`virstream\t${VERSION}+next\n`);
    expect(await system.output(`cat ${config}`)).toBe(`${given}# a new line\n`);
    await begun();
    await system.output(`sed -i 's|^sources.*|sources = ["test:///default?domains=2"]|' ${config}`);
    const changed = await system.output(`cat ${config}`);
    // The default of dpkg's question.
    for (const [keep, deb, version] of [
      ["--force-confdef", "/mnt/given/virstream_*.deb", VERSION],
      ["--force-confold", "/tmp/next.deb", `${VERSION}+next`],
    ]) {
      await system.output(`${DPKG} --force-depends ${keep} --install ${deb}`);
      expect(await system.output("dpkg-query --show virstream")).toBe(`virstream\t${version}\n`);
      expect(await system.output(`cat ${config}`)).toBe(changed);
      await begun();
      expect(await health()).toMatch(/"status":"ok"/);
    }
  });

  it("leaves the configuration when it is removed, and when it is purged only what is the administrator's, by name", async () => {
    await system.output("virstream token create ann --tokens /etc/virstream/tokens.json");
    await system.output(`${DPKG} --remove virstream`);
    const left = async () => (await system.changes()).filter((path) => !before.has(path) && !BOOKKEEPING.test(path));
    const folders = async () =>
      (await system.run("ls -d /usr/lib/virstream /usr/share/doc/virstream /etc/virstream")).stdout;
    expect(await folders()).toBe("/etc/virstream\n");
    expect((await system.run("systemctl is-active virstream")).stdout).toBe("inactive\n");
    expect(await left()).toEqual(
      expect.arrayContaining(["/etc/virstream/tokens.json", "/etc/virstream/virstream.toml"]),
    );
    expect(await system.output(`${DPKG} --purge virstream`)).toMatch(/\/etc\/virstream\/tokens\.json stays/);
    expect(await left()).toEqual(["/etc/virstream/tokens.json"]);
    expect(await system.output("getent passwd virstream")).toMatch(/^virstream:/);
    expect(await folders()).toBe("/etc/virstream\n");
  });

  it("has the same bytes in each build from the same files", async () => {
    const { code, stdout, stderr } = await again;
    expect([code, stderr]).toEqual([0, ""]);
    expect(stdout.trim()).not.toBe(file);
    expect(readFileSync(stdout.trim()).equals(readFileSync(file))).toBe(true);
  });

  it("has no fault that lintian finds", async () => {
    const { code, stdout } = await lintian;
    expect([code, stdout]).toEqual([0, ""]);
  });

  /** Resolves when the service runs. */
  async function begun(): Promise<void> {
    expect(await system.output("systemctl is-active virstream")).toBe("active\n");
  }

  /** What `/healthz` says. */
  function health(): Promise<string> {
    const program = `fetch("http://${ADDRESS}/healthz").then((a) => a.text()).then((text) => console.log(text))`;
    return system.output(`node --eval '${program}'`);
  }
});
