import { DEVICE_RATES, type Device, deviceLines } from "../../overview/devices.ts";
import type { Diagnosis } from "../../overview/diagnosis.ts";
import { factsText, type GuestLine } from "../../overview/line.ts";
import { known, narrowBytes, percent } from "../../overview/quantity.ts";
import { pad, printable } from "../format/text.ts";
import { cellsOf, titles } from "./layout.ts";
import type { Style, StyledLine } from "./view.ts";

const PARTS: readonly Device[] = ["vcpu", "disk", "nic"];

/**
 * The page of one guest: what is wrong with it, each vCPU, disk and network interface, and its memory; or its raw parameters.
 *
 * @param diagnosis undefined until it is known, and if nothing is wrong
 */
export function guestPage(line: GuestLine, diagnosis: Diagnosis | undefined, raw: boolean): StyledLine[] {
  const { row, verdict } = line;
  const { record, rates } = row;
  const { domain } = record;
  const plain = (text: string): StyledLine => ({ text: printable(text), style: "plain" });
  const title = (text: string): StyledLine => ({ text, style: "title" });
  const lines: StyledLine[] = [
    {
      text: printable(`${domain.name} on ${domain.host}: ${verdict.words}`),
      style: verdict.bad ? "alert" : verdict.slow !== undefined ? "warn" : "strong",
    },
    plain(factsText(row)),
  ];
  if (diagnosis?.wrong) {
    const { summary, evidence, records, remedy } = diagnosis;
    const add = (text: string, style: Style): void => void lines.push({ text: printable(text), style, wraps: true });
    add(summary, verdict.bad ? "alert" : "warn");
    for (const each of [...evidence, ...(records === undefined ? [] : [records])]) add(`  ${each}`, "plain");
    for (const each of remedy) add(`  ${each}`, "strong");
  }
  if (raw) {
    lines.push(title("PARAMETER"));
    for (const [key, value] of record.params) lines.push(plain(`${pad(key, 40)} ${value}`));
    return lines;
  }
  const { cpu, memory } = rates;
  lines.push(
    plain(
      `CPU ${known(cpu.percent, percent)} % of one processor: user ${known(cpu.userPercent, percent)}, system ${known(cpu.systemPercent, percent)}`,
    ),
  );
  for (const device of PARTS) {
    const columns = DEVICE_RATES[device];
    lines.push(title(titles(columns)));
    for (const part of deviceLines(line, device)) lines.push(plain(cellsOf(columns, part)));
  }
  lines.push(title("MEMORY"));
  lines.push(
    plain(
      `used ${known(memory.usedBytes, narrowBytes)} of ${known(memory.totalBytes, narrowBytes)} by the guest's report   assigned ` +
        `${known(memory.assignedBytes, narrowBytes)}   its process ${known(memory.rssBytes, narrowBytes)}`,
    ),
  );
  return lines;
}
