import { describe, expect, it } from "vitest";
import { RateMeter } from "../../src/client/rates.ts";
import { diagnose } from "../../src/doctor/diagnosis.ts";
import type { GuestEvidence } from "../../src/doctor/guest-evidence.ts";
import { ControlState } from "../../src/drivers/libvirt/rpc/procedures.ts";
import { TypedParams } from "../../src/model/params.ts";
import { Domain, DomainStatsRecord, type RecordInit } from "../../src/model/record.ts";

type ParamInput = Parameters<typeof TypedParams.from>[0] extends Iterable<infer Item> ? Item : never;

const SECOND = 1_000_000_000n;
const domain = new Domain("0b1f0000-0000-4000-8000-000000000001", "db", 4, "hv1");

/** The rates between two records of a running guest, one second apart. */
function rates(before: readonly ParamInput[], after: readonly ParamInput[], rest: Partial<RecordInit> = {}) {
  const meter = new RateMeter();
  const record = (params: readonly ParamInput[], at: number): DomainStatsRecord =>
    new DomainStatsRecord({
      domain,
      params: TypedParams.from([["state.state", "int", 1], ["state.reason", "int", 1], ...params]),
      status: "ok",
      sampledAt: at,
      steadyAt: at,
      tookMs: 1,
      index: 0,
      ...rest,
    });
  meter.take(record(before, 1_000_000));
  return meter.take(record(after, 1_001_000));
}

const asked = { virsh: "virsh -c qemu:///system", askedForMs: 1_500 };
const partial = { status: "partial", reason: "timeout", missing: ["cpu-total", "block"] } as const;

describe("A diagnosis", () => {
  it("names a slow disk, its file and how long a request takes", () => {
    const disk = (reads: bigint, time: bigint): ParamInput[] => [
      ["block.count", "uint", 1],
      ["block.0.name", "string", "vda"],
      ["block.0.path", "string", "/images/db.qcow2"],
      ["block.0.rd.reqs", "ullong", reads],
      ["block.0.rd.times", "ullong", time],
    ];
    // 10 reads took 1.8 s together: 180 ms each.
    const found = diagnose({
      ...asked,
      evidence: {},
      rates: rates(disk(100n, SECOND), disk(110n, (SECOND * 28n) / 10n)),
    });
    expect(found.wrong).toBe(true);
    expect(found.summary).toBe("db (hv1) runs, but its disk vda took 180 ms for each read (/images/db.qcow2).");
    expect(found.remedy[0]).toMatch(/^iostat -x 1 {2}# on hv1: /);
  });

  it("names the limits of a slow disk first: they may be the cause", () => {
    const disk = (reads: bigint, time: bigint): ParamInput[] => [
      ["block.count", "uint", 1],
      ["block.0.name", "string", "vda"],
      ["block.0.rd.reqs", "ullong", reads],
      ["block.0.rd.times", "ullong", time],
    ];
    const found = diagnose({
      ...asked,
      evidence: { ioLimits: new Map([["vda", ["total_iops_sec 2"]]]) },
      rates: rates(disk(100n, 0n), disk(102n, SECOND)),
    });
    expect(found.summary).toBe("db (hv1) runs, but its disk vda took 500 ms for each read.");
    expect(found.evidence).toContain("disk vda has limits of libvirt: total_iops_sec 2");
    expect(found.remedy[0]).toBe("virsh -c qemu:///system blkdeviotune db vda  # are these limits too low?");
    expect(found.remedy[1]).toMatch(/^iostat /);
  });

  it("says that the vCPUs wait for the host's processors, as a mean over the vCPUs", () => {
    const vcpus = (delay: bigint): ParamInput[] => [
      ["vcpu.current", "uint", 2],
      ["vcpu.maximum", "uint", 2],
      ["vcpu.0.state", "int", 1],
      ["vcpu.0.delay", "ullong", delay],
      ["vcpu.1.state", "int", 1],
      ["vcpu.1.delay", "ullong", 0n],
    ];
    // One of two vCPUs waited 0.5 s of one second.
    const found = diagnose({ ...asked, evidence: {}, rates: rates(vcpus(0n), vcpus(SECOND / 2n)) });
    expect(found.summary).toContain("its vCPUs waited 25 % of the time for a processor of the host (steal)");
    expect(diagnose({ ...asked, evidence: {}, rates: rates(vcpus(0n), vcpus(SECOND / 10n)) }).wrong).toBe(false);
  });

  it("names a migration, for how long it has run, and how much is done", () => {
    const job = TypedParams.from([
      ["operation", "int", 5],
      ["data_total", "ullong", 4_000n],
      ["data_processed", "ullong", 1_000n],
    ]);
    const evidence: GuestEvidence = {
      control: { state: ControlState.job, details: 0, forMs: 40_000 },
      job: { type: 1, params: job },
    };
    const found = diagnose({ ...asked, evidence, rates: rates([], [], partial) });
    expect(found.summary).toBe("A migration has run in db (hv1) for 40 s.");
    expect(found.evidence).toEqual(["libvirt reports a job since 40 s", "25 % of its data is done"]);
    expect(found.records).toBe("its records are partial: without cpu-total, block");
    expect(found.remedy).toEqual(["virsh -c qemu:///system domjobinfo db"]);
  });

  it("tells a monitor that another client keeps busy from one that only virstream's own question waits for", () => {
    const busy = (forMs: number) =>
      diagnose({
        ...asked,
        evidence: { control: { state: ControlState.occupied, details: 0, forMs } },
        rates: rates([], [], partial),
      });
    expect(busy(45_000).summary).toBe(
      "db (hv1) does not answer: its monitor has been busy for 45 s with a call of another client.",
    );
    expect(busy(1_200).summary).toBe("db (hv1) does not answer: its monitor has been busy for 1.2 s.");
  });

  it("says that a process waits for storage, whatever else is wrong", () => {
    const evidence: GuestEvidence = { process: { pid: 4711, state: "D" } };
    const found = diagnose({ ...asked, evidence, rates: rates([], [], partial) });
    expect(found.summary).toBe("db (hv1) answers nothing: its QEMU process waits for storage (state D).");
    expect(found.remedy[0]).toMatch(/^cat \/proc\/4711\/wchan/);
  });

  it("quotes names and paths for the shell", () => {
    const disk: ParamInput[] = [
      ["state.state", "int", 3],
      ["state.reason", "int", 5],
      ["block.count", "uint", 1],
      ["block.0.name", "string", "vda"],
      ["block.0.path", "string", "/a b/$(reboot).img"],
    ];
    const params = TypedParams.from(disk);
    const evidence: GuestEvidence = { diskErrors: [{ disk: "vda", error: "no space" }] };
    const found = diagnose({ ...asked, evidence, rates: rates([], [], { params }) });
    expect(found.remedy[0]).toMatch(/^df -h '\/a b\/\$\(reboot\)\.img' /);
  });
});
