import type { IncomingMessage, ServerResponse } from "node:http";
import type { Exporter } from "./exporter.ts";
import { CONTENT_TYPES } from "./exposition.ts";
import { negotiate } from "./negotiation.ts";

/** The time limit of a scraper that does not send the header with its limit, in ms: Prometheus's default. */
const DEFAULT_TIMEOUT_MS = 10_000;
const MAX_TIMEOUT_MS = 60_000;
/** The share of the scraper's time in which records are collected. The rest is for making and sending the page. */
const COLLECT_SHARE = 0.8;
/** An exporter makes at most this many pages at a time, because each page keeps the records of a sweep in memory. */
const MAX_PAGES = 8;

const pages = new WeakMap<Exporter, number>();

/**
 * Answers a scrape: in the format that its `Accept` header prefers, and within the time that its header
 * `X-Prometheus-Scrape-Timeout-Seconds` states. When the hypervisor cannot be reached, the page still has status 200,
 * and `libvirt_up` is 0. If the scraper has not taken the whole page within that time, its connection is closed. Never
 * rejects.
 */
export async function answerScrape(
  exporter: Exporter,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const underWay = pages.get(exporter) ?? 0;
  if (underWay >= MAX_PAGES) {
    response.writeHead(503, { "content-type": "text/plain; charset=utf-8", "retry-after": "1" });
    response.end(`there are ${MAX_PAGES} scrapes at a time already\n`);
    return;
  }
  pages.set(exporter, underWay + 1);
  const format = negotiate(request.headers.accept);
  const timeoutMs = timeoutOf(request);
  const timer = setTimeout(() => response.destroy(), timeoutMs);
  try {
    response.writeHead(200, { "content-type": CONTENT_TYPES[format], "cache-control": "no-store", vary: "accept" });
    response.flushHeaders();
    if (request.method !== "HEAD") {
      for await (const chunk of exporter.page(format, timeoutMs * COLLECT_SHARE)) {
        if (response.destroyed) return;
        if (!response.write(chunk)) await either(response, "drain");
      }
    }
    if (!response.end().writableFinished) await either(response, "finish");
  } catch {
    response.destroy();
  } finally {
    clearTimeout(timer);
    pages.set(exporter, pages.get(exporter)! - 1);
  }
}

/** Waits for an event of a response, or until the response is closed. */
function either(response: ServerResponse, event: "drain" | "finish"): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      response.off(event, done).off("close", done);
      resolve();
    };
    response.on(event, done).on("close", done);
  });
}

/** How long the scraper waits, in ms. */
function timeoutOf({ headers }: IncomingMessage): number {
  const seconds = Number(headers["x-prometheus-scrape-timeout-seconds"] ?? Number.NaN);
  return seconds > 0 ? Math.min(seconds * 1_000, MAX_TIMEOUT_MS) : DEFAULT_TIMEOUT_MS;
}
