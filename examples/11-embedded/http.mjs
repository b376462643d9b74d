// Two hosts, each below a path of its own, in an HTTP server of Node that has other pages, too.
//
//   node examples/11-embedded/http.mjs [PORT]
//   virstream get ws://127.0.0.1:PORT/hv2

import { createServer } from "node:http";
import { connect } from "virstream";
import { createHandler } from "virstream/server";

const hv1 = createHandler(await connect("test:///default?host=hv1&domains=2"), { prefix: "/hv1", allowAnyone: true });
const hv2 = createHandler(await connect("test:///default?host=hv2&domains=3"), { prefix: "/hv2", allowAnyone: true });

const http = createServer((request, response) => {
  const page = () => response.end("This application has two hosts: /hv1 and /hv2\n");
  hv1.request(request, response, () => hv2.request(request, response, page));
});
http.on("upgrade", (request, socket, head) => {
  hv1.upgrade(request, socket, head, () => hv2.upgrade(request, socket, head));
});
http.listen(Number(process.argv[2] ?? 0), "127.0.0.1", () => console.log(`http://127.0.0.1:${http.address().port}`));
