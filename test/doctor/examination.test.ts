/** @module-tag any-node */

import { mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { DEFAULTS } from "../../src/doctor/configuration.ts";
import { type Examination, type ExamineOptions, examine } from "../../src/doctor/examination.ts";
import { needsFix } from "../../src/doctor/finding.ts";
import { BUSY_MS, examineGuests, type GuestFacts, guestFindings, listRunning } from "../../src/doctor/guests.ts";
import { guestProcesses } from "../../src/doctor/processes.ts";
import { TimeLimit } from "../../src/doctor/time-limit.ts";
import { connectDaemon, type OpenTransport, openTransport } from "../../src/drivers/libvirt/daemon.ts";
import type { StatsArgs } from "../../src/drivers/libvirt/rpc/procedures.ts";
import { RpcClient } from "../../src/drivers/libvirt/rpc/rpc-client.ts";
import { connectSocket } from "../../src/drivers/libvirt/transport/unix.ts";
import { parseLibvirtUri } from "../../src/drivers/libvirt/transport/uri.ts";
import { VirstreamError } from "../../src/model/error.ts";
import { GROUPS } from "../../src/model/group.ts";
import { LIST_FILTERS, StatsFlag } from "../../src/model/query.ts";
import { NIL_UUID } from "../../src/model/uuid.ts";
import { FakeDaemon, remoteError, statsReply, text } from "../drivers/libvirt/rpc/fake-daemon.ts";
import { mustRun } from "../lab/command.ts";
import { createGuest, createGuests } from "../lab/guest.ts";
import { type Lab, standardLab } from "../lab/hypervisor.ts";
import { type Libvirtd, startLibvirtd } from "../lab/libvirtd.ts";
import { describeWith, labRequirements } from "../lab/requirement.ts";
import { startTestDriver } from "../lab/test-driver.ts";

/** Well below the 30 s that libvirt's own calls hang for. */
const BOUND_MS = 15_000;

function ids({ findings }: Examination): string[] {
  return findings.map(({ id }) => id).sort();
}

function find({ findings }: Examination, id: string) {
  return findings.find((finding) => finding.id === id);
}

/** Examines a private daemon as if it were the machine's own: by the usual names in its own folders. */
function asLocal(libvirtd: Libvirtd): ExamineOptions {
  const place = {
    uid: 0,
    systemFolders: [join(libvirtd.directory, "run/libvirt")],
    userFolder: "/nowhere",
    systemd: true,
  };
  return {
    place,
    configuration: { systemFolder: join(libvirtd.directory, "etc"), userFolder: "/nowhere" },
    transports: (uri, signal) => connectSocket(uri, signal, place),
  };
}

describeWith(labRequirements, "The examination of a host", () => {
  let lab: Lab;
  beforeAll(async () => {
    lab = await standardLab();
  });
  afterAll(() => lab?.stop());
  afterEach(() => vi.restoreAllMocks());

  it("names the host, its versions and settings, and finds nothing to fix", async () => {
    const local = await examine("qemu:///system", asLocal(lab.libvirtd));
    const version = expect.any(Number);
    expect(local).toMatchObject({
      uri: "qemu:///system",
      hypervisor: { hypervisor: "qemu", host: expect.any(String), hypervisorVersion: version, libvirtVersion: version },
      keepalive: true,
      events: true,
      statistics: true,
      configuration: { path: join(lab.libvirtd.directory, "etc/libvirtd.conf"), settings: DEFAULTS },
      guests: { running: 4, examined: 4 },
    });
    expect(local.sockets.map(({ state, used }) => [state, used])).toEqual([
      ["missing", false],
      ["open", true],
      ["missing", false],
      ["open", false],
    ]);
    expect(local.groups).toEqual(expect.arrayContaining(GROUPS.slice(0, 9)));
    expect(ids(local).filter((id) => id !== "groups-missing")).toEqual([]);
    expect(needsFix(local.findings)).toBe(false);
  });

  it("supports a group that it says is supported, and no other", async () => {
    const { groups } = await examine(lab.libvirtd.uri);
    for (const group of GROUPS) {
      const { code } = await lab.libvirtd.virsh("domstats", "minimal", "--enforce", `--${group}`);
      expect([group, code === 0]).toEqual([group, groups!.includes(group)]);
    }
  });

  it("makes one statistics call for a domain that does not exist, one for the states of those that do not run, and else only calls that libvirt refuses", async () => {
    const call = vi.spyOn(RpcClient.prototype, "call");
    await examine(lab.libvirtd.uri);
    const names = new Set(call.mock.calls.map(([{ name }]) => name));
    expect([...names].filter((name) => /DOMAIN_/.test(name)).sort()).toEqual([
      "CONNECT_GET_ALL_DOMAIN_STATS",
      "DOMAIN_GET_CONTROL_INFO",
      "DOMAIN_GET_STATE",
      "DOMAIN_GET_XML_DESC",
    ]);
    const asked = call.mock.calls
      .filter(([{ name }]) => name === "CONNECT_GET_ALL_DOMAIN_STATS")
      .map(([, args]) => args as unknown as StatsArgs);
    const refused = asked.filter(({ groups, flags }) => groups === 0xffffffff && flags === StatsFlag.enforce);
    expect(refused).toHaveLength(4);
    expect(asked.filter((args) => !refused.includes(args))).toEqual([
      { uuids: [NIL_UUID], groups: 1, flags: 0 },
      { uuids: [], groups: 1, flags: LIST_FILTERS.inactive },
    ]);
  });

  it("asks no guest: it finds frozen guests by their processes, nothing else changes, and their monitors stay idle", async () => {
    const guests = [lab.rich, lab.chained, lab.minimal, lab.running];
    const before = await examine(lab.libvirtd.uri);
    for (const guest of guests) guest.freeze();
    try {
      // Each stops a moment after the signal.
      await vi.waitFor(async () => {
        const processes = await guestProcesses();
        expect(guests.map(({ uuid }) => processes.get(uuid)?.state)).toEqual(["T", "T", "T", "T"]);
      }, BOUND_MS);
      const examination = await examine(lab.libvirtd.uri);
      const { what, guests: stuck } = find(examination, "process-stuck")!;
      expect(what).toMatch(/^The QEMU process of 4 of 4 running guests is stopped/);
      const fixes = guests.map(({ name, pid }) => [name, `kill -CONT ${pid}`]);
      expect(stuck.map(({ name, fix }) => [name, fix[0]!.split("  #")[0]]).sort()).toEqual(fixes.sort());
      const others = examination.findings.filter(({ id }) => id !== "process-stuck");
      expect({ ...examination, findings: others }).toEqual(before);
      for (const guest of guests) expect(await guest.virsh(`domcontrol ${guest.name}`)).toBe("ok\n\n");
    } finally {
      for (const guest of guests) guest.thaw();
    }
  });

  it("says that no guest was asked, and how to ask them, where it cannot see their processes", async () => {
    const transports: OpenTransport = (_, signal) => openTransport(parseLibvirtUri(lab.libvirtd.uri), signal);
    const far = await examine("qemu+tcp://far/system", { transports });
    expect(find(far, "guests-unasked")).toMatchObject({
      severity: "note",
      what: expect.stringContaining("the QEMU processes of 4 of 4 running guests"),
      fix: [expect.stringMatching(/^virstream get qemu\+tcp:\/\/far\/system /)],
    });
    expect(ids(await examine(lab.libvirtd.uri))).not.toContain("guests-unasked");
  });

  it("finds guests that do not report their memory, with commands that fix it", async () => {
    await lab.rich.virsh("dommemstat rich --period 0 --live");
    const xml = await lab.shutOff.virsh("dumpxml shut-off");
    const file = join(lab.libvirtd.directory, "disks/transient.xml");
    const other = xml
      .replace(/<name>.*<\/name>/, "<name>it&apos;s &amp; transient</name>")
      .replace(/<uuid>.*<\/uuid>/, "")
      .replace(/<disk [\s\S]*<\/disk>/, "")
      .replace(/<stats period='5'\/>/, "");
    await writeFile(file, other);
    await lab.rich.virsh(`create ${file} --paused`);
    await writeFile(
      file,
      other.replace(/transient</, "bare<").replace(/<memballoon[\s\S]*<\/memballoon>/, "<memballoon model='none'/>"),
    );
    await lab.rich.virsh(`create ${file} --paused`);
    try {
      const examination = await examine(lab.libvirtd.uri);
      expect(find(examination, "balloon-none")).toMatchObject({ guests: [{ name: "it's & bare" }] });
      const { guests, what } = find(examination, "balloon-period-off")!;
      expect(what).toContain("2 of 6 running guests");
      expect(guests.map(({ name }) => name).sort()).toEqual(["it's & transient", "rich"]);
      for (const { fix } of guests) await mustRun("sh", ["-c", fix.join("\n")]);
      expect(ids(await examine(lab.libvirtd.uri))).not.toContain("balloon-period-off");
      expect(await lab.rich.virsh("dumpxml rich --inactive")).toContain("<stats period='10'/>");
    } finally {
      for (const name of ["transient", "bare"]) await lab.libvirtd.virsh("destroy", `it's & ${name}`);
    }
  });

  it("examines only the daemon where the hypervisor is another", async () => {
    await using other = await startTestDriver({ libvirtd: lab.libvirtd, domains: 3 });
    const examination = await examine(other.uri);
    expect(examination).toMatchObject({ hypervisor: { hypervisor: "test" }, guests: { running: 3, examined: 0 } });
    expect(ids(examination)).toEqual(["requests-unknown"]);
  });

  it.runIf(process.getuid?.() === 0)("finds that the user has no permission for the sockets", async () => {
    process.seteuid!(65_534);
    try {
      expect(await examine(lab.libvirtd.uri)).toMatchObject({
        sockets: [{ state: "denied" }],
        findings: [{ id: "socket-denied", fix: [expect.stringContaining("run as root")] }],
      });
    } finally {
      process.seteuid!(0);
    }
  });

  it("finds guests whose monitor is busy, and for how long", async () => {
    lab.chained.freeze();
    const stuck = lab.libvirtd.virsh("domstats", "chained");
    try {
      while (!/^occupied \([1-9]/.test(await lab.chained.virsh("domcontrol chained"))) await sleep(100);
      const examination = await examine(lab.libvirtd.uri);
      const { guests } = find(examination, "monitor-busy")!;
      expect(guests).toMatchObject([{ name: "chained", forMs: expect.any(Number) }]);
      expect(guests[0]!.forMs).toBeGreaterThanOrEqual(1_000);
      expect(examination.guests).toEqual({ running: 4, examined: 4 });
    } finally {
      lab.chained.thaw();
      await stuck;
    }
  });

  it("has no finding for guests that stop after it has listed them, persistent or transient", async () => {
    const uri = parseLibvirtUri(lab.libvirtd.uri);
    const timeLimit = new TimeLimit(BOUND_MS, new AbortController().signal);
    const persistent = await createGuest(lab.libvirtd, { name: "persistent", paused: true });
    const transient = await createGuest(lab.libvirtd, { name: "transient", paused: true, transient: true });
    const { client } = await connectDaemon({ uri, transports: openTransport, timeoutMs: BOUND_MS }, undefined);
    try {
      const listed = await listRunning(client, timeLimit);
      const stopping = listed.filter(({ uuid }) => [persistent, transient].some((guest) => guest.uuid === uuid));
      await Promise.all([persistent.destroy(), transient.destroy()]);
      const examined = await examineGuests([client], stopping, "everything", timeLimit);
      expect(examined.map(({ error }) => error?.libvirt?.code).sort()).toEqual([42, 55]);
      expect(guestFindings(examined, uri)).toEqual([]);
    } finally {
      client.destroy(new VirstreamError("connection-closed", "the test is over"));
      await persistent.undefine();
    }
  });

  it("ends in time, with a finding, when a guest stays locked", { timeout: 120_000 }, async () => {
    const timeLimit = new TimeLimit(BOUND_MS, new AbortController().signal);
    const dial = () =>
      connectDaemon(
        { uri: parseLibvirtUri(lab.libvirtd.uri), transports: openTransport, timeoutMs: BOUND_MS },
        undefined,
      );
    const clients = (await Promise.all([dial(), dial()])).map(({ client }) => client);
    const running = await listRunning(clients[0]!, timeLimit);
    lab.rich.freeze();
    const destroyed = lab.libvirtd.virsh("destroy", "rich");
    try {
      await vi.waitFor(async () => {
        const { client } = await dial();
        try {
          await expect(listRunning(client, new TimeLimit(300, timeLimit.signal))).rejects.toThrow("no answer");
        } finally {
          client.destroy(new VirstreamError("connection-closed", "enough"));
        }
      }, BOUND_MS);
      const start = performance.now();
      const [guests, whole] = await Promise.all([
        examineGuests(clients, running, "everything", timeLimit),
        examine(lab.libvirtd.uri),
      ]);
      expect(performance.now() - start).toBeLessThan(BOUND_MS);
      const silent = (guest: GuestFacts) => guest.error?.code === "deadline-exceeded";
      expect(guests.filter(silent).map(({ name }) => name)).toEqual(["rich"]);
      expect(guests.filter(({ balloon }) => balloon !== undefined)).toHaveLength(3);
      expect(ids(whole)).toEqual(["listing-silent", "requests-unknown"]);
    } finally {
      for (const client of clients) client.destroy(new VirstreamError("connection-closed", "the test is over"));
      lab.rich.thaw();
      await destroyed;
    }
  });

  it("ends in time, with a finding, when the daemon hangs", async () => {
    await lab.libvirtd.kill("SIGSTOP");
    try {
      const start = performance.now();
      const examination = await examine(lab.libvirtd.uri, { timeoutMs: 1_500 });
      expect(performance.now() - start).toBeLessThan(BOUND_MS);
      expect(ids(examination)).toEqual(["daemon-silent"]);
      expect(find(examination, "daemon-silent")!.fix.join()).toMatch(/(systemctl restart|pkill -x) libvirtd/);
    } finally {
      await lab.libvirtd.kill("SIGCONT");
    }
  });

  it("finds that the daemon has died", async () => {
    await lab.libvirtd.kill("SIGKILL");
    expect(await examine("qemu:///system", asLocal(lab.libvirtd))).toMatchObject({
      findings: [{ id: "socket-dead", severity: "problem", fix: ["systemctl start libvirtd.socket"] }],
    });
  });
});

describeWith(labRequirements, "The examination of a host with few workers", () => {
  let libvirtd: Libvirtd;
  beforeAll(async () => {
    libvirtd = await startLibvirtd({ conf: ["max_client_requests = 2", "min_workers = 2", "max_workers = 2"] });
  });
  afterAll(() => libvirtd?.stop());

  it("says what can be known where no guest runs, and what cannot", async () => {
    // This is about what it finds: on a loaded machine it may take as long as it takes.
    const patient = { timeoutMs: 60_000 };
    const empty = await examine(libvirtd.uri, patient);
    expect(empty).toMatchObject({ groups: undefined, guests: { running: 0, examined: 0 } });
    expect(ids(empty)).toContain("groups-unknown");
    await createGuest(libvirtd, { name: "off", shutOff: true, disks: 0 });
    const off = await examine(libvirtd.uri, patient);
    expect(off.groups).toEqual(expect.arrayContaining(["state", "cpu-total", "balloon", "vcpu", "interface", "block"]));
    expect(find(off, "groups-unknown")).toMatchObject({ severity: "note", what: expect.stringContaining("vm") });
  });

  it("finds that the daemon's workers are all busy, and the guests that keep them busy", async () => {
    const [stuck] = await createGuests(libvirtd, 2, { disks: 0, paused: true });
    stuck!.freeze();
    const asking = [1, 2].map(() => libvirtd.virsh("domstats", stuck!.name));
    try {
      await vi.waitFor(
        async () => expect(await stuck!.virsh(`domcontrol ${stuck!.name}`)).toMatch(/^occupied/),
        BOUND_MS,
      );
      await sleep(BUSY_MS);
      const examination = await examine(libvirtd.uri);
      expect(ids(examination)).toEqual(["monitor-busy", "process-stuck", "requests-unknown", "workers-busy"]);
      expect(find(examination, "monitor-busy")!.guests.map(({ name }) => name)).toEqual([stuck!.name]);
      expect(examination).toMatchObject({ guests: { running: 2, examined: 0 } });
    } finally {
      stuck!.thaw();
      await Promise.all(asking);
    }
  });

  it("finds settings of the daemon that are too low, with commands that fix them", async () => {
    const options = asLocal(libvirtd);
    const examination = await examine("qemu:///system", options);
    expect(examination.configuration?.settings).toEqual({ ...DEFAULTS, max_client_requests: 2, max_workers: 2 });
    expect(find(examination, "requests-few")!.what).toContain("sets max_client_requests = 2, but virstream needs 5");
    for (const id of ["workers-few", "requests-few"]) {
      const { severity, fix } = find(examination, id)!;
      expect([severity, fix[1]]).toEqual(["warning", expect.stringMatching(/^systemctl restart libvirtd /)]);
      await mustRun("sh", ["-c", fix[0]!]);
    }
    await libvirtd.restart();
    const fixed = await examine("qemu:///system", options);
    expect(needsFix(fixed.findings)).toBe(false);
    expect(fixed.configuration?.settings).toEqual(DEFAULTS);
    expect(await readFile(join(libvirtd.directory, "etc/libvirtd.conf"), "utf8")).toContain('auth_unix_ro = "none"');
  });
});

describeWith(labRequirements, "The examination of a host that admits no more clients", () => {
  it("names the limits of clients, and the command that shows who they are", async () => {
    await using libvirtd = await startLibvirtd({ conf: ["max_clients = 2", "max_anonymous_clients = 2"] });
    const uri = parseLibvirtUri(libvirtd.uri);
    const dial = () => connectDaemon({ uri, transports: openTransport, timeoutMs: BOUND_MS }, undefined);
    const others = await Promise.all([dial(), dial()]);
    try {
      const options = { ...asLocal(libvirtd), timeoutMs: 1_500 };
      const { what, fix } = find(await examine("qemu:///system", options), "daemon-silent")!;
      expect(what).toContain("max_clients = 2 in all, max_anonymous_clients");
      expect(fix.join("\n")).toContain("virt-admin srv-clients-info libvirtd ");
    } finally {
      await Promise.all(others.map(({ client }) => client.close()));
    }
  });
});

describe("The examination of a host", () => {
  it("waits for a slow transport, and does not call the daemon silent for it", async () => {
    await using daemon = await FakeDaemon.start();
    daemon.answer = ({ procedure }) => (procedure === 344 ? { ok: statsReply() } : "default");
    const transports: OpenTransport = async (_, signal) => {
      await sleep(3_500, undefined, { signal });
      return openTransport(parseLibvirtUri(daemon.uri()), signal);
    };
    expect(ids(await examine("qemu+ssh://far/system", { transports, timeoutMs: 30_000 }))).not.toContain(
      "daemon-silent",
    );
  });

  it.each([
    ["qemu+ssh://root@far:2222/system", "-p 2222 root@far"],
    ["qemu+ssh:///system", "localhost"],
  ])(
    "gives a command that measures how long ssh takes without the daemon, if ssh opens no connection to %s",
    async (uri, target) => {
      const transports: OpenTransport = (_, signal) =>
        sleep(BOUND_MS, undefined, { signal }).then(() => Promise.reject());
      const examination = await examine(uri, { transports, timeoutMs: 200 });
      const { what, fix } = find(examination, "daemon-silent")!;
      expect(what).toContain("ssh opened no connection");
      expect(fix.join()).toContain(`time ssh ${target} true `);
      expect(fix.join()).not.toContain("kill");
    },
  );

  it("proposes libvirt's own scheme for its test driver, never that of the simulated host", async () => {
    const place = { uid: 0, systemFolders: ["/nowhere"], userFolder: "/nowhere", systemd: true };
    const [missing] = (await examine("test+unix:///default", { place })).findings;
    expect(missing).toMatchObject({
      id: "socket-missing",
      fix: [expect.stringContaining(" test+unix:///default?socket=PATH")],
    });
    expect(missing!.fix[0]).not.toMatch(/ test:|virttestd/);
  });

  it("refuses what is no libvirt URI", async () => {
    await expect(examine("qemu+carrier-pigeon:///system")).rejects.toMatchObject({ code: "invalid-uri" });
  });

  it("ends with the signal's reason", async () => {
    await using daemon = await FakeDaemon.start();
    const abort = new AbortController();
    daemon.answer = ({ procedure }) => {
      if (procedure !== 344) return "default";
      setImmediate(() => abort.abort(new Error("enough")));
      return undefined;
    };
    await expect(examine(daemon.uri(), { signal: abort.signal })).rejects.toThrow("enough");
  });

  it("does not know max_client_requests without the daemon's file, and gives the command that shows it", async () => {
    await using daemon = await FakeDaemon.start();
    daemon.answer = ({ procedure }) => (procedure === 344 ? { ok: statsReply() } : "default");
    const unknown = async (uri: string, options?: ExamineOptions) => {
      const { what, fix, severity } = find(await examine(uri, options), "requests-unknown")!;
      expect(severity).toBe("note");
      return `${what} ${fix.join()}`;
    };
    expect(await unknown(daemon.uri())).toMatch(
      /configuration file is not known.* grep -sw max_client_requests \/etc\/libvirt\/\*\.conf /,
    );
    const transports: OpenTransport = (_, signal) => openTransport(parseLibvirtUri(daemon.uri()), signal);
    expect(await unknown("qemu+tcp://far/system", { transports })).toMatch(/another host.* grep .* on far; /);
    // Not even root can read a folder as a file.
    const folder = dirname(parseLibvirtUri(daemon.uri()).socket!);
    await mkdir(join(folder, "libvirtd.conf"));
    const options = {
      place: { uid: 0, systemFolders: [folder], userFolder: "/nowhere", systemd: true },
      configuration: { systemFolder: folder, userFolder: "/nowhere" },
    };
    expect(await unknown(daemon.uri(), options)).toContain(
      `sudo grep -sw max_client_requests ${folder}/libvirtd.conf `,
    );
  });

  it("finds that the hypervisor has no statistics call", async () => {
    await using daemon = await FakeDaemon.start();
    daemon.answer = ({ procedure }) => (procedure === 344 ? { error: remoteError(3, 6, "no support") } : "default");
    const examination = await examine(daemon.uri("xen:///system"));
    expect(examination).toMatchObject({ statistics: false, findings: [{ id: "stats-unsupported" }] });
  });

  it("makes no further statistics call where each connection has found at its opening that there is none", async () => {
    await using daemon = await FakeDaemon.start();
    daemon.answer = ({ procedure }) => {
      if (procedure === 3) return { ok: text("Xen") };
      return procedure === 344 ? { error: remoteError(3, 6, "no support") } : "default";
    };
    expect(await examine(daemon.uri("xen:///system"))).toMatchObject({ statistics: false });
    const asked = daemon.requests.filter(({ procedure }) => procedure === 344).map(({ connection }) => connection);
    // The first connection is that of the probe of the socket.
    expect(asked.sort()).toEqual([1, 2]);
  });

  it("finds that the daemon refuses, over any transport, with the error's message", async () => {
    await using daemon = await FakeDaemon.start();
    daemon.auth = [1];
    expect(await examine(daemon.uri())).toMatchObject({
      findings: [{ id: "connection-failed", what: expect.stringContaining("SASL") }],
    });
    const error = new VirstreamError("connection-refused", "nobody is at home");
    expect(await examine("qemu+tcp://far/system", { transports: () => Promise.reject(error) })).toMatchObject({
      sockets: [],
      findings: [{ id: "connection-failed", what: expect.stringContaining("nobody is at home [connection-refused]") }],
    });
  });

  it("finds that another host does not answer", async () => {
    const transports: OpenTransport = (_, signal) =>
      new Promise((__, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
    const examination = await examine("qemu+tcp://far/system", { transports, timeoutMs: 200 });
    expect(examination.findings).toMatchObject([{ id: "daemon-silent", severity: "problem" }]);
  });
});
