// libvirt's batch calls, as promises: the records of all domains, or of some.
//
//   node examples/02-batch.mjs [URI]

import { connect } from "virstream";

const connection = await connect(process.argv[2] ?? "test:///default");
try {
  const all = await connection.getAllDomainStats({ groups: ["state", "cpu-total"] });
  console.log(`${all.length} domains`);

  const running = await connection.listDomains({ filter: ["running"] });
  const busiest = await connection.domainListGetStats(running.slice(0, 3), { groups: ["cpu-total", "vcpu"] });
  for (const { domain, params } of busiest) {
    // 64-bit values are bigint, and exact; number() is for arithmetic.
    console.log(domain.name, domain.uuid, params.get("cpu.time"), `${params.number("vcpu.current")} vCPUs`);
    console.log(params.tree().vcpu);
  }
} finally {
  await connection.close();
}
