import { type Examination, examine, examineLocal } from "../doctor/examination.ts";
import { type AffectedGuest, type Finding, needsFix } from "../doctor/finding.ts";
import { LIBVIRT_SCHEMES, versionText } from "../drivers/libvirt/driver.ts";
import { VirstreamError } from "../model/error.ts";
import { parseDoctor } from "./arguments.ts";
import { jsonText, pad, printable, width } from "./format/text.ts";
import { resolveUri } from "./source.ts";
import { ExitCode, UsageError } from "./usage.ts";

/** Without --all, at most this many guests of a finding are named. */
const NAMED = 3;
const LABEL_WIDTH = 13;

/** `virstream doctor`: examines a libvirt host. Resolves with the exit code. */
export async function doctor(argv: readonly string[], signal: AbortSignal): Promise<number> {
  const args = parseDoctor(argv);
  const examinations = await examineAll(args.uri === undefined ? undefined : resolveUri(args.uri), signal);
  const broken = examinations.some(({ findings }) => needsFix(findings));
  process.stdout.write(
    args.format === "json"
      ? `${jsonText({ examinations }, 2)}\n`
      : examinations.map((examination) => examinationText(examination, args.all)).join("\n"),
  );
  return broken ? ExitCode.failed : ExitCode.ok;
}

async function examineAll(uri: string | undefined, signal: AbortSignal): Promise<Examination[]> {
  if (uri === undefined) return examineLocal({ signal });
  const scheme = /^[^:]*/.exec(uri)![0].toLowerCase();
  if (scheme === "test") throw new UsageError("the simulated host needs no doctor: doctor examines libvirt hosts");
  if (!LIBVIRT_SCHEMES.includes(scheme)) {
    throw new UsageError(
      `doctor examines libvirt hosts, such as qemu:///system, not ${JSON.stringify(scheme)}` +
        `${scheme === "ws" || scheme === "wss" ? ": run it on the host where that server runs" : ""}`,
    );
  }
  try {
    return [await examine(uri, { signal })];
  } catch (error) {
    if (error instanceof VirstreamError && error.code === "invalid-uri") throw new UsageError(error.message);
    throw error;
  }
}

/**
 * An examination for people: the facts, then the findings. The worst findings come last, next to the prompt.
 *
 * @param all name every guest, not only the first few
 */
export function examinationText(examination: Examination, all: boolean): string {
  const lines = [printable(examination.uri), ...factLines(examination), ""];
  const { findings } = examination;
  const sorted = [...findings].sort((a, b) => RANK[a.severity] - RANK[b.severity]);
  for (const finding of sorted) lines.push(...findingLines(finding, all), "");
  if (!needsFix(findings)) lines.push("Nothing to fix.");
  else lines.push(summary(findings));
  return `${lines.join("\n")}\n`;
}

const RANK = { note: 0, warning: 1, problem: 2 } as const;

function factLines(examination: Examination): string[] {
  const { sockets, hypervisor, keepalive, events, configuration, groups, guests } = examination;
  const lines: string[] = [];
  const add = (label: string, text: string): void => {
    lines.push(`  ${label.padEnd(LABEL_WIDTH)}${printable(text)}`);
  };
  const cells = Math.max(...sockets.map(({ path }) => width(path)));
  for (const [i, { path, state, used }] of sockets.entries()) {
    add(i === 0 ? "sockets" : "", `${pad(path, cells)}  ${state}${used ? ", used" : ""}`);
  }
  if (hypervisor !== undefined) {
    add("host", hypervisor.host);
    add("libvirt", version(hypervisor.libvirtVersion));
    add("hypervisor", `${hypervisor.hypervisor} ${version(hypervisor.hypervisorVersion)}`);
  }
  if (keepalive !== undefined) add("keepalive", keepalive ? "yes" : "no");
  if (events !== undefined) add("events", events ? "yes" : "no");
  if (configuration !== undefined) {
    const { path, settings } = configuration;
    const values = Object.entries(settings ?? {}).map(([name, value]) => `${name} = ${value}`);
    add("configured", `${values.join(", ") || "not readable"} (${path})`);
  }
  if (groups !== undefined) add("groups", groups.join(", ") || "none");
  if (guests !== undefined) add("guests", `${guests.running} running, ${guests.examined} examined`);
  return lines;
}

function findingLines({ id, severity, what, fix, guests }: Finding, all: boolean): string[] {
  const shown = all ? guests : guests.slice(0, NAMED);
  const more = guests.length - shown.length;
  const lines = [`${severity}: ${printable(what)} [${id}]`];
  if (shown.length > 0) {
    lines.push(
      `  ${printable(shown.map(guestText).join(", "))}${more > 0 ? ` and ${more} more (--all names them)` : ""}`,
    );
  }
  for (const line of [...fix, ...shown.flatMap((guest) => guest.fix)]) lines.push(`    ${printable(line)}`);
  return lines;
}

function guestText({ name, forMs }: AffectedGuest): string {
  return forMs === undefined ? name : `${name} (for ${(forMs / 1_000).toFixed(1)} s)`;
}

function summary(findings: readonly Finding[]): string {
  const counts = (["problem", "warning", "note"] as const).flatMap((severity) => {
    const count = findings.filter((finding) => finding.severity === severity).length;
    return count === 0 ? [] : `${count} ${severity}${count === 1 ? "" : "s"}`;
  });
  return `${counts.join(", ")}. docs/doctor.md explains each.`;
}

function version(number: number | undefined): string {
  return number === undefined ? "(version not known)" : versionText(number);
}
