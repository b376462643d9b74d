// Your own driver: the processes of this machine as domains. Streams, batch calls and servers work with it.
//
//   node examples/04-own-driver.mjs

import { createHash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { hostname } from "node:os";
import { connect } from "virstream";
import { Domain, DomainStatsRecord, registerDriver, TypedParams } from "virstream/drivers";

class ProcessDriver {
  uri = "process:///self";
  hypervisor = "process";
  host = hostname();

  async *sweep(_query, { signal, expect }) {
    const pids = (await readdir("/proc")).filter((name) => /^\d+$/.test(name));
    expect(pids.length);
    for (const [index, pid] of pids.entries()) {
      if (signal.aborted) return;
      yield [await this.#record(index, pid)];
    }
  }

  async close() {}

  async #record(index, pid) {
    const uuid = createHash("md5").update(`${this.host}/${pid}`).digest("hex");
    const domain = new Domain(
      uuid.replace(/(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-"),
      pid,
      Number(pid),
      this.host,
      this,
    );
    const began = performance.now();
    const common = { domain, index, sampledAt: Date.now() };
    try {
      const stat = await readFile(`/proc/${pid}/stat`, "utf8");
      const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
      const params = TypedParams.from([
        ["process.name", "string", stat.slice(stat.indexOf("(") + 1, stat.lastIndexOf(")"))],
        ["cpu.user", "ullong", BigInt(fields[11]) * 10_000_000n],
        ["cpu.system", "ullong", BigInt(fields[12]) * 10_000_000n],
      ]);
      return new DomainStatsRecord({ ...common, params, status: "ok", tookMs: performance.now() - began });
    } catch {
      return new DomainStatsRecord({ ...common, params: TypedParams.EMPTY, status: "gone", tookMs: 0 });
    }
  }
}

registerDriver("process", async () => new ProcessDriver());

const connection = await connect("process:///self");
for await (const { domain, status, params } of connection.stats()) {
  console.log(domain.name, status, params.getUnknown("process.name"), params.get("cpu.user"));
}
await connection.close();
