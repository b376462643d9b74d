import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { expect, it } from "vitest";
import { connect } from "../../../src/index.ts";
import { serve } from "../../../src/server/index.ts";
import { inChromium } from "../../lab/chromium.ts";
import { freePort } from "../../lab/port.ts";
import { describeWith } from "../../lab/requirement.ts";

/** A page's script whose `domains(url)` gives the number of records of a server's sweep, or the error's code and message. */
const SCRIPT = `
  import { connect } from "virstream/browser";
  globalThis.domains = async (url) => {
    try {
      const connection = await connect(url);
      const records = await connection.getAllDomainStats();
      await connection.close();
      return [records.length, records[0].params.get("cpu.time") > 0n];
    } catch ({ code, message }) {
      return [code, message];
    }
  };`;

/** What some bundlers and old libraries put into a page: names of Node's, with little behind them. */
const POLYFILL =
  "globalThis.Buffer = { isBuffer: () => false }; globalThis.process = { env: {} }; globalThis.global = {};";

/** Serves a page with the script, and gives its URL. */
async function servePage(policy: string, before = "") {
  const bundle = await build({
    stdin: { contents: SCRIPT, resolveDir: fileURLToPath(new URL(".", import.meta.url)) },
    bundle: true,
    format: "iife",
    platform: "browser",
    write: false,
  });
  const page = `<!doctype html><link rel="icon" href="data:,"><script>${before}</script><script>${bundle.outputFiles[0]!.text}</script>`;
  const web = createServer((_request, response) => {
    response.writeHead(200, { "content-type": "text/html", "content-security-policy": policy }).end(page);
  }).listen(0);
  await once(web, "listening");
  return {
    port: (web.address() as AddressInfo).port,
    async [Symbol.asyncDispose]() {
      web.closeAllConnections();
      web.close();
      await once(web, "close");
    },
  };
}

describeWith(["chromium"], "a page in Chromium", () => {
  it("reads a server's records also where its Buffer and process are incomplete imitations of Node's", async () => {
    await using web = await servePage("", POLYFILL);
    await using host = await connect("test:///default?domains=7");
    const server = await serve(host, { port: 0 });
    await inChromium(`http://127.0.0.1:${web.port}/`, async (page) => {
      expect(await page.evaluate(`domains("${server.url}")`)).toEqual([7, true]);
    });
    await server.close();
  });

  it("that cannot connect gets the causes with their remedies: no server, a wrong origin, the policy, the certificate", async () => {
    await using host = await connect("test:///default?domains=7");
    const server = await serve(host, { port: 0 });
    const nobody = `ws://127.0.0.1:${await freePort()}`;
    const causes = [/virstream serve --listen/, /option origins/, /connect-src/, /https:/];
    await using web = await servePage(`connect-src ${server.url} ${nobody}`);
    // This name leads to the page, and is not of loopback, so the server does not admit it.
    const args = ["--host-resolver-rules=MAP page.example 127.0.0.1"];
    await inChromium(
      `http://page.example:${web.port}/`,
      async (page) => {
        for (const url of [nobody, server.url]) {
          const [code, message] = (await page.evaluate(`domains("${url}")`)) as [string, string];
          expect(code).toBe("connection-lost");
          for (const cause of causes) expect(message).toMatch(cause);
        }
      },
      args,
    );
    await inChromium(
      `http://127.0.0.1:${web.port}/`,
      async (page) => {
        const [code, message] = (await page.evaluate(`domains("ws://127.0.0.1:1")`)) as [string, string];
        expect(code).toMatch(/^(connection-lost|denied)$/);
        expect(message).toMatch(/connect-src|Content Security Policy/);
      },
      [],
      [`connect-src ws://127.0.0.1:1/`],
    );
    await server.close();
  });
});
