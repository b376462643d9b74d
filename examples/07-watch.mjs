// Watches a host for three sweeps, and computes CPU use and disk writes per second from the records.
//
//   node examples/07-watch.mjs [URI]

import { connect } from "virstream";
import { RateMeter } from "virstream/rates";

const connection = await connect(process.argv[2] ?? "test:///default?domains=3&freeze=2");
const query = { groups: ["state", "cpu-total", "block"], deadlineMs: 200 };
const meter = new RateMeter();
let sweeps = 0;

for await (const event of connection.watch(query, { intervalMs: 1_000 }).events) {
  switch (event.type) {
    case "record": {
      const { record, cpu, disks } = meter.take(event.record);
      const percent = cpu.percent === undefined ? "-" : `${cpu.percent.toFixed(1)} %`;
      const written = disks[0]?.writeBytesPerSecond; // undefined, and not 0, if it is not known
      console.log(
        record.domain.name,
        record.status,
        percent,
        written === undefined ? "-" : `${Math.round(written / 1024)} KiB/s`,
      );
      break;
    }
    case "gone":
      meter.forget(event.domain);
      console.log(event.domain.name, "is gone");
      break;
    case "gap":
      meter.gap(event.host);
      console.log(`${event.skipped ?? "some"} sweeps were skipped: ${event.reason}`);
      break;
    case "status":
      console.log(`${event.host ?? connection.uri}: ${event.state}`, event.error?.message ?? "");
      break;
    case "sync":
      console.log(`sweep ${event.tick}: ${event.summary.ok} of ${event.summary.domains} domains are complete\n`);
      if (++sweeps === 3) await connection.close();
  }
  if (sweeps === 3) break;
}
