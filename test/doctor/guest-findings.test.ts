import { execFileSync } from "node:child_process";
import { describe, expect, it } from "vitest";
import type { GuestFacts } from "../../src/doctor/guests.ts";
import { guestFindings } from "../../src/doctor/guests.ts";
import { ControlState } from "../../src/drivers/libvirt/rpc/procedures.ts";
import { parseLibvirtUri } from "../../src/drivers/libvirt/transport/uri.ts";
import { VirstreamError } from "../../src/model/error.ts";
import type { StateWords } from "../../src/model/state.ts";
import { shellWord } from "../../src/overview/shell-word.ts";
import { uuidOf } from "../drivers/libvirt/rpc/fake-daemon.ts";

const ok = { state: ControlState.ok, details: 0, forMs: 0 };
let number = 0;

/** A guest without findings, apart from the given facts. */
function guest(name: string, facts: Partial<GuestFacts> = {}): GuestFacts {
  const balloon = { model: "virtio", periodS: 5 };
  return { name, uuid: uuidOf(++number), transient: false, control: ok, groups: 0x7ff, balloon, ...facts };
}

function find(guests: readonly GuestFacts[], uri = "qemu:///system") {
  return guestFindings(guests, parseLibvirtUri(uri));
}

describe("What is wrong with guests", () => {
  it("is nothing when all is well, or when there are no guests", () => {
    expect(find([])).toEqual([]);
    expect(find([guest("a"), guest("b")])).toEqual([]);
  });

  it("is a monitor that has been busy for more than a second, with how long and what to look at", () => {
    const occupied = (forMs: number) => ({ control: { state: ControlState.occupied, details: 0, forMs } });
    const [finding, ...others] = find([guest("quick", occupied(40)), guest("slow", occupied(38_355)), guest("c")]);
    expect(others).toEqual([]);
    expect(finding).toMatchObject({ id: "monitor-busy", severity: "warning" });
    expect(finding!.what).toMatch(/^The monitor of 1 of 3 running guests has been busy /);
    expect(finding!.guests).toMatchObject([{ name: "slow", forMs: 38_355 }]);
    expect(finding!.guests[0]!.fix).toEqual([
      "virsh -c qemu:///system domcontrol slow",
      expect.stringContaining(`grep '[-]uuid ${finding!.guests[0]!.uuid}'`),
    ]);
  });

  it("is a guest that QEMU paused because its disk failed, with which disk and how it goes on", () => {
    const failed = { state: { state: "paused", reason: "ioerror" } } as const;
    const [finding, ...others] = find([guest("a"), guest("full", failed), guest("-b", failed)]);
    expect(others).toEqual([]);
    expect(finding).toMatchObject({
      id: "guest-failed",
      severity: "warning",
      what: expect.stringContaining("I/O error"),
    });
    const [full, dash] = finding!.guests;
    expect(full!.fix[0]).toMatch(/^virsh -c qemu:\/\/\/system domblkerror full /);
    expect(full!.fix[1]).toBe("virsh -c qemu:///system resume full");
    expect(dash!.fix[1]).toBe(`virsh -c qemu:///system resume ${dash!.uuid}`);
  });

  it("is another state that follows a failure, one finding for each, and no ordinary state", () => {
    const state = (state: string, reason: string) => ({ state: { state, reason } as StateWords });
    const guests = [
      guest("user", state("paused", "user")),
      guest("dog", state("paused", "watchdog")),
      guest("panic", state("crashed", "panicked")),
    ];
    expect(find(guests).map(({ what, guests }) => [what, guests[0]!.name])).toEqual([
      ["Something failed in 1 of 3 running guests: its state is paused (watchdog).", "dog"],
      ["Something failed in 1 of 3 running guests: its state is crashed (panicked).", "panic"],
    ]);
  });

  it("is a QEMU process that is stopped, or that waits for storage", () => {
    const process = (pid: number, state: string) => ({ process: { pid, state } });
    const guests = [guest("a", process(1, "S")), guest("b", process(22, "T")), guest("c", process(33, "D"))];
    expect(find(guests)).toMatchObject([
      { id: "process-stuck", guests: [{ name: "b", fix: [expect.stringMatching(/^kill -CONT 22 /)] }] },
      { id: "process-stuck", guests: [{ name: "c", fix: [expect.stringMatching(/^cat \/proc\/33\/wchan /)] }] },
    ]);
  });

  it("is only a note when a job keeps the monitor busy", () => {
    expect(find([guest("a", { control: { state: ControlState.job, details: 0, forMs: 9_000 } })])).toMatchObject([
      { id: "monitor-job", severity: "note", guests: [{ fix: ["virsh -c qemu:///system domjobinfo a"] }] },
    ]);
  });

  it("is a monitor connection that libvirt has lost", () => {
    expect(find([guest("a", { control: { ...ok, state: ControlState.error, details: 2 } })])).toMatchObject([
      { id: "monitor-error", severity: "warning", guests: [{ name: "a" }] },
    ]);
    // libvirt's internal error: it shows for a moment between two commands.
    expect(find([guest("a", { control: { ...ok, state: ControlState.error, details: 3 } })])).toEqual([]);
  });

  it("is a balloon that reports nothing; the fix is permanent for a guest with a persistent definition", () => {
    const balloon = { model: "virtio", periodS: 0 };
    const [finding] = find([guest("a", { balloon }), guest("b", { balloon, transient: true })]);
    expect(finding).toMatchObject({ id: "balloon-period-off", severity: "warning" });
    expect(finding!.guests.map(({ fix }) => fix)).toEqual([
      ["virsh -c qemu:///system dommemstat a --period 10 --live --config"],
      ["virsh -c qemu:///system dommemstat b --period 10 --live"],
    ]);
  });

  it("is a missing balloon, as a note", () => {
    expect(find([guest("a", { balloon: { model: "none", periodS: 0 } })])).toMatchObject([
      { id: "balloon-none", severity: "note" },
    ]);
  });

  it("is a group that some guests do not support", () => {
    const findings = find([guest("a"), guest("old", { groups: 0x1ff }), guest("older", { groups: 0x1ff })]);
    expect(findings).toMatchObject([
      { id: "groups-missing", severity: "note", guests: [{ name: "old" }, { name: "older" }] },
    ]);
    expect(findings[0]!.what).toMatch(/^dirtyrate and vm are not supported for 2 of 3 running guests/);
  });

  it("is nothing for a guest that has stopped since it was listed", () => {
    const gone = new VirstreamError("unknown-domain", "Domain not found", { libvirt: { code: 42, domain: 10 } });
    expect(find([{ name: "a", uuid: uuidOf(1), transient: true, error: gone }])).toEqual([]);
  });

  it("differs for guests that do not answer, that libvirt refuses to examine, and that were not reached", () => {
    const bare = (name: string, error?: VirstreamError): GuestFacts => ({
      name,
      uuid: uuidOf(2),
      transient: false,
      ...(error === undefined ? {} : { error }),
    });
    const silent = bare("silent", new VirstreamError("deadline-exceeded", "no answer"));
    const denied = bare("denied", new VirstreamError("denied", "access denied"));
    expect(find([silent, denied, bare("late")])).toMatchObject([
      { id: "guest-silent", guests: [{ name: "silent" }] },
      {
        id: "guest-unexamined",
        what: expect.stringContaining("access denied"),
        guests: [{ name: "denied" }, { name: "late" }],
      },
    ]);
    expect(find([bare("late")])).toMatchObject([{ what: expect.stringContaining("the time was up") }]);
  });
});

describe("The commands", () => {
  it("find the process of this guest alone, whatever the names of others are", () => {
    const busy = { control: { state: ControlState.occupied, details: 0, forMs: 9_000 } };
    const [g2, g20] = [guest("g2", busy), guest("g20", busy)];
    const [command] = find([g2])[0]!.guests[0]!.fix.slice(-1);
    const args = [g2, g20].map(
      ({ name, uuid }) => `qemu -name guest=${name},debug-threads=on -uuid ${uuid} -display none`,
    );
    const shell = `ps() { printf '%s\\n' ${args.map(shellWord).join(" ")} ${shellWord(command!)}; }; ${command}`;
    expect(execFileSync("sh", ["-c", shell], { encoding: "utf8" })).toBe(`${args[0]}\n`);
  });

  it("use the read-write socket, and the host of the URI", () => {
    const balloon = { model: "virtio", periodS: 0 };
    const command = (uri: string) => find([guest("a", { balloon })], uri)[0]!.guests[0]!.fix[0];
    expect(command("qemu:///system?socket=/tmp/x/libvirt-sock-ro")).toMatch(
      /^virsh -c 'qemu:\/\/\/system\?socket=\/tmp\/x\/libvirt-sock' /,
    );
    expect(command("qemu+ssh://me@host/system")).toMatch(/^virsh -c qemu\+ssh:\/\/me@host\/system /);
  });

  it("quote every name as one word", () => {
    expect(shellWord("web-01.example")).toBe("web-01.example");
    expect(shellWord("it's; rm -rf $HOME")).toBe("'it'\\''s; rm -rf $HOME'");
    const unseen = guest("a\u009b2J", { balloon: { model: "virtio", periodS: 0 } });
    expect(find([unseen])[0]!.guests[0]!.fix[0]).toContain(`dommemstat ${unseen.uuid} `);
    const odd = guest("--help", { balloon: { model: "virtio", periodS: 0 } });
    expect(find([odd])[0]!.guests[0]!.fix[0]).toContain(`dommemstat ${odd.uuid} `);
  });
});
