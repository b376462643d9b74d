import { alert, escaped, paint, printable } from "../format/text.ts";

/** The form of a log line. */
export interface LineForm {
  /** True: text for people. False: JSON. */
  readonly isText: boolean;
  /**
   * True if lines begin with a priority for systemd's journal. Lines of text then have no time, because the journal
   * adds it.
   */
  readonly inJournal: boolean;
}

/** The priorities of syslog: https://www.freedesktop.org/software/systemd/man/latest/sd-daemon.html */
const PRIORITIES: Readonly<Record<string, number>> = { error: 3, warn: 4, info: 6, debug: 7, trace: 7 };
/** The beginning of a line of text, for each level that has one. */
const WORDS: Readonly<Record<string, string>> = { error: "error: ", warn: "warning: " };

/**
 * Converts one of pino's lines of JSON to this form. No text in the line can end the line, or change the terminal that
 * shows the line.
 */
export function lineOf(json: string, { isText, inJournal }: LineForm, colours: boolean): string {
  const line = json.trimEnd();
  const { level, time, msg = "" } = JSON.parse(line) as { level: string; time: string; msg?: string };
  const priority = inJournal ? `<${PRIORITIES[level]}>` : "";
  if (!isText) return `${priority}${escaped(line)}\n`;
  const text = printable(msg);
  if (inJournal) return `${priority}${text}\n`;
  const said = `${WORDS[level] ?? ""}${text}`;
  const shown = level === "error" ? alert(said, colours) : level === "warn" && colours ? paint(said, "yellow") : said;
  return `${localTime(new Date(time))} ${shown}\n`;
}

/** Writes a local time, such as `2026-11-27 13:26:39`. */
function localTime(time: Date): string {
  const two = (n: number): string => `${n}`.padStart(2, "0");
  const date = [time.getFullYear(), two(time.getMonth() + 1), two(time.getDate())].join("-");
  return `${date} ${[time.getHours(), time.getMinutes(), time.getSeconds()].map(two).join(":")}`;
}
