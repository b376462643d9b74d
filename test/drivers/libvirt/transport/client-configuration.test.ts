import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { resolveUri } from "../../../../src/cli/source.ts";
import {
  clientConfigurationFile,
  readClientConfiguration,
} from "../../../../src/drivers/libvirt/transport/client-configuration.ts";
import { runCommand } from "../../../lab/command.ts";
import { describeWith } from "../../../lab/requirement.ts";

let folder: string;
let file: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "virstream-"));
  await mkdir(join(folder, "libvirt"));
  file = join(folder, "libvirt/libvirt.conf");
});
afterAll(() => rm(folder, { recursive: true }));

const ALIASES = `# uri_aliases = ["commented=a:///"]
uri_aliases = [
  "hail=test:///default",
  'sleet=qemu+ssh://[::1]/system?keyfile=/k#1',
  "hail=other:///system",
  "not an alias",
]
`;

describe("libvirt's client configuration", () => {
  it("has aliases, of which the first of a name counts, and a default", async () => {
    await writeFile(file, `${ALIASES}uri_default = "lxc:///system"  # here\n`);
    const { aliases, defaultUri } = readClientConfiguration(file);
    expect(Object.fromEntries(aliases)).toEqual({
      hail: "test:///default",
      sleet: "qemu+ssh://[::1]/system?keyfile=/k#1",
    });
    expect(defaultUri).toBe("lxc:///system");
  });

  it("may be missing or all comments, and is an error if it cannot be read", async () => {
    const nothing = { aliases: new Map(), defaultUri: undefined };
    expect(readClientConfiguration(join(folder, "none"))).toEqual(nothing);
    await writeFile(file, '#uri_default = "qemu:///system"\n');
    expect(readClientConfiguration(file)).toEqual(nothing);
    expect(() => readClientConfiguration(folder)).toThrow(/cannot be read \(EISDIR\)/);
  });

  it("is the system's for root and the user's own for all others, and only a name without a colon is an alias", async () => {
    expect(clientConfigurationFile({}, 0)).toBe("/etc/libvirt/libvirt.conf");
    expect(clientConfigurationFile({ XDG_CONFIG_HOME: folder }, 1000)).toBe(file);
    expect(clientConfigurationFile({}, 1000)).toMatch(/\/\.config\/libvirt\/libvirt\.conf$/);
    expect(resolveUri("hail:///system")).toBe("hail:///system");
    expect(resolveUri("no-such-alias")).toBe("no-such-alias");
  });
});

describeWith(["root with mount namespaces", "virsh"], "An alias", () => {
  it("means to virstream what it means to virsh", async () => {
    await writeFile(file, `${ALIASES}uri_default = "test:///default?domains=2"\n`);
    // Root reads the system's file, so this one is bound over it.
    const inside = (command: string, ...args: string[]) => {
      const bind = `mkdir -p /etc/libvirt; mount --bind "$0" /etc/libvirt; exec "$@"`;
      const words = [
        "--mount",
        "--propagation",
        "private",
        "sh",
        "-c",
        bind,
        join(folder, "libvirt"),
        command,
        ...args,
      ];
      return runCommand("unshare", words, {
        env: { ...process.env, VIRSTREAM_URI: "", LIBVIRT_DEFAULT_URI: "", VIRSH_DEFAULT_CONNECT_URI: "" },
      });
    };
    const uri = await inside("virsh", "-c", "hail", "uri");
    expect(uri.stdout.trim(), uri.stderr).toBe("test:///default");
    const program = join(import.meta.dirname, "../../../../dist/cli/main.js");
    const { stdout, stderr } = await inside(process.execPath, program, "get", "hail", "--format", "ndjson");
    expect(stdout, stderr).toContain('"guest-00000"');
    const byDefault = await inside(process.execPath, program, "get", "--format", "ndjson");
    expect(byDefault.stdout.trim().split("\n"), byDefault.stderr).toHaveLength(2);
  });
});
