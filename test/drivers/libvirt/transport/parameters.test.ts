import { describe, expect, it } from "vitest";
import { checkParameters } from "../../../../src/drivers/libvirt/transport/parameters.ts";
import { parseLibvirtUri } from "../../../../src/drivers/libvirt/transport/uri.ts";

const check = (uri: string) => checkParameters(parseLibvirtUri(uri));

describe("The parameters of a URI", () => {
  it.each([
    "qemu:///system?socket=/a&mode=legacy&auth=polkit",
    "qemu+tcp://host/system?name=qemu:///system&no_tty=1&authfile=/a",
    "qemu://host/system?pkipath=/a&no_verify=1&no_sanity=1",
    "qemu+ssh://host/system?mode=auto&proxy=auto&socket=/a&netcat=nc&keyfile=/k&no_verify=1&known_hosts=/h&sshauth=agent",
  ])("of %s are honoured", (uri) => {
    expect(check(uri)).toBeUndefined();
  });

  it.each([
    ["qemu+ssh://host/system?command=ssh", "unsupported", "command= runs any program"],
    ["qemu://host/system?command=/bin/true", "unsupported", "command= runs any program"],
    ["qemu+ext:///system?command=/bin/true", "unsupported", "the transport ext runs any program"],
    ["qemu:///embed", "unsupported", "the path /embed runs libvirt's driver inside the program"],
    ["qemu://host/system?tls_priority=NORMAL", "unsupported", "tls_priority="],
    ["qemu://host/system?auth=sasl.GSSAPI", "unsupported", "SASL is not supported"],
    ["qemu://host/system?auth=magic", "invalid-uri", "auth is sasl"],
    ["qemu://host/system?keyfile=/a", "invalid-uri", "no use for keyfile= (it is for ssh, libssh, libssh2)"],
    ["qemu://host/system?socket=/a", "invalid-uri", "no use for socket= (it is for unix, ssh"],
    ["qemu+tcp://host/system?no_verify=1", "invalid-uri", "no use for no_verify= (it is for tls, ssh"],
    ["qemu+ssh://host/system?pkipath=/a", "invalid-uri", "no use for pkipath= (it is for tls)"],
    ["qemu:///system?argv=x", "invalid-uri", "no use for argv="],
    ["qemu://host/system?no_verify=yes", "invalid-uri", "no_verify is a number"],
  ])("of %s are refused by name, for they would be dropped otherwise: %s, %s", (uri, code, why) => {
    expect(() => check(uri)).toThrow(expect.objectContaining({ code }));
    expect(() => check(uri)).toThrow(why);
  });
});
