import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";

const TIMEOUT_MS = 120_000;

const readme = readFileSync(new URL("../../README.md", import.meta.url), "utf8");
const blocks = [...readme.matchAll(/^```js\n(.*?)^```$/gms)].map(([, code]) => code!);

/** All blocks as one program. A loop over a watch does not end by itself, so what follows does not wait for it. */
const program = `
import { once } from "node:events";
${blocks
  .map((code) => (/^for await .*\.watch\(/m.test(code) ? `const loop = (async () => {\n${code}\n})();` : code))
  .join("\n")
  .replace("port: 16580", "port: 0")}
console.log(records.length, "of all", some.length, "of some");
const client = await connect(server.url, { token: "…" });
console.log((await client.getAllDomainStats()).length, "from the server");
await once(process.stdin.resume(), "end");
await client.close();
await server.close();
await connection.close();
await loop;
console.log("the loop has ended");`;

/** What the program prints while it runs, in any order. */
const PRINTED = [
  /^guest-00000 ok running$/m,
  /^12 of all 2 of some$/m,
  /^12 from the server$/m,
  /^guest-00000 \d+n$/m,
  /^sweep \d+: 12 domains$/m,
  /^guest-00000 \d+\.\d+$/m, // a percentage, from the second sweep on
];

it(
  "the programs in the README run, and their watches complete when the connection is closed",
  async () => {
    const child = spawn(process.execPath, ["--input-type=module", "--eval", program], {
      cwd: fileURLToPath(new URL("../..", import.meta.url)),
      stdio: ["pipe", "pipe", "inherit"],
    });
    const closed = once(child, "close");
    try {
      let output = "";
      child.stdout.setEncoding("utf8").on("data", (text: string) => {
        output += text;
      });
      const missing = () => PRINTED.filter((line) => !line.test(output));
      await expect.poll(missing, { timeout: TIMEOUT_MS / 2 }).toEqual([]);
      child.stdin.end();
      expect(await closed).toEqual([0, null]);
      expect(output).toMatch(/^the loop has ended$/m);
    } finally {
      child.kill("SIGKILL");
      await closed;
    }
  },
  TIMEOUT_MS,
);
