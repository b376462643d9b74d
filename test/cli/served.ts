import { once } from "node:events";
import { entriesOf } from "./log-entries.ts";
import { start } from "./run.ts";

/** `virstream serve ARGS` at a free port of loopback, or elsewhere, from when it has printed its URL. */
export async function served(
  args: readonly string[],
  env: Record<string, string> = {},
  listen = ":0",
  program?: string,
) {
  const child = start(["serve", ...args, "--listen", listen], env, program);
  let stderr = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    stderr += text;
  });
  const [text] = await Promise.race([once(child.stdout.setEncoding("utf8"), "data"), once(child, "close")]);
  if (typeof text !== "string") throw new Error(`the server did not start: ${stderr}`);
  const end = async () => {
    child.kill("SIGTERM");
    const [code] = await once(child, "close");
    return { code: code as number, stderr };
  };
  return {
    ...{ child, url: text.trim().split("\n")[0]!, end },
    said: () => stderr,
    entries: () => entriesOf(stderr),
    of: (event: string) => entriesOf(stderr).filter((entry) => entry.event === event),
    [Symbol.asyncDispose]: async () => {
      if (child.exitCode === null && child.signalCode === null) await end();
    },
  };
}
