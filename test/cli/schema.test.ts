/** @module-tag any-node */

import { readFileSync } from "node:fs";
import { Ajv2020 } from "ajv/dist/2020.js";
import { describe, expect, it } from "vitest";
import { createFormat } from "../../src/cli/format/format.ts";
import { connect } from "../../src/client/connect.ts";
import { RateMeter } from "../../src/client/rates.ts";
import { VirstreamError } from "../../src/model/error.ts";
import { RECORD_REASONS, RECORD_STATUSES } from "../../src/model/record.ts";
import { GAP_REASONS, WATCH_STATES, type WatchEvent } from "../../src/model/watch.ts";
import "../../src/drivers/builtin.ts";
import { standardLab } from "../lab/hypervisor.ts";
import { describeWith, labRequirements } from "../lab/requirement.ts";
import { virstream } from "./run.ts";

type Json = { [name: string]: unknown };

const schema = JSON.parse(readFileSync("docs/output.schema.json", "utf8")) as Json;

/** The schema with every member that it does not describe forbidden: so it must describe all that is printed. */
function strict(node: unknown): unknown {
  if (Array.isArray(node)) return node.map(strict);
  if (typeof node !== "object" || node === null) return node;
  const copy = Object.fromEntries(Object.entries(node).map(([name, value]) => [name, strict(value)]));
  return "properties" in node && "type" in node && !("additionalProperties" in node)
    ? { ...copy, additionalProperties: false }
    : copy;
}

const ajv = new Ajv2020({ allErrors: true, allowUnionTypes: true });
const validate = ajv.compile(schema);
const validateStrictly = new Ajv2020({ allErrors: true, allowUnionTypes: true }).compile(strict(schema) as Json);

function expectValid(value: unknown): void {
  validateStrictly(value);
  expect(validateStrictly.errors).toBeNull();
  validate(value);
  expect(validate.errors).toBeNull();
}

const linesOf = (ndjson: string): Json[] =>
  ndjson
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));

describe("The schema of the output", () => {
  const faults = "test:///default?domains=8&freeze=1&error=2&vanish=3&extremes=4";

  it("is valid for all that get prints: whole records and others, counters and rates, an absent domain", async () => {
    const query = [
      "--deadline",
      "100ms",
      "--domain",
      "guest-00000",
      "--domain",
      "guest-00001",
      "--domain",
      "guest-00002",
    ];
    const { stdout } = await virstream(["get", faults, "--format", "ndjson", ...query, "--domain", "nobody"]);
    const lines = linesOf(stdout);
    expect(lines.map(({ status }) => status).sort()).toEqual(["failed", "gone", "ok", "partial"]);
    for (const line of lines) expectValid(line);
    const rates = ["--format", "json", "--rates", "--over", "250ms", "--deadline", "100ms"];
    const array = JSON.parse((await virstream(["get", faults, ...rates])).stdout) as Json[];
    // One vanished in the first of the two sweeps.
    expect(array).toHaveLength(7);
    expect(array.every((line) => "rates" in line)).toBe(true);
    expectValid(array);
  });

  it("is valid for all events of a watch", async () => {
    const { stdout } = await virstream([
      "watch",
      faults,
      "-n",
      "2",
      "--interval",
      "250ms",
      "--format",
      "ndjson",
      "--rates",
    ]);
    const lines = linesOf(stdout);
    expect(new Set(lines.map(({ event }) => event))).toEqual(new Set([undefined, "sync", "gone"]));
    for (const line of lines) expectValid(line);
    const error = new VirstreamError("connection-lost", "it hung up", { libvirt: { code: 38, domain: 7 } });
    const summary = { domains: 0, ok: 0, partial: 0, failed: 0, gone: 0, startedAt: 1, tookMs: 1 };
    const events: WatchEvent[] = [
      { type: "gap", reason: "source", skipped: undefined, host: undefined },
      { type: "gap", reason: "slow-consumer", skipped: 3, host: "hv1" },
      { type: "status", state: "reconnecting", host: undefined, error },
      { type: "status", state: "connected", host: "hv1", error: undefined },
      { type: "sync", tick: 1, host: "hv1", overrun: 0, summary: { ...summary, absent: [{ host: "hv2", error }] } },
    ];
    const format = createFormat("ndjson");
    for (const event of events) expectValid(JSON.parse(format.event(event as Exclude<WatchEvent, { type: "record" }>)));
  });

  it("has the words that the code has", () => {
    const { record, event } = schema["$defs"] as Record<
      string,
      { properties: Record<string, { enum: unknown[] }>; oneOf: Json[] }
    >;
    const words = (name: string, member: string): unknown => {
      const found = event!.oneOf.map(
        ({ properties }) => properties as Record<string, { const?: string; enum?: unknown[] }>,
      );
      return found.find((properties) => properties["event"]!.const === name)![member]!.enum;
    };
    expect(record!.properties["status"]!.enum).toEqual(RECORD_STATUSES);
    expect(record!.properties["reason"]!.enum).toEqual([null, ...RECORD_REASONS]);
    expect(words("gap", "reason")).toEqual(GAP_REASONS);
    expect(words("status", "state")).toEqual(WATCH_STATES);
  });

  it("is not valid for what virstream never prints", async () => {
    const [line] = linesOf(
      (await virstream(["get", "test:///default?domains=1", "--format", "ndjson", "--rates"])).stdout,
    );
    expect(validate(line)).toBe(true);
    const { status: _, ...without } = line!;
    const { rates } = line as { rates: { cpu: Json } };
    for (const wrong of [
      without,
      { ...line, status: "fine" },
      { ...line, event: "sync" },
      { ...line, params: { "cpu.time": null } },
      { ...line, missing: "block" },
      { ...line, rates: { ...rates, cpu: { percent: -1 } } },
      { event: "gone" },
      [[line]],
    ]) {
      expect([wrong, validate(wrong)]).toEqual([wrong, false]);
    }
  });
});

describeWith(labRequirements, "The schema of the output, of real guests,", () => {
  it("is valid for each record and its rates", async () => {
    await using lab = await disposable();
    await using connection = await connect(lab.uri);
    const format = createFormat("ndjson", { rates: true });
    const meter = new RateMeter();
    const first = await connection.getAllDomainStats();
    for (const record of first) meter.take(record);
    for (const record of await connection.getAllDomainStats()) {
      expectValid(JSON.parse(format.record(record, meter.take(record))));
    }
    expect(first.length).toBeGreaterThan(2);
  });
});

async function disposable(): Promise<AsyncDisposable & { readonly uri: string }> {
  const lab = await standardLab();
  return { uri: lab.libvirtd.uri, [Symbol.asyncDispose]: () => lab.stop() };
}
