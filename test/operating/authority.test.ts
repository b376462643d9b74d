/** @module-tag any-node */

import { X509Certificate } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { PROGRAM } from "../cli/run.ts";
import { type CommandResult, commandError, runCommand } from "../lab/command.ts";
import { freePort } from "../lab/port.ts";
import { describeWith } from "../lab/requirement.ts";
import { blocksOf } from "./document.ts";

const CHAPTER = "TLS with an authority of your own";

/** What systemd does here. */
const SYSTEMCTL = `
cd "$FOLDER"
case $1 in
restart)
  [ ! -e pid ] || { kill "$(cat pid)"; while kill -0 "$(cat pid)"; do sleep 0.05; done; } 2>/dev/null
  rm -f out
  virstream serve --config virstream.toml >out 2>log </dev/null &
  echo $! >pid
  until grep -qs ^wss: out; do kill -0 $! || { cat log >&2; exit 1; }; sleep 0.05; done ;;
reload)
  kill -HUP "$(cat pid)"
  until grep -q 'new connections get the certificate' log; do sleep 0.05; done ;;
esac
`;

describeWith(["openssl"], "The chapter of docs/operating.md on an authority of one's own", () => {
  let folder: string;
  let port: number;
  /** Each block of the shell, for this machine. */
  let steps: string[];
  const file = (name: string): string => join(folder, name);

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), "virstream-authority-"));
    port = await freePort();
    const program = (name: string, script: string) =>
      writeFileSync(file(name), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
    program("virstream", `exec '${process.execPath}' '${PROGRAM}' "$@"`);
    program("systemctl", SYSTEMCTL);
    // The user virstream may not exist here.
    program("chown", '[ "$1" = virstream: ] && shift && ls "$@" >/dev/null');
    steps = blocksOf(CHAPTER, "sh").map(local);
  });
  afterAll(async () => {
    await runCommand("sh", ["-c", `kill "$(cat '${file("pid")}')"`]);
    rmSync(folder, { recursive: true });
  });

  function local(text: string): string {
    return text
      .replaceAll("/etc/virstream", folder)
      .replaceAll("hv1:16580", `localhost:${port}`)
      .replaceAll("0.0.0.0:16580", `127.0.0.1:${port}`)
      .replaceAll("DNS:hv1", "DNS:localhost")
      .replaceAll("qemu:///system", "test:///default?domains=2");
  }

  function shell(script: string, env: NodeJS.ProcessEnv = {}): Promise<CommandResult> {
    const { VIRSTREAM_URI, VIRSTREAM_TOKEN, ...rest } = process.env;
    const own = { PATH: `${folder}${delimiter}${process.env.PATH}`, FOLDER: folder };
    return runCommand("sh", ["-ec", `cd '${folder}'\n${script}`], { env: { ...rest, ...own, ...env } });
  }

  it("leads to a server that only clients with its certificates enter, and to its next certificate", async () => {
    const [authority, server, files, start, get, client, ask, getWithCertificate, renew, ...others] = steps;
    expect(others).toEqual([]);
    const run = async (step: string | undefined): Promise<string> => {
      const result = await shell(step!);
      if (result.code !== 0) throw commandError(step!, result);
      return result.stdout;
    };
    for (const step of [authority, server, files]) await run(step);
    const [configuration, line] = blocksOf(CHAPTER, "toml").map(local);
    writeFileSync(file("virstream.toml"), configuration!);
    await run(start);
    expect(await run(get)).toMatch(/guest-00000 .*\n.*guest-00001 /);

    await run(client);
    writeFileSync(file("virstream.toml"), `${configuration}${line}`);
    await run(ask);
    const refused = await shell(get!);
    expect([refused.code, refused.stderr]).toEqual([
      1,
      expect.stringMatching(/\$VIRSTREAM_TLS_CERT and \$VIRSTREAM_TLS_KEY/),
    ]);
    expect(await run(getWithCertificate)).toMatch(/guest-00000 .*\n.*guest-00001 /);
    const half = await shell(get!, { VIRSTREAM_TLS_CERT: "dashboard.pem" });
    expect([half.code, half.stderr]).toEqual([1, expect.stringMatching(/go together/)]);

    const serial = () => new X509Certificate(readFileSync(file("cert.pem"))).serialNumber;
    const before = serial();
    expect(await run(renew)).toMatch(/^notAfter=/);
    expect(serial()).not.toBe(before);
  });
});
