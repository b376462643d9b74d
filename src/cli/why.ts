import type { Connection } from "../client/connection.ts";
import type { DomainRates } from "../client/rates.ts";
import { type Diagnosis, diagnose } from "../doctor/diagnosis.ts";
import { collectEvidence } from "../doctor/guest-evidence.ts";
import { virshUri } from "../doctor/guests.ts";
import { LIBVIRT_SCHEMES } from "../drivers/libvirt/driver.ts";
import { parseLibvirtUri } from "../drivers/libvirt/transport/uri.ts";
import { shellWord } from "../overview/shell-word.ts";
import type { WhyArguments } from "./arguments.ts";
import { jsonText, printable } from "./format/text.ts";
import { notify } from "./notify.ts";
import { openSource, readToken, withoutIds } from "./source.ts";
import { ExitCode } from "./usage.ts";

/** How long the guest is watched, in ms. */
const OVER_MS = 1_000;
/** How long a record may take: two of them, and the evidence, are there within seconds. */
const DEADLINE_MS = 1_500;

/** `virstream why GUEST`: says what is wrong with one guest, and what helps. Resolves with the exit code. */
export async function why(args: WhyArguments, signal: AbortSignal): Promise<number> {
  const token = await readToken(args.tokenFile, process.env);
  await using connection = await openSource(args.uri, token, signal);
  const query = { domains: [args.guest], deadlineMs: DEADLINE_MS };
  const { domains = [] } = await withoutIds(connection, query, signal);
  const began = performance.now();
  if (process.stderr.isTTY) notify(`watching ${args.guest} for ${OVER_MS / 1_000} s`);
  const rates = await connection.domainListGetStats(
    domains,
    { deadlineMs: DEADLINE_MS, rates: true, overMs: OVER_MS },
    { signal },
  );
  const diagnoses: Diagnosis[] = [];
  for (const each of rates) {
    diagnoses.push(await diagnosisOf(connection.uri, each, performance.now() - began, signal));
  }
  process.stdout.write(
    args.format === "json" ? `${jsonText({ diagnoses }, 2)}\n` : diagnoses.map(diagnosisText).join("\n"),
  );
  const missing = rates.every(({ record }) => record.status === "gone");
  if (missing) await suggest(connection, args.guest, signal);
  return missing ? ExitCode.incomplete : ExitCode.ok;
}

/**
 * The diagnosis of one guest. On a libvirt host it collects evidence.
 *
 * @param uri of the guest's host
 * @param askedForMs how long the guest has been asked already, in ms
 */
export async function diagnosisOf(
  uri: string,
  rates: DomainRates,
  askedForMs: number,
  signal: AbortSignal,
): Promise<Diagnosis> {
  const { domain, status, state } = rates.record;
  if (status === "gone" || !LIBVIRT_SCHEMES.includes(/^[^:]*/.exec(uri)![0].toLowerCase())) {
    return diagnose({ rates, virsh: "virsh", askedForMs, isSimulated: /^test:/i.test(uri) });
  }
  const libvirt = parseLibvirtUri(uri);
  const evidence = await collectEvidence(libvirt, domain, state, signal);
  return diagnose({ rates, evidence, virsh: `virsh -c ${shellWord(virshUri(libvirt))}`, askedForMs });
}

/** One guest: what is wrong, the evidence, and what helps. */
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

/** Names up to three guests whose names contain the text, or are contained in it. */
async function suggest(connection: Connection, guest: string, signal: AbortSignal): Promise<void> {
  const wanted = guest.toLowerCase();
  const all = await connection.listDomains({}, { signal });
  const near = all.map(({ name }) => name).filter((name) => isNear(name.toLowerCase(), wanted));
  if (near.length > 0) notify(`did you mean ${near.slice(0, 3).join(", ")}?`);
  else notify(`${connection.host} has ${all.length} guests: virstream get ${shellWord(connection.uri)} lists them`);
}

function isNear(name: string, wanted: string): boolean {
  return name.includes(wanted) || wanted.includes(name) || name.startsWith(wanted.slice(0, 3));
}
