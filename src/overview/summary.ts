import type { Totals } from "./guest-list.ts";
import { narrowBytes } from "./quantity.ts";
import { TROUBLES } from "./verdict.ts";
import { printable } from "./words.ts";

/** A part of the line that sums up all guests and hosts. */
export interface SummaryPart {
  readonly name: string;
  readonly text: string;
  /** True if the part is about trouble. */
  readonly bad: boolean;
}

/**
 * If there are at most this many hosts, all hosts are named. Otherwise the first hosts are named, one host fewer than
 * this, and the number of the other hosts follows.
 */
const NAMED_HOSTS = 4;

/**
 * The parts of the summary, in their order. There is no part about absent hosts, troubles or slow guests if there are
 * none, and no part about CPU or memory if the figure is not known.
 */
export function summaryOf({ hosts, absent, guests, troubles, slow, ...of }: Totals): SummaryPart[] {
  const parts: SummaryPart[] = [];
  const add = (name: string, text: string, bad = false): void => void parts.push({ name, text, bad });
  const shown = hosts.length <= NAMED_HOSTS ? hosts : hosts.slice(0, NAMED_HOSTS - 1);
  const more = hosts.length === shown.length ? "" : ` +${hosts.length - shown.length}`;
  add("hosts", `${shown.map(printable).join(" ")}${more}`);
  if (absent > 0) add("absent", `${absent} absent`, true);
  add("guests", `${guests.toLocaleString("en")} guest${guests === 1 ? "" : "s"}`);
  let others = 0;
  for (const kind of TROUBLES) {
    const count = troubles.get(kind) ?? 0;
    if (count === 0) continue;
    if (kind === "stuck" || kind === "crashed") add(kind, `${count} ${kind}`, true);
    else if (kind === "io-error") add(kind, `${count} I/O error${count === 1 ? "" : "s"}`, true);
    else others += count;
  }
  if (others > 0) add("trouble", `${others} other trouble`, true);
  if (slow > 0) add("slow", `${slow} slow`);
  const { cpus, vcpus, usedBytes, assignedBytes, isUsedEstimated } = of;
  if (cpus !== undefined) {
    const inUse = `CPU ${cpus.toFixed(cpus < 10 ? 1 : 0)}`;
    add("cpu", vcpus === 0 ? inUse : `${inUse} of ${vcpus.toLocaleString("en")}`);
  }
  const about = isUsedEstimated ? "~" : "";
  if (assignedBytes > 0) add("mem", `MEM ${about}${narrowBytes(usedBytes)} of ${narrowBytes(assignedBytes)}`);
  return parts;
}
