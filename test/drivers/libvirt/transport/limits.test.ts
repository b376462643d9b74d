import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { runCommand } from "../../../lab/command.ts";

/** Opens files until the system gives no more, connects, and prints how that failed. Ends by itself after that. */
const CONNECT = `
const { openSync } = await import("node:fs");
const { connect } = await import(process.argv[1]);
const attempt = () => connect(process.argv[2]).then(() => "connected", ({ code, retryable, message }) => ({ code, retryable, message }));
// What Node loads late is loaded.
await attempt();
try {
  for (;;) openSync("/dev/null");
} catch {}
console.log(JSON.stringify(await attempt()));
`;

describe("A process that has as many open files as it may have", () => {
  it.each([
    "qemu+ssh://127.0.0.1:1/system",
    "qemu+unix:///system?socket=/nowhere/sock",
    "qemu+tcp://127.0.0.1:1/system",
    "qemu+tls://127.0.0.1:1/system?pkipath=/nowhere",
  ])("does not end when it connects to %s, and learns that it may try again, and which limit to raise", async (uri) => {
    const built = join(import.meta.dirname, "../../../../dist/index.js");
    const words = ["-c", 'ulimit -n 256; exec "$@"', "sh", process.execPath, "--input-type=module", "-e", CONNECT];
    const { stdout, stderr } = await runCommand("sh", [...words, built, uri], { timeout: 20_000 });
    expect(stderr).toBe("");
    expect(JSON.parse(stdout)).toMatchObject({
      code: "connection-lost",
      retryable: true,
      message: expect.stringContaining("LimitNOFILE="),
    });
  });
});
