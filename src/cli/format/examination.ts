import { SETTINGS } from "../../doctor/configuration.ts";
import type { Examination } from "../../doctor/examination.ts";
import { type AffectedGuest, type Finding, needsMending } from "../../doctor/finding.ts";
import { REQUESTS_NEEDED } from "../../doctor/request-limit.ts";
import { printable } from "./quantity.ts";

/** How many guests of a finding are named unless all are wanted. */
const NAMED = 3;
const LABEL_WIDTH = 13;

/**
 * An examination for people: what was seen, then what was found, the worst last, where it is read first.
 *
 * @param all name every guest, not only the first few
 */
export function examinationText(examination: Examination, all: boolean): string {
  const lines = [printable(examination.uri), ...factLines(examination), ""];
  const { findings } = examination;
  const sorted = [...findings].sort((a, b) => RANK[a.severity] - RANK[b.severity]);
  for (const finding of sorted) lines.push(...findingLines(finding, all), "");
  if (!needsMending(findings)) lines.push("Nothing to mend.");
  else lines.push(summary(findings));
  return `${lines.join("\n")}\n`;
}

const RANK = { note: 0, warning: 1, problem: 2 } as const;

function factLines(examination: Examination): string[] {
  const { sockets, hypervisor, keepalive, events, requests, configuration, groups, guests } = examination;
  const lines: string[] = [];
  const add = (label: string, text: string): void => {
    lines.push(`  ${label.padEnd(LABEL_WIDTH)}${printable(text)}`);
  };
  const width = Math.max(...sockets.map(({ path }) => path.length));
  for (const [i, { path, state, used }] of sockets.entries()) {
    add(i === 0 ? "sockets" : "", `${path.padEnd(width)}  ${state}${used ? ", used" : ""}`);
  }
  if (hypervisor !== undefined) {
    add("host", hypervisor.host);
    add("libvirt", version(hypervisor.libvirtVersion));
    add("hypervisor", `${hypervisor.hypervisor} ${version(hypervisor.hypervisorVersion)}`);
  }
  if (keepalive !== undefined) add("keepalive", yes(keepalive));
  if (events !== undefined) add("events", yes(events));
  if (requests !== undefined) {
    const enough = requests.atLeast >= REQUESTS_NEEDED ? ", which is enough" : "";
    add("requests", `at least ${requests.atLeast} of one connection at a time${enough}`);
  }
  if (configuration !== undefined) {
    const { path, settings } = configuration;
    const said = SETTINGS.filter((name) => settings?.[name] !== undefined).map(
      (name) => `${name} = ${settings![name]}`,
    );
    const words = settings === undefined ? "may not be read" : said.join(", ") || "libvirt's defaults";
    add("configured", `${words} (${path})`);
  }
  if (groups !== undefined) add("groups", groups.join(", ") || "none");
  if (guests !== undefined) add("guests", `${guests.running} running, ${guests.examined} examined`);
  return lines;
}

function findingLines({ id, severity, what, mend, guests }: Finding, all: boolean): string[] {
  const shown = all ? guests : guests.slice(0, NAMED);
  const more = guests.length - shown.length;
  const lines = [`${severity}: ${printable(what)} [${id}]`];
  if (shown.length > 0) {
    lines.push(
      `  ${printable(shown.map(guestText).join(", "))}${more > 0 ? ` and ${more} more (--all names them)` : ""}`,
    );
  }
  for (const line of [...mend, ...shown.flatMap((guest) => guest.mend)]) lines.push(`    ${printable(line)}`);
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
  return `${counts.join(", ")}. docs/doctor.md says what each means.`;
}

/** libvirt's way of counting versions: major · 1,000,000 + minor · 1,000 + release. */
function version(number: number | undefined): string {
  if (number === undefined) return "of unknown version";
  return [Math.floor(number / 1_000_000), Math.floor(number / 1_000) % 1_000, number % 1_000].join(".");
}

function yes(it: boolean): string {
  return it ? "yes" : "no";
}
