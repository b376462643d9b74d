import { type RecordingGap, type RecordingSurvey, surveyRecording } from "../../drivers/recording/survey.ts";
import { bytes } from "../../overview/quantity.ts";
import { gapText, notWhole } from "../format/notice.ts";
import { jsonText, printable } from "../format/text.ts";
import { ExitCode } from "../usage.ts";
import { parseInfo } from "./arguments.ts";

/** The text names at most this many gaps, and at most this many damaged places. */
const NAMED = 10;
const LABEL_WIDTH = 12;

/** `virstream info`: prints what a recording contains. Resolves with the exit code. */
export async function info(argv: readonly string[], signal: AbortSignal): Promise<number> {
  const { file, format } = parseInfo(argv);
  const survey = await surveyRecording(file, { signal });
  process.stdout.write(format === "json" ? `${jsonText(survey, 2)}\n` : surveyText(survey));
  return survey.damagedBytes > 0 || survey.invalidMessages > 0 ? ExitCode.incomplete : ExitCode.ok;
}

/** A survey as text for people. */
export function surveyText(survey: RecordingSurvey): string {
  const lines = [printable(survey.path)];
  const add = (label: string, text: string): void => {
    lines.push(`  ${label.padEnd(LABEL_WIDTH)}${printable(text)}`);
  };
  const { statuses, bytesPerRecord, gaps, damage } = survey;
  add("time", `${time(survey.from)} to ${time(survey.to)} (${duration(survey.to - survey.from)})`);
  add("recorder", survey.ended ? "ended" : "running, or was killed");
  add("size", `${bytes(survey.bytes)} in ${count(survey.files.length, "file")}`);
  add("hosts", survey.hosts.join(", ") || "none");
  add("hypervisor", survey.hypervisor);
  add("domains", `${survey.domains}`);
  add("groups", survey.groups.join(", ") || "all");
  add("interval", duration(survey.intervalMs));
  const each = bytesPerRecord === undefined ? "" : `, ${Math.round(bytesPerRecord)} bytes each`;
  add("records", `${survey.records} of ${count(survey.ticks, "sweep")}${each}${notWhole(statuses)}`);
  add("key frames", `${survey.keyFrames}`);
  add("gaps", `${survey.gapCount}`);
  for (const gap of gaps.slice(0, NAMED)) add("", gapLine(gap));
  if (survey.gapCount > NAMED) add("", `and ${survey.gapCount - NAMED} more (--format json has the first 1,000)`);
  add("damage", damageText(survey));
  for (const { path, offset, bytes: size } of damage.slice(0, NAMED))
    add("", `${path} from byte ${offset}: ${size} bytes`);
  return `${lines.join("\n")}\n`;
}

function damageText({ damagedBytes, cutBytes, invalidMessages }: RecordingSurvey): string {
  const texts = [
    ...(damagedBytes > 0 ? [`${damagedBytes} bytes`] : []),
    ...(invalidMessages > 0 ? [count(invalidMessages, "invalid message")] : []),
    ...(cutBytes > 0 ? [`the last frame is not whole (${cutBytes} bytes)`] : []),
  ];
  return texts.join(", ") || "none";
}

function gapLine(gap: RecordingGap): string {
  return `${time(gap.from)} to ${time(gap.to)} (${duration(gap.to - gap.from)}): ${gapText({ type: "gap", ...gap })}`;
}

function count(n: number, noun: string): string {
  return `${n} ${noun}${n === 1 ? "" : "s"}`;
}

function time(ms: number): string {
  return new Date(ms).toISOString();
}

function duration(ms: number): string {
  if (ms < 1_000) return `${Math.round(ms)} ms`;
  if (ms < 120_000) return `${(ms / 1_000).toFixed(1)} s`;
  if (ms < 7_200_000) return `${(ms / 60_000).toFixed(1)} min`;
  if (ms < 172_800_000) return `${(ms / 3_600_000).toFixed(1)} h`;
  return `${(ms / 86_400_000).toFixed(1)} d`;
}
