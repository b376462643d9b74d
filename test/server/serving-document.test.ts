import { readFile } from "node:fs/promises";
import { describe, expect, it } from "vitest";
import { Connection } from "../../src/client/connection.ts";
import { DEFAULT_SERVER_LIMITS } from "../../src/server/limits.ts";
import { serve } from "../../src/server/server.ts";
import { RecordingDriver } from "./recording-driver.ts";

/** What stands in the first column of a chapter's tables, the code of it. */
async function rows(chapter: string): Promise<string[]> {
  const text = await readFile(new URL("../../docs/serving.md", import.meta.url), "utf8");
  const [, body] = text.split(`\n## ${chapter}\n`);
  const tables = body!.split("\n## ")[0]!.matchAll(/^\| (`.*?) \|/gm);
  return [...tables].flatMap(([, cell]) => [...cell!.matchAll(/`(\w+)`/g)].map(([, name]) => name!)).sort();
}

describe("docs/serving.md", () => {
  it("explains every figure of a server, and no others", async () => {
    await using connection = new Connection(new RecordingDriver(1));
    await using server = await serve(connection, { port: 0 });
    const { sampling, ...rest } = server.stats();
    expect(await rows("/stats.json")).toEqual(["sampling", ...Object.keys(rest), ...Object.keys(sampling)].sort());
    expect(await rows("/healthz and /readyz")).toEqual(Object.keys(server.health()).sort());
  });

  it("has the limits and their defaults, as their documentation comments have", async () => {
    expect(await rows("Limits")).toEqual(Object.keys(DEFAULT_SERVER_LIMITS).sort());
    const text = await readFile(new URL("../../docs/serving.md", import.meta.url), "utf8");
    const comments = await readFile(new URL("../../src/server/limits.ts", import.meta.url), "utf8");
    for (const [name, value] of Object.entries(DEFAULT_SERVER_LIMITS)) {
      const shown = value.toLocaleString("en-US");
      expect(text).toContain(`| \`${name}\` | ${shown} |`);
      expect(comments).toMatch(new RegExp(`Default[\\s*]+${shown}\\.\\s+\\*/\\s+readonly ${name}:`));
    }
  });
});
