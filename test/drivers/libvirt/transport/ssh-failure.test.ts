import { describe, expect, it } from "vitest";
import { sshFailure } from "../../../../src/drivers/libvirt/transport/ssh-failure.ts";
import { parseLibvirtUri } from "../../../../src/drivers/libvirt/transport/uri.ts";

const uri = parseLibvirtUri("qemu+ssh://me@host/system");
const failure = (code: number, words: string, opened = false) => sshFailure(uri, { code, signal: null, words }, opened);

describe("The error for an ssh that ended before the daemon answered", () => {
  it.each([
    [
      255,
      "No RSA host key is known for host.\r\nHost key verification failed.\r\n",
      "unauthenticated",
      "known_hosts=PATH",
    ],
    [255, "me@host: Permission denied (publickey,password).", "unauthenticated", "ssh-copy-id me@host"],
    [255, "Received disconnect: 2: Too many authentication failures", "unauthenticated", "keyfile=PATH"],
    [255, "ssh: connect to host host port 22: Connection refused", "connection-refused", "is sshd running"],
    [255, "ssh: connect to host host port 22: No route to host", "connection-refused", "check the network"],
    [255, "ssh: Could not resolve hostname host: Name or service not known", "connection-refused", "correct the host"],
    [255, "ssh: connect to host host port 22: Connection timed out", "connect-timeout", "firewall"],
    [255, "/root/.ssh/config: line 1: Bad configuration option: x", "invalid-uri", "correct ssh's configuration"],
    [255, "kex_exchange_identification: Connection closed by remote host", "connection-lost", "ssh me@host true"],
    [64, "virstream: trouble: closed /run/libvirt/libvirt-sock", "socket-denied", "usermod -aG libvirt me"],
    [64, "virstream: trouble: no helper", "unsupported", "apt-get install libvirt-daemon"],
    [1, "nc: unix connect failed: Permission denied", "socket-denied", "usermod -aG libvirt me"],
    [
      1,
      "virt-ssh-helper: cannot connect to '/run/libvirt/libvirt-sock-ro': No such file or directory",
      "socket-missing",
      "systemctl start",
    ],
    [1, "nc: unix connect failed: Connection refused", "connection-refused", "systemctl restart"],
    [1, "nc: invalid option -- 'U'\nusage: nc [-46]", "unsupported", "knows -U"],
    [127, "sh: command not found", "connection-lost", "sh: command not found"],
    [0, "", "connection-lost", "ended with the code 0"],
  ])("with %i, saying %j, is %s, and says what to do", (code, words, expected, advice) => {
    expect(failure(code, words)).toMatchObject({ code: expected, message: expect.stringContaining(advice) });
  });

  it("leaves out what ssh says of what it did", () => {
    const words =
      "Warning: Permanently added 'host' (ED25519) to the list of known hosts.\nme@host: Permission denied (publickey).\n";
    expect(failure(255, words).message).not.toContain("Permanently");
  });
});

describe("The error for an ssh that ended later", () => {
  it("is a lost connection, whatever it says", () => {
    expect(failure(255, "client_loop: send disconnect: Broken pipe", true)).toMatchObject({
      code: "connection-lost",
      message: "ssh me@host ended: client_loop: send disconnect: Broken pipe",
    });
    expect(sshFailure(uri, { code: null, signal: "SIGKILL", words: "" }, true).message).toContain("ended by SIGKILL");
  });
});
