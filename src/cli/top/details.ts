import type { TableRow } from "../../client/table/rows.ts";
import type { Diagnosis } from "../../doctor/diagnosis.ts";
import { narrowBytes, narrowCount, percent } from "../format/quantity.ts";
import { pad, printable } from "../format/text.ts";
import { narrowMs } from "./columns.ts";
import { span, verdictOf } from "./verdict.ts";
import type { StyledLine } from "./view.ts";

const UNKNOWN = "-";

/**
 * The page of one guest: what is wrong with it, each vCPU, disk and network interface, and its memory; or its raw parameters.
 *
 * @param diagnosis undefined until it is known, and where nothing is wrong
 */
export function guestPage(
  row: TableRow,
  diagnosis: Diagnosis | undefined,
  raw: boolean,
  sinceMs: number,
): StyledLine[] {
  const { record, rates } = row;
  const { domain, state, tookMs } = record;
  const verdict = verdictOf(record, sinceMs);
  const plain = (text: string): StyledLine => ({ text: printable(text), style: "plain" });
  const title = (text: string): StyledLine => ({ text, style: "title" });
  const lines: StyledLine[] = [
    { text: printable(`${domain.name} on ${domain.host}: ${verdict.words}`), style: verdict.bad ? "alert" : "strong" },
    plain(
      `uuid ${domain.uuid}   id ${domain.id < 0 ? UNKNOWN : domain.id}   state ${state === undefined ? UNKNOWN : `${state.state} (${state.reason})`}` +
        `   ${span(row.ageMs)} old, answered in ${narrowMs(tookMs)}`,
    ),
  ];
  if (diagnosis?.wrong) {
    lines.push({ text: printable(diagnosis.summary), style: "alert" });
    for (const evidence of diagnosis.evidence) lines.push(plain(`  ${evidence}`));
    for (const remedy of diagnosis.remedy) lines.push({ text: printable(`  ${remedy}`), style: "strong" });
  }
  if (raw) {
    lines.push(title("PARAMETER"));
    for (const [key, value] of record.params) lines.push(plain(`${pad(key, 40)} ${value}`));
    return lines;
  }
  const { cpu, vcpus, disks, interfaces, memory } = rates;
  lines.push(
    plain(
      `CPU ${known(cpu.percent, percent)} % of one processor: user ${known(cpu.userPercent, percent)}, system ${known(cpu.systemPercent, percent)}`,
    ),
  );
  lines.push(title(row4("VCPU", "CPU%", "STEAL%", "WAIT%")));
  for (const vcpu of vcpus) {
    lines.push(
      plain(
        row4(
          String(vcpu.number),
          known(vcpu.percent, percent),
          known(vcpu.stealPercent, percent),
          known(vcpu.waitPercent, percent),
        ),
      ),
    );
  }
  const diskCells = (...cells: string[]): string =>
    pad(cells[0]!, 8) +
    cells
      .slice(1, 8)
      .map((each) => pad(each, 9, "right"))
      .join("") +
    `  ${cells[8]}`;
  lines.push(title(diskCells("DISK", "READ/s", "WRITE/s", "RD-OP/s", "WR-OP/s", "RD-LAT", "WR-LAT", "FL-LAT", "PATH")));
  for (const disk of disks) {
    const figures = [disk.readBytesPerSecond, disk.writeBytesPerSecond].map((each) => known(each, narrowBytes));
    const operations = [disk.readsPerSecond, disk.writesPerSecond].map((each) => known(each, narrowCount));
    const times = [disk.readLatencyMs, disk.writeLatencyMs, disk.flushLatencyMs].map((each) => known(each, narrowMs));
    lines.push(plain(diskCells(disk.name, ...figures, ...operations, ...times, disk.path ?? UNKNOWN)));
  }
  const nicCells = (...cells: string[]): string =>
    pad(cells[0]!, 16) +
    cells
      .slice(1)
      .map((each) => pad(each, 9, "right"))
      .join("");
  lines.push(title(nicCells("NIC", "RX/s", "TX/s", "RX-PKT/s", "TX-PKT/s", "ERR/s", "DROP/s")));
  for (const nic of interfaces) {
    const bytes = [nic.receivedBytesPerSecond, nic.transmittedBytesPerSecond].map((each) => known(each, narrowBytes));
    const packets = [nic.receivedPacketsPerSecond, nic.transmittedPacketsPerSecond].map((each) =>
      known(each, narrowCount),
    );
    const losses = [
      both(nic.receiveErrorsPerSecond, nic.transmitErrorsPerSecond),
      both(nic.receiveDropsPerSecond, nic.transmitDropsPerSecond),
    ].map((each) => known(each, narrowCount));
    lines.push(plain(nicCells(nic.name, ...bytes, ...packets, ...losses)));
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

function known(value: number | undefined, words: (value: number) => string): string {
  return value === undefined ? UNKNOWN : words(value);
}

function both(one: number | undefined, other: number | undefined): number | undefined {
  return one === undefined && other === undefined ? undefined : (one ?? 0) + (other ?? 0);
}

function row4(first: string, ...rest: string[]): string {
  return pad(first, 8) + rest.map((each) => pad(each, 9, "right")).join("");
}
