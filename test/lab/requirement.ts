import { spawnSync } from "node:child_process";
import { accessSync, constants, existsSync } from "node:fs";
import { delimiter, join } from "node:path";
import { describe, it } from "vitest";
import { SYSTEM_COPY_PROBE } from "./system-copy.ts";

/** What a test may need from the machine. */
export type RequirementName = keyof typeof known;

/** Whether a requirement is met here, and if not, what to do about it. */
export interface Requirement {
  readonly name: RequirementName;
  readonly met: boolean;
  /** A command or a short advice, for people. */
  readonly remedy: string;
}

/** Where Debian keeps polkit's daemon. */
export const POLKITD = "/usr/lib/polkit-1/polkitd";

/** Where Debian keeps the library that gives a process another wall clock. */
export const FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

const known = {
  libvirtd: { met: () => program("libvirtd"), packages: "libvirt-daemon libvirt-daemon-driver-qemu" },
  "libvirt's LXC driver": {
    met: () => existsSync("/usr/lib/libvirt/libvirt_lxc"),
    packages: "libvirt-daemon-driver-lxc",
  },
  qemu: { met: () => program("qemu-system-x86_64"), packages: "qemu-system-x86 seabios ipxe-qemu" },
  "qemu-img": { met: () => program("qemu-img"), packages: "qemu-utils" },
  virsh: { met: () => program("virsh"), packages: "libvirt-clients" },
  "virt-admin": { met: () => program("virt-admin"), packages: "libvirt-clients" },
  tini: { met: () => program("tini"), packages: "tini" },
  python3: { met: () => program("python3"), packages: "python3" },
  "python3-libvirt": {
    met: () => succeeds("/usr/bin/python3", "-c", "import libvirt"),
    packages: "python3 python3-libvirt",
  },
  "python3-msgpack": {
    met: () => succeeds("/usr/bin/python3", "-c", "import msgpack"),
    packages: "python3 python3-msgpack",
  },
  script: { met: () => program("script"), packages: "bsdutils" },
  systemd: { met: () => ["systemd-notify", "systemd-analyze", "python3"].every(program), packages: "systemd python3" },
  fish: { met: () => program("fish"), packages: "fish" },
  zsh: { met: () => program("zsh"), packages: "zsh" },
  groff: { met: () => program("groff"), packages: "groff-base" },
  mandoc: { met: () => program("mandoc"), packages: "mandoc" },
  man: { met: () => program("man"), packages: "man-db" },
  tmux: { met: () => program("tmux"), packages: "tmux" },
  chromium: { met: () => program("chromium"), packages: "chromium" },
  ssh: { met: () => program("ssh"), packages: "openssh-client" },
  sshd: { met: () => program("sshd"), packages: "openssh-server" },
  nc: { met: () => program("nc"), packages: "netcat-openbsd" },
  "virt-ssh-helper": { met: () => program("virt-ssh-helper"), packages: "libvirt-daemon" },
  polkitd: {
    met: () => program("dbus-daemon") && program("dbus-send") && existsSync(POLKITD),
    packages: "polkitd dbus",
  },
  faketime: { met: () => existsSync(FAKETIME), packages: "libfaketime" },
  dpkg: {
    met: () => ["dpkg-deb", "lintian", "deb-systemd-helper", "systemd-sysusers"].every(program),
    packages: "dpkg lintian init-system-helpers systemd",
  },
  openssl: { met: () => program("openssl"), packages: "openssl" },
  nginx: { met: () => program("nginx"), packages: "nginx-light" },
  caddy: { met: () => program("caddy"), packages: "caddy" },
  "nats-server": { met: () => program("nats-server"), packages: "nats-server" },
  "prometheus-libvirt-exporter": {
    met: () => program("prometheus-libvirt-exporter"),
    packages: "prometheus-libvirt-exporter",
  },
  prometheus: { met: () => program("prometheus"), packages: "prometheus" },
  "a file system in user space": {
    met: () => existsSync("/dev/fuse") && program("nsenter") && program("python3"),
    remedy: "apt-get install util-linux python3, and modprobe fuse, in a container with --privileged",
  },
  "root with mount namespaces": {
    met: () =>
      process.getuid?.() === 0 && succeeds("unshare", "--mount", "--net", "--pid", "--fork", "--mount-proc", "true"),
    remedy: "run as root, in a container with --privileged",
  },
  "a copy of this system": {
    met: () =>
      process.getuid?.() === 0 &&
      program("ip") &&
      existsSync("/lib/systemd/systemd") &&
      succeeds(
        ...(["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--net", "--cgroup"] as const),
        ...["sh", "-c", SYSTEM_COPY_PROBE, "sh", "/"],
      ),
    remedy: "apt-get install iproute2 systemd, and run as root, in a container with --privileged",
  },
  "root with network namespaces": {
    met: () =>
      process.getuid?.() === 0 &&
      succeeds("sh", "-c", "ip netns add virstream-probe-$$ && ip netns delete virstream-probe-$$"),
    remedy: "apt-get install iproute2, and run as root, in a container with --privileged",
  },
} satisfies Record<string, { met: () => boolean } & ({ packages: string } | { remedy: string })>;

/** All that `startLibvirtd` and `createGuest` need. */
export const labRequirements: readonly RequirementName[] = [
  "root with mount namespaces",
  "tini",
  "libvirtd",
  "qemu",
  "qemu-img",
  "virsh",
];

const answers = new Map<RequirementName, Requirement>();

/** Tells whether the machine has something, and if not, the command that installs it. Asks the machine once. */
export function requirement(name: RequirementName): Requirement {
  let answer = answers.get(name);
  if (answer === undefined) {
    const entry = known[name];
    const remedy = "remedy" in entry ? entry.remedy : `apt-get install ${entry.packages}`;
    answer = { name, met: entry.met(), remedy };
    answers.set(name, answer);
  }
  return answer;
}

/**
 * `describe` for tests that need something from the machine.
 *
 * If something is missing, the suite is skipped, under a title that says what is missing and how to install it.
 * VIRSTREAM_TEST_REQUIRE in the environment changes that: with `all` such a suite fails (for machines that must have
 * everything), and with `none` every suite is skipped that needs anything from the machine.
 */
export function describeWith(names: readonly RequirementName[], title: string, fn: () => void): void {
  const mode = process.env.VIRSTREAM_TEST_REQUIRE;
  const missing = mode === "none" ? [] : names.map(requirement).filter(({ met }) => !met);
  const reason = `needs ${missing.map(({ name, remedy }) => `${name} (${remedy})`).join(", ")}`;
  if (missing.length > 0 && mode === "all") {
    describe(title, () => {
      it(`has what it needs from the machine`, () => {
        throw new Error(`${title}: ${reason}`);
      });
    });
    return;
  }
  const isSkipped = mode === "none" || missing.length > 0;
  describe.skipIf(isSkipped)(missing.length > 0 ? `${title} [${reason}]` : title, fn);
}

/** The full path of a program, looked for in PATH and in the folders for administrators; undefined when there is none. */
export function findProgram(name: string): string | undefined {
  const folders = [...(process.env.PATH ?? "").split(delimiter), "/usr/local/sbin", "/usr/sbin", "/sbin"];
  return folders.map((folder) => join(folder, name)).find(isExecutable);
}

function program(name: string): boolean {
  return findProgram(name) !== undefined;
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

function succeeds(command: string, ...args: string[]): boolean {
  return spawnSync(command, args, { stdio: "ignore", timeout: 10_000 }).status === 0;
}

/** For programs that are no tests. @throws Error with the command that installs what is missing */
export function mustHave(names: readonly RequirementName[]): void {
  const missing = names.map(requirement).filter(({ met }) => !met);
  if (missing.length > 0) throw new Error(`this needs: ${missing.map(({ remedy }) => remedy).join("; ")}`);
}
