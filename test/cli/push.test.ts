/** @module-tag any-node */

import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, afterEach, describe, expect, it, vi } from "vitest";
import { parseServe } from "../../src/cli/serve/arguments.ts";
import { connect } from "../../src/index.ts";
import { serve } from "../../src/server/index.ts";
import { runCommand } from "../lab/command.ts";
import { OtlpReceiver } from "../outlets/otlp/receiver.ts";
import { PATIENCE } from "../until.ts";
import { entriesOf } from "./log-entries.ts";
import { outcomeOf, start, virstream } from "./run.ts";
import { served } from "./served.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "virstream-push-"));
const headersFile = join(folder, "headers");
writeFileSync(headersFile, "Authorization: Bearer abc\n\nX-Tenant: blue green\n", { mode: 0o600 });
const SERVE = ["serve", "test:///default", "--listen", "127.0.0.1:0"];

let receiver: OtlpReceiver | undefined;
afterEach(async () => {
  await receiver?.close();
  receiver = undefined;
});

afterAll(() => rmSync(folder, { recursive: true }));

describe("virstream serve --otlp", () => {
  it("refuses an interval that is too short for its source, and logs that the source refuses it later", async () => {
    receiver = await OtlpReceiver.start();
    await using source = await connect("test:///default?domains=2");
    const early = await serve(source, { port: 0, limits: { minIntervalMs: 1_000 } });
    const { url } = early;
    const args = [url, "--otlp", receiver.url, "--otlp-interval", "1s"];
    await using server = await served(args);
    await vi.waitFor(() => expect(receiver!.accepted).toBeGreaterThan(0), PATIENCE);
    await early.close();
    await using _late = await serve(source, {
      port: Number(new URL(url).port),
      limits: { minIntervalMs: 2_000 },
    });
    const refused = () => server.of("outlet-failing").filter(({ code }) => code === "invalid-argument");
    await vi.waitFor(() => expect(refused()).toHaveLength(1), PATIENCE);
    const hasty = await virstream(["serve", ...args, "--listen", "127.0.0.1:0"]);
    expect(hasty.code).toBe(1);
    expect(hasty.stderr).toContain("--otlp-interval 1s: the server's shortest is 2s");
  });

  it.each([
    ["the URL of the option", (url: string) => [[url], {}] as const],
    ["the URL of the environment", (url: string) => [["env"], { OTEL_EXPORTER_OTLP_ENDPOINT: url }] as const],
  ])("pushes to %s, with the headers of the file, and ends with the server", async (_, target) => {
    receiver = await OtlpReceiver.start();
    const [args, env] = target(receiver.url);
    const server = start(
      [...SERVE, "--otlp", ...args, "--otlp-interval", "1s", "--otlp-headers-file", headersFile],
      env,
    );
    const ended = outcomeOf(server);
    await vi.waitFor(() => expect(receiver!.accepted).toBeGreaterThan(1), PATIENCE);
    server.kill("SIGTERM");
    const { stderr, code } = await ended;
    expect(code).toBe(0);
    expect(entriesOf(stderr)).toContainEqual(
      expect.objectContaining({ event: "outlet-started", msg: `pushing to ${receiver.url}/v1/metrics every 1 s` }),
    );
    expect(receiver.headers[0]).toMatchObject({ authorization: "Bearer abc", "x-tenant": "blue green" });
    expect(new Set(receiver.points.map(({ resource }) => resource["libvirt.domain.name"])).size).toBe(12);
  });

  it("logs one line when the collector refuses, and one when it takes metrics again", async () => {
    receiver = await OtlpReceiver.start();
    let status = 401;
    receiver.answer = () => ({ status });
    const server = start([...SERVE, "--otlp", receiver.url, "--otlp-interval", "1s"]);
    const ended = outcomeOf(server);
    await vi.waitFor(() => expect(receiver!.bodies.length).toBeGreaterThan(2), PATIENCE);
    status = 200;
    await vi.waitFor(() => expect(receiver!.accepted).toBeGreaterThan(1), PATIENCE);
    server.kill("SIGTERM");
    const { stderr } = await ended;
    const url = `${receiver.url}/v1/metrics`;
    const refuses = `the collector at ${url} refuses metrics: HTTP 401 Unauthorized [unauthenticated]`;
    const takes = new RegExp(`^the collector at ${url} takes metrics again, after [\\d.]+ s$`);
    expect(entriesOf(stderr).filter(({ msg }) => /collector/.test(msg))).toMatchObject([
      { event: "outlet-failing", level: "warn", outlet: "otlp", url, code: "unauthenticated", msg: refuses },
      {
        event: "outlet-working",
        level: "info",
        outlet: "otlp",
        url,
        outageMs: expect.any(Number),
        msg: expect.stringMatching(takes),
      },
    ]);
  });

  it.each([
    [["--otlp", "collector:4318"], 1, /http:\/\/HOST:4318/],
    [["--otlp", "env"], 2, /OTEL_EXPORTER_OTLP_ENDPOINT/],
    [["--otlp", "http://127.0.0.1:1", "--otlp-headers-file", join(root, "LICENSE")], 1, /line 1 .* is not NAME: VALUE/],
  ])("refuses %o", async (args, code, message) => {
    const outcome = await virstream([...SERVE, ...args]);
    expect(outcome).toMatchObject({ code, stderr: expect.stringMatching(message) });
  });

  it.each([
    [["--otlp-interval", "5s"], /go with --otlp/],
    [["--otlp", "http://127.0.0.1:1", "--otlp-interval", "1ms"], /--otlp-interval takes a time from 1s/],
  ])("takes no %o", (args, message) => {
    expect(() => parseServe(args)).toThrow(message);
  });

  it("says which packages to install where OpenTelemetry's are missing", async () => {
    const checkout = join(folder, "checkout");
    const packages = join(checkout, "node_modules");
    mkdirSync(packages, { recursive: true });
    for (const name of ["bin", "package.json", "dist"])
      cpSync(join(root, name), join(checkout, name), { recursive: true });
    for (const name of ["ws", "msgpackr", "rxjs", "get-east-asian-width", "smol-toml", "pino"]) {
      symlinkSync(join(root, "node_modules", name), join(packages, name));
    }
    const args = [join(checkout, "bin/virstream.js"), ...SERVE, "--otlp", "http://127.0.0.1:4318"];
    const { code, stderr } = await runCommand(process.execPath, args);
    expect(code).toBe(1);
    expect(stderr).toMatch(/npm install @opentelemetry\/api@1 .* \[unsupported\]/);
  });
});
