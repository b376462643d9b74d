import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, it } from "vitest";
import { type Connection, connect, type DomainStatsRecord } from "../../src/index.ts";
import { serve, type VirstreamServer } from "../../src/server/index.ts";
import { describeWith } from "../lab/requirement.ts";

const CLIENT = fileURLToPath(new URL("../../examples/06-client-in-python.py", import.meta.url));
/** Guests of many shapes; one whose record is larger than a message, one that fails, one with the largest numbers. */
const URI = "test:///default?domains=300&vcpus=1-4&disks=1-3&nics=2&extras=1&huge=6:60000&error=7&extremes=8";
const TIMEOUT_MS = 60_000;

/** Debian's own, which has its python3-msgpack. */
const PYTHON = "/usr/bin/python3";

function runClient(...args: string[]): Promise<{ stdout: string; stderr: string }> {
  return promisify(execFile)(PYTHON, [CLIENT, ...args], { maxBuffer: 256 * 1024 * 1024, timeout: TIMEOUT_MS });
}

/** What the client prints for a record, less the values, which move from sweep to sweep. */
function shape({ domain, status, params }: DomainStatsRecord): unknown {
  const { uuid, name, id, host } = domain;
  return { domain: { uuid, name, id, host }, status, keys: params.schema.keys };
}

describeWith(["python3-msgpack"], "a client in Python, written from PROTOCOL.md alone,", () => {
  let host: Connection;
  let server: VirstreamServer;
  /** Every record that the server's driver made, by uuid: what it must print, value by value. */
  let made: Map<string, DomainStatsRecord>;

  beforeAll(async () => {
    host = await connect(URI);
    made = new Map();
    const { driver } = host;
    const sweep = driver.sweep.bind(driver);
    driver.sweep = async function* (query, context) {
      made.clear();
      for await (const records of sweep(query, context)) {
        for (const record of records) made.set(record.domain.uuid, record);
        yield records;
      }
    };
    server = await serve(host, { port: 0 });
  });

  afterAll(async () => {
    await server.close();
    await host.close();
  });

  it(
    "prints exactly the records that the server's host has",
    async () => {
      const { stdout } = await runClient("sweep", server.url);
      const lines = stdout
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line));
      expect(lines).toHaveLength(300);
      const statuses = new Set<string>();
      for (const { domain, status, params } of lines) {
        const record = made.get(domain.uuid)!;
        statuses.add(status);
        expect({ domain, status, keys: Object.keys(params) }).toEqual(shape(record));
        expect(params).toEqual(JSON.parse(JSON.stringify(record.params)));
      }
      expect(statuses).toEqual(new Set(["ok", "failed"]));
      expect(Math.max(...lines.map((line) => Object.keys(line.params).length))).toBe(60_000);
    },
    TIMEOUT_MS,
  );

  it(
    "says why when the server wants a token",
    async () => {
      const closed = await serve(host, { port: 0, token: "a secret" });
      try {
        await expect(runClient("sweep", closed.url)).rejects.toMatchObject({
          code: 1,
          stderr: expect.stringMatching(/unauthenticated/),
        });
      } finally {
        await closed.close();
      }
    },
    TIMEOUT_MS,
  );
});
