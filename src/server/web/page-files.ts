import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import { extname } from "node:path";
import { gzipSync } from "node:zlib";
import { VirstreamError } from "../../model/error.ts";

/** Restricts the page to this server's own files, and to a WebSocket to this server. */
const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self'",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
  "require-trusted-types-for 'script'",
].join("; ");

const TYPES: Readonly<Record<string, string>> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".svg": "image/svg+xml",
  ".txt": "text/plain; charset=utf-8",
};

interface PageFile {
  readonly type: string;
  readonly plain: Buffer;
  readonly compressed: Buffer;
  readonly etag: string;
}

/**
 * The files of the live page, in memory. They are read once, when a server starts, because an upgrade of the package
 * may replace them under the running server, whose page must fit it.
 */
export class PageFiles {
  /** By path. */
  readonly #files: Map<string, PageFile>;
  /** The text of index.html as it was read. */
  readonly #html: string;

  /**
   * @param intervalMs the time between two sweeps of the page, in ms
   * @throws VirstreamError `unsupported` if the package has no page, as in a bundle or before a build
   */
  constructor(intervalMs: number) {
    this.#files = readPage();
    this.#html = this.#files.get("/")!.plain.toString();
    this.setInterval(intervalMs);
  }

  /** Changes the time between two sweeps, in ms, of a page that is loaded from now on. */
  setInterval(intervalMs: number): void {
    const html = this.#html.replace(/(name="virstream-interval" content=")\d+/, `$1${intervalMs}`);
    this.#files.set("/", pageFile(".html", Buffer.from(html)));
  }

  has(path: string): boolean {
    return this.#files.has(path);
  }

  /** Answers a GET or HEAD request for a file that it has. */
  answer(path: string, request: IncomingMessage, response: ServerResponse): void {
    const { type, plain, compressed, etag } = this.#files.get(path)!;
    const headers = {
      "content-type": type,
      "content-security-policy": POLICY,
      "x-content-type-options": "nosniff",
      "referrer-policy": "no-referrer",
      // The browser asks each time, and gets 304 as long as the server has the same version.
      "cache-control": "no-cache",
      vary: "accept-encoding",
      etag,
    };
    if (request.headers["if-none-match"]?.split(/\s*,\s*/).some((known) => known.replace(/^W\//, "") === etag)) {
      response.writeHead(304, headers).end();
      return;
    }
    const gzip = /\bgzip\b(?!\s*;\s*q=0(\.0*)?\s*(,|$))/.test(`${request.headers["accept-encoding"] ?? ""}`);
    const body = gzip ? compressed : plain;
    response.writeHead(200, {
      ...headers,
      ...(gzip && { "content-encoding": "gzip" }),
      "content-length": body.length,
    });
    response.end(request.method === "HEAD" ? undefined : body);
  }
}

function readPage(): Map<string, PageFile> {
  const files = new Map<string, PageFile>();
  try {
    const folder = new URL("../../page/", import.meta.url);
    for (const name of readdirSync(folder)) {
      const extension = extname(name);
      if (TYPES[extension] === undefined) continue;
      const path = name === "index.html" ? "/" : `/${name}`;
      files.set(path, pageFile(extension, readFileSync(new URL(name, folder))));
    }
  } catch (cause) {
    throw missing(cause);
  }
  if (!files.has("/page.js") || !files.has("/")) throw missing();
  return files;
}

function pageFile(extension: string, plain: Buffer): PageFile {
  const etag = `"${createHash("sha256").update(plain).digest("base64url").slice(0, 22)}"`;
  return { type: TYPES[extension]!, plain, compressed: gzipSync(plain, { level: 9 }), etag };
}

function missing(cause?: unknown): VirstreamError {
  return new VirstreamError(
    "unsupported",
    "the files of the page are not beside this program: run npm run build in a checkout; a bundle of the server has no page",
    { cause },
  );
}
