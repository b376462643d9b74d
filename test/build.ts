import { spawnSync } from "node:child_process";

/** Builds dist/ once before the tests: the command line and the examples are tested as users run them. */
export default function build(): void {
  const { status, stdout, stderr } = spawnSync("npm", ["run", "--silent", "build"], { encoding: "utf8" });
  if (status !== 0) throw new Error(`the build failed:\n${stdout}${stderr}`);
}
