// An application that has a page of its own with the live table of guests in it. Run it in a checkout after npm ci:
//   node examples/12-live-page/serve.mjs [URI]
// /vm/ is the whole live page, and /vm/guests.js its table, for pages of the application.
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { connect } from "virstream";
import { createHandler } from "virstream/server";

const connection = await connect(process.argv[2] ?? "test:///default?domains=200&freeze=3");
const handler = createHandler(connection, { prefix: "/vm", ui: true, allowAnyone: true });
const page = readFileSync(new URL("index.html", import.meta.url));
const web = createServer((request, response) => {
  handler.request(request, response, () => {
    response.setHeader("content-type", "text/html; charset=utf-8");
    response.end(page);
  });
});
web.on("upgrade", handler.upgrade);
web.listen(Number(process.env.PORT ?? 0), "127.0.0.1", () => console.log(`http://127.0.0.1:${web.address().port}/`));
