// The five busiest domains, drawn again after every sweep, until it is interrupted.
//
//   node examples/11-top.mjs [URI]

import { connect } from "virstream";

const connection = await connect(process.argv[2] ?? "test:///default");
const table = connection.table({ groups: ["state", "cpu-total"] }, { intervalMs: 250 });
for await (const _change of table.changes) {
  console.log(`— ${table.size} domains`);
  for (const { domain, rates, stale } of table.top(5, (row) => row.rates.cpu.percent))
    console.log(domain.name, `${rates.cpu.percent?.toFixed(1) ?? "-"} %`, ...(stale ? ["stale"] : []));
}
