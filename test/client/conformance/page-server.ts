import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

/** What became of an obligation in a page. */
export interface Outcome {
  readonly name: string;
  /** Why it is not met. */
  readonly error: string | undefined;
}

/** No inline code, no eval, nothing from elsewhere; of other addresses only those of servers. */
const POLICY = "default-src 'none'; script-src 'self'; worker-src 'self'; connect-src ws://127.0.0.1:*; img-src data:";

const file = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

/** Serves the page that runs the obligations, in itself or in a worker. */
export async function servePage() {
  const { outputFiles } = await build({
    entryPoints: [file("page.ts"), file("worker.ts")],
    outdir: "page",
    bundle: true,
    format: "esm",
    platform: "browser",
    write: false,
    // The package lists only files of dist as those with effects.
    ignoreAnnotations: true,
    alias: { vitest: file("page-vitest.ts") },
  });
  const scripts = new Map(outputFiles.map(({ path, text }) => [path.slice(path.lastIndexOf("/")), text]));
  const page = `<!doctype html><link rel="icon" href="data:,"><script type="module" src="/page.js"></script>`;
  const web = createServer(({ url = "" }, response) => {
    const script = scripts.get(url);
    const type = script === undefined ? "text/html" : "text/javascript";
    response.writeHead(200, { "content-type": type, "content-security-policy": POLICY }).end(script ?? page);
  }).listen(0, "127.0.0.1");
  await once(web, "listening");
  return {
    url: `http://127.0.0.1:${(web.address() as AddressInfo).port}`,
    async [Symbol.asyncDispose]() {
      web.closeAllConnections();
      web.close();
      await once(web, "close");
    },
  };
}
