import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import { extname } from "node:path";
import { gzipSync } from "node:zlib";
import { VirstreamError } from "../../model/error.ts";

/**
 * The Content-Security-Policy of the live page: it may load only this server's own files, and connect only to this
 * server.
 */
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
 * may replace them while the server runs, and the page must fit the running server.
 */
export class PageFiles {
  /** The files by path, such as `/page.js`. */
  readonly #files = readPage();

  has(path: string): boolean {
    return this.#files.has(path);
  }

  /** Answers a GET or HEAD request for a path for which `has` is true. */
  answer(path: string, request: IncomingMessage, response: ServerResponse): void {
    const { type, plain, compressed, etag } = this.#files.get(path)!;
    const headers = {
      "content-type": type,
      "content-security-policy": POLICY,
      "x-content-type-options": "nosniff",
      "referrer-policy": "no-referrer",
      // The browser asks each time, and gets 304 as long as the server has the same version of the file.
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

/** @throws VirstreamError `unsupported` if the package has no page, as in a bundle or before a build */
function readPage(): ReadonlyMap<string, PageFile> {
  const files = new Map<string, PageFile>();
  try {
    const folder = new URL("../../page/", import.meta.url);
    for (const name of readdirSync(folder)) {
      const type = TYPES[extname(name)];
      if (type === undefined) continue;
      const plain = readFileSync(new URL(name, folder));
      const etag = `"${createHash("sha256").update(plain).digest("base64url").slice(0, 22)}"`;
      const path = name === "index.html" ? "/" : `/${name}`;
      files.set(path, { type, plain, compressed: gzipSync(plain, { level: 9 }), etag });
    }
  } catch (cause) {
    throw missing(cause);
  }
  if (!files.has("/page.js") || !files.has("/")) throw missing();
  return files;
}

function missing(cause?: unknown): VirstreamError {
  return new VirstreamError(
    "unsupported",
    "the files of the page are not beside this program: run npm run build in a checkout; a bundle of the server has no page",
    { cause },
  );
}
