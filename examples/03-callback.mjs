// One callback per domain. If it returns a promise, the stream waits for it; a slow callback therefore also slows down the
// calls to the hypervisor. An AbortSignal ends the stream.
//
//   node examples/03-callback.mjs [URI]

import { setTimeout as sleep } from "node:timers/promises";
import { connect } from "virstream";

const connection = await connect(process.argv[2] ?? "test:///default?domains=1000");
const abort = new AbortController();
let seen = 0;
try {
  await connection.stats({ groups: ["state"] }, { signal: abort.signal }).forEach(async ({ domain, state }) => {
    console.log(domain.name, `${state?.state}/${state?.reason}`);
    await sleep(10); // as slow as a database
    if (++seen === 5) abort.abort("five are enough");
  });
} catch (reason) {
  console.log(`ended: ${reason}`);
} finally {
  await connection.close();
}
