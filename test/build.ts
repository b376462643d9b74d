import { spawnSync } from "node:child_process";

/**
 * Builds dist/ once before the tests: the command line and the examples are tested as users run them. With
 * VIRSTREAM_TEST_BUILD=no it is built already: two runs at the same time must not write the same files.
 */
export default function build(): void {
  if (process.env["VIRSTREAM_TEST_BUILD"] === "no") return;
  const { status, stdout, stderr } = spawnSync("npm", ["run", "--silent", "build"], { encoding: "utf8" });
  if (status !== 0) throw new Error(`the build failed:\n${stdout}${stderr}`);
}
