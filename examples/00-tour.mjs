// The tour behind `npm start`: a server over a simulated host, one of whose guests is frozen, and a client over WebSocket.
//
//   npm start                      the simulated host
//   npm start -- qemu:///system    your own guests

import { connect } from "virstream";
import { serve } from "virstream/server";

const SWEEPS = 6;

const uri = process.argv[2] ?? "test:///default?domains=12&latency=250&freeze=3";

const host = await connect(uri).catch(({ message, code }) => {
  console.error(`${message} [${code}]`);
  process.exit(1);
});
const server = await serve(host, { port: 0 });
const connection = await connect(server.url);
try {
  console.log(`${host.uri}, served at ${server.url}\n`);

  console.log("One sweep. Each guest's record arrives as soon as its hypervisor has it:");
  const began = performance.now();
  const late = [];
  for await (const { domain, state, params, status, reason, missing } of connection.stats()) {
    const ms = (performance.now() - began).toFixed(0).padStart(7);
    console.log(`${ms} ms  ${domain.name}  ${state?.state ?? "-"}, ${params.size} parameters, ${status}`);
    if (reason === "timeout") late.push(`${domain.name}, without ${missing.join(", ")}`);
  }
  if (late.length > 0) {
    console.log(`Hung guests delay no other. Their records came at the deadline: ${late.join("; ")}.`);
  }

  console.log(
    `\nA watch of ${SWEEPS} sweeps, one per second. A table keeps the newest record and rates of each guest:`,
  );
  const query = { groups: ["state", "cpu-total", "block", "interface"], deadlineMs: 800 };
  const table = connection.table(query, { intervalMs: 1000 });
  await table.ready;
  let sweeps = 0;
  let drawn = 0;
  for await (const _change of table.changes) {
    // On a terminal each table is drawn over the last one.
    if (process.stdout.isTTY && drawn > 0) process.stdout.write(`\x1b[${drawn}A\x1b[J`);
    drawn = draw(table, ++sweeps);
    if (sweeps === SWEEPS) break;
  }
} finally {
  await connection.close();
  await server.close();
  await host.close();
}

console.log(`
Now try
  npm start -- qemu:///system                              your own guests
  node dist/cli/main.js top test:///default                a live table, trouble first
  node dist/cli/main.js get --format ndjson test:///default
  node examples/05-browser/serve.mjs                       a page in a browser
and read docs/cookbook.md: short recipes for dashboards and alerts.`);

/** Prints the five busiest guests, and returns the number of lines. */
function draw(table, sweep) {
  const lines = table.top(5, busy).map((row) => {
    const { domain, record, rates } = row;
    const read = sum(rates.disks, (disk) => disk.readBytesPerSecond);
    const received = sum(rates.interfaces, (nic) => nic.receivedBytesPerSecond);
    return `  ${domain.name.padEnd(24)}${percent(rates.cpu.percent)}${kib(read)}${kib(received)}  ${record.status}`;
  });
  const ok = table.values().filter(({ record }) => record.status === "ok").length;
  const heading = `  sweep ${sweep}: ${ok} of ${table.size} complete`.padEnd(31);
  console.log([`${heading}CPU    DISK READ NET RECEIVED`, ...lines].join("\n"));
  return lines.length + 1;
}

function busy({ rates }) {
  return rates.cpu.percent;
}

function percent(value) {
  return (value === undefined ? "-" : `${value.toFixed(1)} %`).padStart(8);
}

function kib(value) {
  return (value === undefined ? "-" : `${Math.round(value / 1024)} KiB/s`).padStart(13);
}

/** Undefined if there are no parts, or if the value of a part is unknown. */
function sum(parts, of) {
  const values = parts.map(of);
  return values.length === 0 || values.includes(undefined) ? undefined : values.reduce((total, value) => total + value);
}
