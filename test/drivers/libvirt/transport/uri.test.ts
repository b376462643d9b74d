import { describe, expect, it } from "vitest";
import { parseLibvirtUri } from "../../../../src/drivers/libvirt/transport/uri.ts";

describe("A libvirt URI", () => {
  it.each([
    ["qemu:///system", "unix", "qemu:///system"],
    ["qemu:///session", "unix", "qemu:///session"],
    ["qemu+unix:///system", "unix", "qemu:///system"],
    ["QEMU+UNIX:///system", "unix", "qemu:///system"],
    ["qemu+unix:///system?socket=/tmp/a%20b&mode=legacy", "unix", "qemu:///system"],
    ["qemu:///embed?root=/some/dir&socket=/tmp/s", "unix", "qemu:///embed?root=/some/dir"],
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
    ["qemu+ssh://me@host:22/system?keyfile=/k&no_tty=1&x=y", "ssh", "qemu:///system?x=y"],
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
    ["qemu://host:99999/system", "no port 99999"],
    ["qemu://host:0/system", "no port 0"],
    ["qemu:///system?mode=sideways", "mode is one of auto, direct, legacy"],
    ["qemu:///system?socket=", "names no socket"],
    ["qemu:///system?socket=%zz", "percent-encoded"],
  ])("%s is refused: %s", (uri, why) => {
    expect(() => parseLibvirtUri(uri)).toThrow(expect.objectContaining({ code: "invalid-uri" }));
    expect(() => parseLibvirtUri(uri)).toThrow(why);
  });

  it("never shows a password", () => {
    const uri = parseLibvirtUri("qemu+tcp://me:secret@host/system");
    expect(uri.uri).toBe("qemu+tcp://me@host/system");
    expect(uri.user).toBe("me");
    expect(() => parseLibvirtUri("qemu+pigeon://me:secret@host/system")).toThrow(/^(?!.*secret)/);
  });
});
