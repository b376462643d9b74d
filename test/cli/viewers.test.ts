import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { start, virstream } from "./run.ts";

let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "virstream-viewers-"));
});

afterAll(() => rm(folder, { recursive: true }));

async function fileOf(content: string): Promise<string> {
  const file = join(folder, "viewers.json");
  await writeFile(file, content);
  return file;
}

describe("virstream serve --viewers", () => {
  it("lets each viewer of the file see its domains, and no client without a token", async () => {
    const viewers = [{ name: "ann", token: "ann's", domains: ["guest-00001", "guest-00003"] }];
    const child = start([
      "serve",
      "test:///default?domains=5",
      "--listen",
      ":0",
      "--viewers",
      await fileOf(JSON.stringify(viewers)),
    ]);
    try {
      child.stdout.setEncoding("utf8");
      const [text] = (await once(child.stdout, "data")) as [string];
      const url = text.trim();
      const { stdout, code } = await virstream(["get", url, "--format", "ndjson", "--state"], {
        VIRSTREAM_TOKEN: "ann's",
      });
      const names = stdout
        .trimEnd()
        .split("\n")
        .map((line) => JSON.parse(line).domain.name);
      expect([names.sort(), code]).toEqual([["guest-00001", "guest-00003"], 0]);
      const stranger = await virstream(["get", url]);
      expect([stranger.stderr, stranger.code]).toEqual([expect.stringMatching(/unauthenticated/), 1]);
    } finally {
      child.kill("SIGTERM");
      await once(child, "close");
    }
  });

  it("says what is wrong with the file, and quotes nothing of it", async () => {
    const serve = async (file: string) => {
      const { stderr, code } = await virstream([
        "serve",
        "test:///default?domains=1",
        "--listen",
        ":0",
        "--viewers",
        file,
      ]);
      expect(code).toBe(1);
      return stderr;
    };
    expect(await serve(join(folder, "none"))).toMatch(/file of viewers .*none cannot be read \(ENOENT\)/);
    const noJson = await serve(await fileOf('[{"token": "t0ken", ]'));
    expect(noJson).toMatch(/is not JSON/);
    expect(noJson).not.toContain("t0ken");
    expect(await serve(await fileOf("[]"))).toMatch(/list of viewers is empty/);
  });
});
