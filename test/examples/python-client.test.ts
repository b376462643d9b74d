import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, it } from "vitest";
import { type Connection, connect, type DomainStatsRecord } from "../../src/index.ts";
import { serve, type VirstreamServer } from "../../src/server/index.ts";
import { SUBPROTOCOLS } from "../../src/wire/protocol.ts";
import { describeWith, findProgram } from "../lab/requirement.ts";

const CLIENT = fileURLToPath(new URL("../../examples/06-client-in-python.py", import.meta.url));
/** Guests of many shapes; one whose record is larger than a message, one that fails, one with the largest numbers. */
const URI = "test:///default?domains=300&vcpus=1-4&disks=1-3&nics=2&extras=1&huge=6:60000&error=7&extremes=8";
const TIMEOUT_MS = 60_000;

const python = findProgram("python3");

function runClient(...args: string[]): Promise<{ stdout: string; stderr: string }> {
  return promisify(execFile)(python!, [CLIENT, ...args], { maxBuffer: 256 * 1024 * 1024, timeout: TIMEOUT_MS });
}

/** What the client prints for a record, less the values, which move from sweep to sweep. */
function shape({ domain, status, params }: DomainStatsRecord): unknown {
  return { uuid: domain.uuid, name: domain.name, status, keys: params.schema.keys };
}

describeWith(["python3"], "a client in Python, written from PROTOCOL.md alone,", () => {
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

  it.each(SUBPROTOCOLS)(
    "prints over %s exactly the records that the server's host has",
    async (subprotocol) => {
      const { stdout } = await runClient(server.url, ...(subprotocol.endsWith(".json") ? ["--json"] : []));
      const lines = stdout
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line));
      expect(lines).toHaveLength(300);
      const statuses = new Set<string>();
      for (const line of lines) {
        const record = made.get(line.uuid)!;
        statuses.add(line.status);
        expect({ ...line, params: undefined, keys: Object.keys(line.params) }).toEqual(shape(record));
        expect(line.params).toEqual(JSON.parse(JSON.stringify(record.params, finite)));
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
        await expect(runClient(closed.url)).rejects.toMatchObject({ code: 1, stderr: expect.stringMatching(/4401/) });
      } finally {
        await closed.close();
      }
    },
    TIMEOUT_MS,
  );
});

/** JSON has no NaN and no infinities: both ends print them as words. */
function finite(_key: string, value: unknown): unknown {
  return typeof value === "number" && !Number.isFinite(value) ? String(value) : value;
}
