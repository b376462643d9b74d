import { spawn } from "node:child_process";
import { once } from "node:events";
import { copyFile, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import type { Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createServer as createTlsServer, type TLSSocket, type TlsOptions } from "node:tls";
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { LibvirtDriver } from "../../../../src/drivers/libvirt/driver.ts";
import { defaultPlaces } from "../../../../src/drivers/libvirt/transport/certificates.ts";
import { openTls } from "../../../../src/drivers/libvirt/transport/tls.ts";
import { parseLibvirtUri } from "../../../../src/drivers/libvirt/transport/uri.ts";
import { Authority, type Issued } from "../../../lab/certificates.ts";
import { mustRun } from "../../../lab/command.ts";
import { createGuest } from "../../../lab/guest.ts";
import { type Libvirtd, startLibvirtd } from "../../../lab/libvirtd.ts";
import { accepts, freePort } from "../../../lab/port.ts";
import { describeWith, labRequirements } from "../../../lab/requirement.ts";
import { PATIENCE } from "../../../until.ts";
import { oneSweep } from "./one-sweep.ts";
import { SilentListener } from "./silent-listener.ts";

const never = new AbortController().signal;

/** A folder as pkipath= wants it. */
async function pki(folder: string, authority: Authority, client?: Issued): Promise<string> {
  await mkdir(folder, { recursive: true });
  await copyFile(authority.certificate, join(folder, "cacert.pem"));
  if (client !== undefined) {
    await copyFile(client.certificate, join(folder, "clientcert.pem"));
    await copyFile(client.key, join(folder, "clientkey.pem"));
  }
  return folder;
}

describeWith([...labRequirements, "openssl"], "libvirt over TLS", () => {
  let folder: string;
  let ours: Authority;
  let theirs: Authority;
  let libvirtd: Libvirtd;
  let port: number;
  let server: Issued;
  let good: string;

  const identity = ({ certificate, key }: Issued) => [`cert_file = "${certificate}"`, `key_file = "${key}"`];

  /** Rewrites libvirtd's TLS configuration and starts it again. */
  async function configure(lines: readonly string[], issued = server): Promise<void> {
    const path = join(libvirtd.directory, "etc/libvirtd.conf");
    const text = await readFile(path, "utf8");
    const varying = ["# varying", ...identity(issued), ...lines, ""];
    await writeFile(path, text.split("# varying\n")[0] + varying.join("\n"));
    await libvirtd.restart();
  }

  const uri = (pkipath: string, { host = "localhost", more = "" } = {}) =>
    `qemu://${host}:${port}/system?pkipath=${encodeURIComponent(pkipath)}${more}`;
  const failure = (given: string) =>
    LibvirtDriver.open(given).then(
      (driver) => driver.close(),
      (error) => error,
    );

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "vs-tls-"));
    ours = await Authority.create(join(folder, "ours"), "our CA");
    theirs = await Authority.create(join(folder, "theirs"), "their CA");
    server = await ours.issue({ name: "server", hosts: ["DNS:localhost"] });
    good = await pki(join(folder, "good"), ours, await ours.issue({ name: "virstream" }));
    port = await freePort();
    libvirtd = await startLibvirtd({
      listen: true,
      conf: [
        'listen_addr = "127.0.0.1"',
        `tls_port = "${port}"`,
        `ca_file = "${ours.certificate}"`,
        'tls_allowed_dn_list = ["*CN=virstream*", "*CN=late*"]',
        "# varying",
        ...identity(server),
      ],
    });
    await createGuest(libvirtd, { name: "guest", paused: true });
  });

  afterAll(async () => {
    await libvirtd?.stop();
    await rm(folder, { recursive: true, force: true });
  });

  describe.each([
    ["TLSv1.3", []],
    ["TLSv1.2", ['tls_priority = "NORMAL:-VERS-TLS1.3"']],
  ])("with %s", (version, lines) => {
    beforeAll(() => (lines.length > 0 ? configure(lines) : undefined));

    it("opens, sweeps and closes", async () => {
      const socket = await openTls(parseLibvirtUri(uri(good)), never);
      expect(socket.getProtocol()).toBe(version);
      socket.destroy();
      expect(await oneSweep(uri(good))).toEqual({ guest: "ok" });
    });

    it("tells of each reason why the daemon may refuse the client's certificate, and that it is no lost line", async () => {
      const stranger = await pki(join(folder, "stranger"), ours, await ours.issue({ name: "stranger" }));
      const foreign = await pki(join(folder, "foreign"), ours, await theirs.issue({ name: "virstream" }));
      const expired = await pki(join(folder, "expired"), ours, await ours.issue({ name: "late", days: -1 }));
      for (const [pkipath, why] of [
        [stranger, /stranger\/clientcert\.pem has the name O=Lab,CN=stranger.*tls_allowed_dn_list.*virt-pki-query-dn/],
        [foreign, /was issued by CN=their CA, not by .*CN=our CA/],
        [expired, /expired on .*renew/],
      ] as const) {
        expect(await failure(uri(pkipath))).toMatchObject({
          code: "unauthenticated",
          retryable: false,
          message: expect.stringMatching(why),
        });
      }
    });

    it("says where it looked for a client's certificate when the daemon wants one and there is none", async () => {
      const places = defaultPlaces(await pki(join(folder, "home"), ours), join(folder, "etc-pki"));
      const opening = LibvirtDriver.open(`qemu+tls://localhost:${port}/system`, {}, (given, signal) =>
        openTls(given, signal, places),
      );
      await expect(opening).rejects.toMatchObject({
        code: "unauthenticated",
        message: expect.stringMatching(/no .*home\/clientcert\.pem, no .*etc-pki\/libvirt\/clientcert\.pem/),
      });
    });

    it("refuses a server of another CA or for another host, says which, and takes both with no_verify", async () => {
      const other = await pki(join(folder, "other"), theirs, await ours.issue({ name: "virstream" }));
      expect(await failure(uri(other))).toMatchObject({
        code: "unauthenticated",
        message: expect.stringMatching(/was not issued by a CA of cacert\.pem.*no_verify=1/),
      });
      expect(await failure(uri(good, { host: "127.0.0.1" }))).toMatchObject({
        code: "unauthenticated",
        message: expect.stringMatching(/is not for 127\.0\.0\.1: use a name/),
      });
      expect(await oneSweep(uri(other, { host: "127.0.0.1", more: "&no_verify=1" }))).toEqual({ guest: "ok" });
    });
  });

  it("leaves no connection behind, at whatever moment it is given up", async () => {
    const reason = new Error("enough");
    const attempts = Array.from({ length: 20 }, async (_, delay) => {
      const abort = new AbortController();
      const opening = LibvirtDriver.open(uri(good), { signal: abort.signal });
      setTimeout(() => abort.abort(reason), 2 * delay);
      await opening.then(
        (driver) => driver.close(),
        (error) => expect(error).toBe(reason),
      );
    });
    await Promise.all(attempts);
    const sockets = () => process.getActiveResourcesInfo().filter((name) => name === "TCPSocketWrap");
    await vi.waitFor(() => expect(sockets()).toEqual([]), PATIENCE);
  });

  it("opens from the default folders: the user's first, what is missing there from the system's", async () => {
    const systemFolder = join(folder, "system-pki");
    await mkdir(join(systemFolder, "libvirt/private"), { recursive: true });
    await mkdir(join(systemFolder, "CA"));
    await copyFile(join(good, "cacert.pem"), join(systemFolder, "CA/cacert.pem"));
    await copyFile(join(good, "clientcert.pem"), join(systemFolder, "libvirt/clientcert.pem"));
    await copyFile(join(good, "clientkey.pem"), join(systemFolder, "libvirt/private/clientkey.pem"));
    const open = (userFolder: string) =>
      oneSweep(`qemu://localhost:${port}/system`, (given, signal) =>
        openTls(given, signal, defaultPlaces(userFolder, systemFolder)),
      );
    expect(await open("")).toEqual({ guest: "ok" });
    expect(await open(join(folder, "nobody"))).toEqual({ guest: "ok" });
    await expect(open(await pki(join(folder, "wrong-home"), theirs))).rejects.toMatchObject({
      code: "unauthenticated",
    });
  });

  it("refuses a server whose certificate has expired, or was revoked, and says so", async () => {
    const late = await ours.issue({ name: "late-server", hosts: ["DNS:localhost"], days: -1 });
    await configure(["tls_no_sanity_certificate = 1"], late);
    expect(await failure(uri(good))).toMatchObject({
      code: "unauthenticated",
      message: expect.stringContaining("has expired: renew it on the server"),
    });
    const revoked = await ours.issue({ name: "revoked-server", hosts: ["DNS:localhost"] });
    await configure([], revoked);
    expect(await failure(uri(good))).toBeUndefined();
    const strict = await pki(join(folder, "strict"), ours, await ours.issue({ name: "virstream" }));
    await ours.revoke(revoked, join(strict, "cacrl.pem"));
    expect(await failure(uri(strict))).toMatchObject({
      code: "unauthenticated",
      message: expect.stringContaining("was revoked by its CA"),
    });
  });

  it("says what to do where the daemon wants SASL inside TLS", async () => {
    await configure(['auth_tls = "sasl"']);
    expect(await failure(uri(good))).toMatchObject({
      code: "unauthenticated",
      message: expect.stringContaining('auth_tls = "none"'),
    });
  });
});

describeWith(["openssl"], "Connecting over TLS", () => {
  let folder: string;
  let authority: Authority;
  let server: Issued;
  let good: string;
  let uri: (port: number) => string;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "vs-tls-"));
    authority = await Authority.create(join(folder, "ours"), "our CA");
    server = await authority.issue({ name: "server", hosts: ["IP:127.0.0.1"] });
    good = await pki(join(folder, "good"), authority, await authority.issue({ name: "virstream" }));
    uri = (port) => `qemu://127.0.0.1:${port}/system?pkipath=${good}`;
  });

  afterAll(() => rm(folder, { recursive: true, force: true }));

  /** A TLS server that is no libvirtd, and does what the test says once the handshake is over. */
  async function misbehave(onSecure: (tls: TLSSocket, raw: Socket) => void, options: TlsOptions = {}) {
    const own = { cert: await readFile(server.certificate), key: await readFile(server.key) };
    const tls = createTlsServer({ ...own, ...options });
    const raw = new Map<number | undefined, Socket>();
    tls.on("connection", (socket: Socket) => void raw.set(socket.remotePort, socket));
    tls.on("tlsClientError", () => {});
    tls.on("secureConnection", (socket) => {
      socket.on("error", () => {});
      onSecure(socket, raw.get(socket.remotePort)!);
    });
    await new Promise<void>((resolve) => tls.listen(0, "127.0.0.1", resolve));
    return {
      port: (tls.address() as { port: number }).port,
      [Symbol.asyncDispose]: async () => {
        for (const socket of raw.values()) socket.destroy();
        await new Promise((resolve) => tls.close(resolve));
      },
    };
  }

  it("takes the welcome off, and loses nothing of what comes with it", async () => {
    await using peer = await misbehave((tls) => tls.write(Buffer.from("\x01first")));
    const stream = await openTls(parseLibvirtUri(uri(peer.port)), never);
    const chunks: string[] = [];
    stream.on("data", (chunk) => chunks.push(String(chunk)));
    await vi.waitFor(() => expect(chunks.join("")).toBe("first"), PATIENCE);
    stream.destroy();
  });

  it("sends each message in a record of its own, for libvirtd reads but the first of a record in time", async () => {
    const records: number[] = [];
    await using peer = await misbehave((tls) => {
      tls.write(Buffer.from([1]));
      tls.on("data", (chunk) => records.push(chunk.length));
    });
    const stream = await openTls(parseLibvirtUri(uri(peer.port)), never);
    stream.cork();
    for (let length = 1; length <= 20; length++) stream.write(Buffer.alloc(length));
    stream.uncork();
    await vi.waitFor(() => expect(records).toEqual(Array.from({ length: 20 }, (_, index) => index + 1)), PATIENCE);
    stream.destroy();
  });

  it("tells a refusal from a lost line and from a stranger", async () => {
    const open = (port: number) => LibvirtDriver.open(uri(port));
    {
      await using peer = await misbehave((tls) => tls.end());
      await expect(open(peer.port)).rejects.toMatchObject({ code: "unauthenticated" });
    }
    {
      await using peer = await misbehave((_, raw) => raw.resetAndDestroy());
      await expect(open(peer.port)).rejects.toMatchObject({ code: "connection-lost", retryable: true });
    }
    {
      await using peer = await misbehave((tls) => tls.write("220 mail.example.com"));
      await expect(open(peer.port)).rejects.toMatchObject({
        code: "protocol-error",
        message: expect.stringContaining("not a libvirt daemon"),
      });
    }
  });

  it.each(["tls1_2", "tls1_3"])("takes a TLS alert about its certificate for a refusal, with %s", async (version) => {
    const port = await freePort();
    const theirs = await Authority.create(join(folder, `theirs-${version}`), "their CA");
    const identity = ["-cert", server.certificate, "-key", server.key, "-CAfile", theirs.certificate];
    const peer = spawn(
      "openssl",
      [
        "s_server",
        "-accept",
        `127.0.0.1:${port}`,
        "-quiet",
        `-${version}`,
        "-Verify",
        "1",
        "-verify_return_error",
      ].concat(identity),
      { stdio: "ignore" },
    );
    try {
      await vi.waitFor(async () => expect(await accepts(port)).toBe(true), PATIENCE);
      await expect(LibvirtDriver.open(uri(port))).rejects.toMatchObject({
        code: "unauthenticated",
        message: expect.stringMatching(/refused the client's certificate/),
        cause: expect.objectContaining({ code: expect.stringMatching(/ALERT_UNKNOWN_CA/) }),
      });
    } finally {
      peer.kill("SIGKILL");
      await once(peer, "exit");
    }
  });

  it("says that what answers does not speak TLS, or hangs up", async () => {
    await using plain = await SilentListener.start((socket) => socket.write("SSH-2.0-OpenSSH_9.2\r\n"));
    await expect(LibvirtDriver.open(uri(plain.port))).rejects.toMatchObject({
      code: "protocol-error",
      message: expect.stringMatching(/does not speak TLS.*qemu\+tcp:/),
    });
    await using old = await misbehave(() => {}, {
      minVersion: "TLSv1",
      maxVersion: "TLSv1.1",
      ciphers: "DEFAULT@SECLEVEL=0",
    });
    await expect(LibvirtDriver.open(uri(old.port))).rejects.toMatchObject({ code: "protocol-error" });
    await using closing = await SilentListener.start((socket) => socket.end());
    await expect(LibvirtDriver.open(uri(closing.port))).rejects.toMatchObject({ code: "connection-lost" });
  });

  it("says what to start where no program listens, and that a name is unknown", async () => {
    await expect(LibvirtDriver.open(uri(await freePort()))).rejects.toMatchObject({
      code: "connection-refused",
      message: expect.stringMatching(/libvirtd-tls\.socket/),
    });
    await expect(LibvirtDriver.open(`qemu://no-such-host.invalid/system?pkipath=${good}`)).rejects.toMatchObject({
      code: "connection-refused",
      message: expect.stringContaining("no-such-host.invalid:16514"),
    });
  });

  it("is given up when the signal says so, before and after the handshake, and leaves no connection", async () => {
    await using silent = await SilentListener.start();
    await using unwelcoming = await misbehave(() => {});
    for (const port of [silent.port, unwelcoming.port]) {
      const abort = new AbortController();
      const given = expect(LibvirtDriver.open(uri(port), { signal: abort.signal })).rejects.toThrow("enough");
      setTimeout(() => abort.abort(new Error("enough")), 150);
      await given;
    }
    await vi.waitFor(() => expect(silent.open).toBe(0), PATIENCE);
  });

  describe("with files that will not do", () => {
    let broken: string;
    const attempt = (pkipath = broken) => LibvirtDriver.open(`qemu://127.0.0.1:1/system?pkipath=${pkipath}`);

    beforeEach(async () => {
      broken = await mkdtemp(join(folder, "broken-"));
      for (const name of ["cacert", "clientcert", "clientkey"]) {
        await copyFile(join(good, `${name}.pem`), join(broken, `${name}.pem`));
      }
    });

    it.each(["cacert", "clientcert", "clientkey"])("names %s.pem when it is missing, and what to do", async (name) => {
      await rm(join(broken, `${name}.pem`));
      await expect(attempt()).rejects.toMatchObject({
        code: "unauthenticated",
        message: expect.stringMatching(new RegExp(`no ${broken}/${name}\\.pem.*pkipath=FOLDER.*\\+ssh`)),
      });
    });

    it("says that an encrypted key cannot be used, and how to decrypt it", async () => {
      const key = join(broken, "clientkey.pem");
      await mustRun("openssl", [
        "pkey",
        "-in",
        join(good, "clientkey.pem"),
        "-aes256",
        "-passout",
        "pass:x",
        "-out",
        key,
      ]);
      await expect(attempt()).rejects.toMatchObject({
        code: "unauthenticated",
        message: expect.stringContaining(`openssl pkey -in ${key}`),
      });
    });

    it("says that a key is not the certificate's, or that a file is no PEM", async () => {
      await copyFile(server.key, join(broken, "clientkey.pem"));
      await expect(attempt()).rejects.toMatchObject({
        code: "unauthenticated",
        message: expect.stringMatching(/belong together/),
      });
      await writeFile(join(broken, "clientcert.pem"), "nonsense");
      await expect(attempt()).rejects.toMatchObject({ code: "unauthenticated" });
    });
  });
});
