// Several hosts as one connection, each by its own URI. A host that cannot be reached does not delay the others.
//
//   node examples/08-several-hosts.mjs [URI]...

import { connectAll } from "virstream";

const given = process.argv.slice(2);
const uris = given.length > 0 ? given : ["test:///default?host=hv1&domains=2", "test:///default?host=hv2&domains=3"];

const connection = await connectAll(uris);
console.log(connection.host);
for await (const { domain, status } of connection.stats({ groups: ["state"] })) {
  console.log(domain.host, domain.name, status);
}
await connection.close();
