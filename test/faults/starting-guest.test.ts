import { mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, it, vi } from "vitest";
import "../../src/drivers/builtin.ts";
import { connect } from "../../src/client/connect.ts";
import { createGuests, defineGuest, type Guest } from "../lab/guest.ts";
import { type Libvirtd, startLibvirtd } from "../lab/libvirtd.ts";
import { describeWith, labRequirements } from "../lab/requirement.ts";
import { PATIENCE } from "../until.ts";

describeWith(labRequirements, "A guest that takes long to start", () => {
  let libvirtd: Libvirtd;
  let slow: Guest;
  let release: () => Promise<void>;

  beforeAll(async () => {
    libvirtd = await startLibvirtd();
    // libvirt runs this while a guest starts, holding its job, and waits for it. The daemon looks for it when it starts.
    const hooks = join(libvirtd.directory, "etc/hooks");
    const gate = join(libvirtd.directory, "disks/gate");
    await mkdir(hooks, { recursive: true });
    await writeFile(gate, "");
    await writeFile(
      join(hooks, "qemu"),
      `#!/bin/sh\n[ "$1 $2" = "slow started" ] || exit 0\nwhile [ -e ${gate} ]; do sleep 0.1; done\n`,
      { mode: 0o755 },
    );
    release = () => rm(gate, { force: true });
    await libvirtd.restart();
    await createGuests(libvirtd, 4, { paused: true, disks: 1 });
    slow = await defineGuest(libvirtd, { name: "slow" });
  });

  afterAll(async () => {
    await release?.();
    await libvirtd?.stop();
  });

  it("has its record by the deadline, delays no other guest, and has a whole one when it has started", async () => {
    await using connection = await connect(libvirtd.uri);
    // libvirt keeps the guest's lock meanwhile, and cannot list: the sweeps go by what is known from this one.
    expect(await connection.getAllDomainStats()).toHaveLength(5);
    const starting = slow.start();
    await sleep(1_500);
    for (let round = 0; round < 3; round++) {
      const begin = performance.now();
      const records = await connection.getAllDomainStats({ deadlineMs: 1_000 });
      expect(performance.now() - begin).toBeLessThan(5_000);
      const statuses = new Map(records.map(({ domain, status }) => [domain.name, status]));
      expect(statuses.get("slow")).toMatch(/partial|failed/);
      statuses.delete("slow");
      expect([...statuses.values()]).toEqual(["ok", "ok", "ok", "ok"]);
    }
    await release();
    await starting;
    await vi.waitFor(async () => {
      for (const { status } of await connection.getAllDomainStats()) expect(status).toBe("ok");
    }, PATIENCE);
  });
});
