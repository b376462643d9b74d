// Bundles and serves a web page that watches domains, and starts the server that the page connects to. Both listen on
// loopback only.
//
//   node examples/05-browser/serve.mjs [URI]

import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { connect } from "virstream";
import { serve } from "virstream/server";

const here = (name) => fileURLToPath(new URL(name, import.meta.url));

const bundle = await build({
  entryPoints: [here("page.mjs")],
  bundle: true,
  format: "esm",
  minify: true,
  write: false,
});
const files = {
  "/": ["text/html", await readFile(here("index.html"))],
  "/page.js": ["text/javascript", bundle.outputFiles[0].contents],
};

const connection = await connect(process.argv[2] ?? "test:///default?freeze=3&latency=20");
const server = await serve(connection, { port: 0 });
// The page may run page.js and no other code (eval included), and connect to the server and nowhere else.
const policy = `default-src 'none'; script-src 'self'; style-src 'unsafe-inline'; connect-src ${server.url}`;
const web = createServer((request, response) => {
  const [type, body] = files[new URL(request.url, "http://localhost").pathname] ?? ["text/plain", "nothing here\n"];
  const headers = { "content-type": `${type}; charset=utf-8`, "content-security-policy": policy };
  response.writeHead(body instanceof Uint8Array ? 200 : 404, headers).end(body);
});
web.listen(0, "127.0.0.1", () => {
  console.log(`http://127.0.0.1:${web.address().port}/?server=${encodeURIComponent(server.url)}`);
});

for (const signal of ["SIGINT", "SIGTERM"]) {
  process.once(signal, async () => {
    web.close();
    web.closeAllConnections();
    await server.close();
    await connection.close();
  });
}
