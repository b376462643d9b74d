import type { Connection } from "../client/connection.ts";
import { notFound } from "../doctor/diagnosis.ts";
import { Examiner, OVER_MS } from "../doctor/examiner.ts";
import type { Diagnosis } from "../overview/diagnosis.ts";
import { shellWord } from "../overview/shell-word.ts";
import { parseWhy } from "./arguments.ts";
import { jsonText, printable } from "./format/text.ts";
import { notify } from "./notify.ts";
import { credentialWords, guestSources, openSource, readCredentials, withoutIds } from "./source.ts";
import { ExitCode } from "./usage.ts";

/** How long the query for the guest's state may take, in ms. The query does not need an answer of a guest. */
const STATE_DEADLINE_MS = 1_500;

/** `virstream why GUEST`: prints what is wrong with one guest, and what helps. Resolves with the exit code. */
export async function why(argv: readonly string[], signal: AbortSignal): Promise<number> {
  const args = parseWhy(argv);
  const credentials = await readCredentials(args, process.env);
  await using connection = await openSource(args.uri, credentials, signal);
  const { domains = [] } = await withoutIds(connection, { domains: [args.guest] }, signal);
  if (process.stderr.isTTY) notify(`watching ${args.guest} for ${OVER_MS / 1_000} s`);
  const query = { groups: ["state"], deadlineMs: STATE_DEADLINE_MS } as const;
  const found = await connection.domainListGetStats(domains, query, { signal });
  const examiner = new Examiner(connection, guestSources(connection, credentials));
  const diagnoses: Diagnosis[] = [];
  for (const record of found) diagnoses.push(notFound(record) ?? (await examiner.examine(record.domain, signal)));
  process.stdout.write(
    args.format === "json" ? `${jsonText({ diagnoses }, 2)}\n` : diagnoses.map(diagnosisText).join("\n"),
  );
  if (found.every(({ status }) => status === "gone"))
    await suggest(connection, args.guest, credentialWords(args), signal);
  return found.every(notFound) ? ExitCode.incomplete : ExitCode.ok;
}

/** The text for one guest: what is wrong, the evidence, and what helps. */
export function diagnosisText({ summary, evidence, records, remedy }: Diagnosis): string {
  const part = (label: string, lines: readonly string[]): string[] =>
    lines.map((line, i) => `  ${(i === 0 ? label : "").padEnd(10)}${printable(line)}`);
  const lines = [
    printable(summary),
    ...part("evidence", evidence),
    ...part("records", records === undefined ? [] : [records]),
    ...part("remedy", remedy),
  ];
  return `${lines.join("\n")}\n`;
}

/**
 * Names up to three guests whose names contain the text, are contained in it, or begin with the same three characters.
 * If there is no such guest, it names the command that lists all guests.
 */
async function suggest(connection: Connection, guest: string, options: string, signal: AbortSignal): Promise<void> {
  const wanted = guest.toLowerCase();
  const all = await connection.listDomains({}, { signal });
  const near = all.map(({ name }) => name).filter((name) => isNear(name.toLowerCase(), wanted));
  if (near.length > 0) notify(`did you mean ${near.slice(0, 3).join(", ")}?`);
  else {
    const list = `virstream get ${shellWord(connection.uri)}${options}`;
    notify(`${connection.host} has ${all.length} guests: ${list} lists them`);
  }
}

function isNear(name: string, wanted: string): boolean {
  return name.includes(wanted) || wanted.includes(name) || name.startsWith(wanted.slice(0, 3));
}
