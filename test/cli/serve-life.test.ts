/** @module-tag any-node */

import { once } from "node:events";
import { expect, it, vi } from "vitest";
import { connect } from "../../src/index.ts";
import { serve } from "../../src/server/index.ts";
import { answerAt } from "../answer.ts";
import { freePort } from "../lab/port.ts";
import { PATIENCE } from "../until.ts";
import { outcomeOf, start, virstream } from "./run.ts";
import { served } from "./served.ts";

/** A server, and what its pages say. */
async function servedWithPages(...args: string[]) {
  const { child, url } = await served(args);
  const page = async (path: string) => {
    const { status, text } = await answerAt(`${url.replace("ws:", "http:")}${path}`);
    return { status, body: JSON.parse(text) };
  };
  return { child, url, page };
}

it("virstream serve starts while its source is down, is not ready until it is there, and then serves it", async () => {
  const port = await freePort();
  const source = `ws://127.0.0.1:${port}`;
  const strict = await virstream(["serve", source, "--listen", ":0", "--require-source"]);
  expect([strict.code, strict.stdout, strict.stderr]).toEqual([1, "", expect.stringMatching(/connection-refused/)]);
  const { child, url, page } = await servedWithPages(source);
  try {
    expect(await page("/healthz")).toMatchObject({ status: 200, body: { status: "degraded", sourcesAbsent: 1 } });
    expect(await page("/readyz")).toMatchObject({ status: 503 });
    const early = await virstream(["get", url]);
    expect([early.code, early.stderr]).toEqual([1, expect.stringMatching(/connection-lost|connection-refused/)]);
    await using host = await connect("test:///default?domains=2");
    await using _late = await serve(host, { port });
    await vi.waitFor(async () => expect((await page("/readyz")).status).toBe(200), PATIENCE);
    const { stdout, code } = await virstream(["get", url, "--format", "ndjson"]);
    expect([stdout.trimEnd().split("\n").length, code]).toEqual([2, 0]);
  } finally {
    child.kill();
    await once(child, "close");
  }
});

it("virstream serve lets a sweep under way end whole after SIGTERM", async () => {
  const { child, url, page } = await servedWithPages("test:///default?domains=3&freeze=1");
  const getting = outcomeOf(start(["get", url, "--deadline", "2", "--format", "ndjson"]));
  await vi.waitFor(async () => expect((await page("/stats.json")).body.sweepsServed).toBe(1), PATIENCE);
  child.kill("SIGTERM");
  const [{ stdout, stderr }, [code]] = await Promise.all([getting, once(child, "close")]);
  expect(stdout.trimEnd().split("\n")).toHaveLength(3);
  expect(stderr).not.toMatch(/shutting down|server-shutdown/);
  expect(code).toBe(0);
});
