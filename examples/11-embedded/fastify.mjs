// A Fastify application that serves a host below /vm, to clients with a token.
//
//   npm install fastify
//   node examples/11-embedded/fastify.mjs [PORT]
//   VIRSTREAM_TOKEN=secret virstream get ws://127.0.0.1:PORT/vm

import fastify from "fastify";
import { connect } from "virstream";
import { createHandler } from "virstream/server";

const handler = createHandler(await connect("test:///default?domains=4"), { prefix: "/vm", token: "secret" });

const app = fastify();
app.get("/", async () => "This application has a host: /vm\n");
app.all("/vm/*", (request, reply) => {
  reply.hijack();
  handler.request(request.raw, reply.raw);
});
app.server.on("upgrade", handler.upgrade);
app.addHook("preClose", () => handler.close());
console.log(await app.listen({ port: Number(process.argv[2] ?? 0), host: "127.0.0.1" }));
