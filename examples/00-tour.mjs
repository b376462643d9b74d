// The tour behind `npm start`: a server over the simulated host, a subscriber over WebSocket, and the batch.
//
//   npm start                      the simulated host
//   npm start -- qemu:///system    your own guests

import { connect } from "virstream";
import { serve } from "virstream/server";

const uri = process.argv[2] ?? "test:///default?latency=40";

const host = await connect(uri).catch(({ message, code }) => {
  console.error(`${message} [${code}]`);
  process.exit(1);
});
const server = await serve(host, { port: 0 });
console.log(`serving ${host.uri} at ${server.url}\n`);

const connection = await connect(server.url);
try {
  // The stream: one line per domain, as soon as its record arrives.
  let began = performance.now();
  for await (const { domain, state, params, status } of connection.stats()) {
    const ms = (performance.now() - began).toFixed(0).padStart(5);
    const kib = params.number("balloon.current");
    const memory = kib === undefined ? "-" : `${(kib / 1024 ** 2).toFixed(1)} GiB`;
    console.log(`${ms} ms  ${domain.name}  ${state?.state ?? "-"}, ${memory}, ${params.size} parameters, ${status}`);
  }

  // The batch: the same stream, collected.
  began = performance.now();
  const records = await connection.getAllDomainStats();
  console.log(`\nthe batch: ${records.length} records in ${(performance.now() - began).toFixed(0)} ms`);
} finally {
  await connection.close();
  await server.close();
  await host.close();
}
