import { describe, expect, it } from "vitest";
import { addressOf } from "../../../../src/drivers/libvirt/transport/tcp.ts";
import { socketCandidates } from "../../../../src/drivers/libvirt/transport/unix.ts";
import { parseLibvirtUri } from "../../../../src/drivers/libvirt/transport/uri.ts";

describe("A libvirt URI", () => {
  it.each([
    ["qemu:///system", "unix", "qemu:///system"],
    ["qemu:///session", "unix", "qemu:///session"],
    ["qemu+unix:///system", "unix", "qemu:///system"],
    ["QEMU+UNIX:///system", "unix", "qemu:///system"],
    ["qemu+unix:///system?socket=/tmp/a%20b&mode=legacy", "unix", "qemu:///system"],
    ["qemu:///embed?socket=/tmp/s", "unix", "qemu:///embed"],
    ["test+unix:///default", "unix", "test:///default"],
    ["test+unix:///path/node.xml?socket=/tmp/s", "unix", "test:///path/node.xml"],
    ["xen:///", "unix", "xen:///"],
    ["xen:///system", "unix", "xen:///system"],
    ["lxc:///", "unix", "lxc:///"],
    ["vz:///system", "unix", "vz:///system"],
    ["bhyve:///system", "unix", "bhyve:///system"],
    ["ch:///system", "unix", "ch:///system"],
    ["qemu://host/system", "tls", "qemu:///system"],
    ["qemu+tls://host:1/system", "tls", "qemu:///system"],
    ["qemu+tcp://host/system", "tcp", "qemu:///system"],
    ["qemu+ssh://me@host:22/system?keyfile=/k&no_tty=1", "ssh", "qemu:///system"],
    ["qemu+ssh://[fe80::1%25eth0]:22/system", "ssh", "qemu:///system"],
    ["qemu+libssh2://host/system", "libssh2", "qemu:///system"],
    ["qemu+ext:///system?command=/bin/x", "ext", "qemu:///system"],
    ["qemu+unix:///system?name=test:///default", "unix", "test:///default"],
  ])("%s goes by %s and is opened as %s", (uri, transport, name) => {
    expect(parseLibvirtUri(uri)).toMatchObject({ transport, name });
  });

  it("keeps for the transports what libvirt's client consumes", () => {
    const uri = parseLibvirtUri(
      "qemu+ssh://me%40home@host:2222/system?keyfile=%2Fhome%2Fme%2Fkey&no_verify=1;netcat=nc",
    );
    expect(uri).toMatchObject({ driver: "qemu", user: "me@home", host: "host", port: 2222, path: "/system" });
    expect([...uri.parameters]).toEqual([
      ["keyfile", "/home/me/key"],
      ["no_verify", "1"],
      ["netcat", "nc"],
    ]);
    expect(parseLibvirtUri("qemu:///system?socket=/a/b&mode=direct")).toMatchObject({ socket: "/a/b", mode: "direct" });
    expect(parseLibvirtUri("qemu://[::1]:16514/system")).toMatchObject({ host: "::1", port: 16_514 });
  });

  it.each([
    ["qemu", "not of the form"],
    ["://x", "not of the form"],
    ["1qemu:///system", "not of the form"],
    ["qemu+carrier-pigeon:///system", "not of the form"],
    ["qemu+pigeon:///system", "no transport pigeon"],
    ["qemu+unix://host/system", "no user, host or port"],
    ["qemu+unix://:22/system", "no user, host or port"],
    ["qemu+ssh://a b:x/system", "[user@]host[:port]"],
    ["qemu+ssh://-oProxyCommand/system", "no name and no address"],
    ["qemu+tcp://a;b/system", "no name and no address"],
    ["qemu://host:99999/system", "no port 99999"],
    ["qemu://host:0/system", "no port 0"],
    ["qemu:///system?mode=sideways", "mode is one of auto, direct, legacy"],
    ["qemu:///system?socket=", "names no socket"],
    ["qemu:///system?socket=%zz", "percent-encoded"],
  ])("%s is refused: %s", (uri, why) => {
    expect(() => parseLibvirtUri(uri)).toThrow(expect.objectContaining({ code: "invalid-uri" }));
    expect(() => parseLibvirtUri(uri)).toThrow(why);
  });

  it("never shows a password, and passes one in its query on to the daemon only", () => {
    const uri = parseLibvirtUri("qemu+tcp://me:secret@host/system");
    expect(uri.uri).toBe("qemu+tcp://me@host/system");
    expect(uri.user).toBe("me");
    const query = parseLibvirtUri("xen+tcp://host/?name=xen:///?x_password=secret");
    expect([query.uri, query.name]).toEqual(["xen+tcp://host/?name=xen:///?x_password=…", "xen:///?x_password=secret"]);
    expect(() => parseLibvirtUri("qemu+pigeon://me:secret@host/system")).toThrow(/^(?!.*secret)/);
  });
});

describe("The examples of libvirt's own documentation", () => {
  const place = { uid: 1_000, systemFolders: ["/run/libvirt"], userFolder: "/run/user/1000/libvirt", systemd: true };
  const port = { unix: 0, tcp: 16_509, tls: 16_514, ssh: 22, libssh: 22, libssh2: 22, ext: 0 };

  it.each([
    ["xen+ssh://rjones@towada/system", "ssh", "rjones", "towada:22", "xen:///system"],
    ["xen://towada/system", "tls", undefined, "towada:16514", "xen:///system"],
    ["xen://towada/system?no_verify=1", "tls", undefined, "towada:16514", "xen:///system"],
    ["test+tcp://localhost:5000/default", "tcp", undefined, "localhost:5000", "test:///default"],
    [
      "qemu+libssh2://user@host/system?known_hosts=/home/user/.ssh/known_hosts",
      "libssh2",
      "user",
      "host:22",
      "qemu:///system",
    ],
    [
      "qemu+libssh://user@host/system?known_hosts=/home/user/.ssh/known_hosts",
      "libssh",
      "user",
      "host:22",
      "qemu:///system",
    ],
    ["qemu://compute1.libvirt.org/system", "tls", undefined, "compute1.libvirt.org:16514", "qemu:///system"],
    ["qemu+ssh://root@hail.cloud.example.com/system", "ssh", "root", "hail.cloud.example.com:22", "qemu:///system"],
    ["qemu+tls://host/system?name=qemu:///system", "tls", undefined, "host:16514", "qemu:///system"],
    ["qemu+tcp:///system", "tcp", undefined, "localhost:16509", "qemu:///system"],
    ["qemu+tcp://[2001:db8::1]/system", "tcp", undefined, "[2001:db8::1]:16509", "qemu:///system"],
    [
      "qemu+ssh://host/system?keyfile=/root/.ssh/example_key&netcat=/opt/netcat/bin/nc",
      "ssh",
      undefined,
      "host:22",
      "qemu:///system",
    ],
  ] as const)("%s: by %s, as %s, to %s, for %s", (text, transport, user, address, name) => {
    const uri = parseLibvirtUri(text);
    expect(uri).toMatchObject({ transport, user, name });
    expect(addressOf({ ...uri, port: uri.port ?? port[uri.transport] }).text).toBe(address);
  });

  it.each([
    ["qemu:///system", "qemu:///system", "/run/libvirt/virtqemud-sock-ro"],
    ["qemu:///session", "qemu:///session", "/run/user/1000/libvirt/virtqemud-sock"],
    ["xen:///system", "xen:///system", "/run/libvirt/virtxend-sock-ro"],
    ["qemu:///system?mode=legacy", "qemu:///system", "/run/libvirt/libvirt-sock-ro"],
    ["qemu:///system?mode=direct", "qemu:///system", "/run/libvirt/virtqemud-sock-ro"],
    [
      "qemu+unix:///system?socket=/opt/libvirt/run/libvirt/libvirt-sock",
      "qemu:///system",
      "/opt/libvirt/run/libvirt/libvirt-sock",
    ],
  ])("%s: opened as %s, first at %s", (text, name, socket) => {
    const uri = parseLibvirtUri(text);
    expect(uri).toMatchObject({ transport: "unix", name });
    expect(socketCandidates(uri, place)[0]).toBe(socket);
  });
});

describe("A parameter that is unknown", () => {
  it.each(["root", "x", "host", "label", "no_verfy", "keyFile", "scoket", "Mode"])(
    "is refused by its name: %s",
    (name) => {
      expect(() => parseLibvirtUri(`qemu+ssh://host/system?${name}=1`)).toThrow(
        expect.objectContaining({
          code: "invalid-uri",
          message: expect.stringMatching(
            `ssh has no parameter ${name}=, but name, .*, mode, socket, no_verify, proxy, `,
          ),
        }),
      );
    },
  );

  it("reaches the daemon in a URI that name= gives", () => {
    const uri = parseLibvirtUri("qemu+tcp://host/?name=qemu:///system%3Fx=y");
    expect(uri.name).toBe("qemu:///system?x=y");
  });
});

describe("A URI whose path stands in the place of the host", () => {
  it.each([
    ["qemu://system", "qemu:///system"],
    ["qemu://system/", "qemu:///system"],
    ["qemu:system", "qemu:///system"],
    ["qemu://session?mode=legacy", "qemu:///session"],
    ["qemu+unix://system", "qemu+unix:///system"],
    ["test+unix://default", "test+unix:///default"],
    ["qemu+ssh://system", "qemu+ssh://HOST/system"],
  ])("is refused with the URI that is meant: %s", (uri, meant) => {
    expect(() => parseLibvirtUri(uri)).toThrow(
      expect.objectContaining({ code: "invalid-uri", message: expect.stringContaining(`did you mean ${meant}?`) }),
    );
  });

  it("may lead to a host of that name", () => {
    expect(parseLibvirtUri("qemu+ssh://system/system")).toMatchObject({ host: "system", name: "qemu:///system" });
  });
});
