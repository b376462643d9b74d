import type { TokenEntry } from "../../server/access/token-list.ts";
import { pad, printable, width } from "../format/text.ts";
import { notify } from "../notify.ts";
import { ExitCode } from "../usage.ts";
import type { TokenArguments } from "./arguments.ts";
import { changeTokens, readTokens } from "./token-file.ts";

/**
 * `virstream token`: makes, lists and revokes the tokens of a file. It prints a new token to stdout, and stores it
 * nowhere.
 */
export async function token(args: TokenArguments): Promise<number> {
  const { action, name, file, role, domains, names, groups, lifeMs } = args;
  if (action === "list") {
    const { entries } = await readTokens(file);
    process.stdout.write(tableOf(entries, Date.now()));
    return ExitCode.ok;
  }
  if (action === "revoke") {
    await changeTokens(file, (list) => list.without(name), false);
    notify(`${name} is revoked when the server reads ${file} again: kill -HUP`);
    return ExitCode.ok;
  }
  const now = Date.now();
  let made = "";
  await changeTokens(file, (before) => {
    const { token, list } = before.with({
      name,
      role,
      ...(domains && { domains }),
      ...(names && { names }),
      ...(groups && { groups }),
      created: new Date(now).toISOString(),
      ...(lifeMs !== undefined && { expires: new Date(now + lifeMs).toISOString() }),
    });
    made = token;
    return list;
  });
  process.stdout.write(`${made}\n`);
  notify(`this is the token of ${name}: it is shown only now. The server has it after kill -HUP`);
  return ExitCode.ok;
}

function tableOf(entries: readonly TokenEntry[], now: number): string {
  const rows = entries.map(({ name, role, expires, domains, names, groups }) => [
    name,
    role,
    expires === undefined
      ? "never"
      : `${new Date(expires).toISOString().slice(0, 16)}Z${Date.parse(expires) <= now ? " expired" : ""}`,
    printable((domains ?? names)?.join(",") ?? "all"),
    groups?.join(",") ?? "all",
  ]);
  const table = [["NAME", "ROLE", "EXPIRES", "DOMAINS", "GROUPS"], ...rows];
  const widths = table[0]!.map((_, column) => Math.max(...table.map((row) => width(row[column]!))));
  const line = (row: string[]) => row.map((cell, column) => pad(cell, widths[column]!)).join("  ");
  return table.map((row) => `${line(row).trimEnd()}\n`).join("");
}
