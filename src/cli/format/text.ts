import { eastAsianWidth } from "get-east-asian-width";
import { CONTROL } from "../../overview/words.ts";

export { printable } from "../../overview/words.ts";

/** The options of the programming interface that error messages name, each with the command line's switch for it. */
const SWITCHES: Readonly<Record<string, string>> = {
  token: "--token-file",
  "token of connect()": "--token-file or $VIRSTREAM_TOKEN (for a source of serve --source-token-file)",
  ca: "--ca FILE",
  authenticate: "--tokens",
  tls: "--tls-cert and --tls-key",
  allowPlain: "--allow-plain",
  allowAnyone: "--allow-anyone",
  origins: "--origin",
  minIntervalMs: "--min-interval",
  intervalMs: "--interval",
};

/** Replaces the options of the programming interface in an error's message by the switches of the command line. */
export function withSwitches(message: string): string {
  return message
    .replaceAll(/\b(?:the|its) option (\w+(?: of connect\(\))?)/g, (all, name) => SWITCHES[name] ?? all)
    .replace(
      "pass the options cert and key",
      "name the files with its certificate and key in $VIRSTREAM_TLS_CERT and $VIRSTREAM_TLS_KEY",
    );
}

/**
 * A value as JSON text, in which every character that matches CONTROL is escaped. JSON itself escapes only the
 * characters below U+0020.
 *
 * @param space as in JSON.stringify
 */
export function jsonText(value: unknown, space?: number): string {
  return escaped(JSON.stringify(value, undefined, space));
}

/** Escapes the characters that match CONTROL in JSON text. Line breaks stay, because they may stand between values. */
export function escaped(json: string): string {
  return json.replaceAll(CONTROL, (character) =>
    character === "\n" ? character : `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** A moment of a recording, given in ms since 1970, as local time in text. */
export function recordedTime(ms: number): string {
  return new Date(ms).toLocaleString("sv-SE");
}

const ALERT = "\u001b[1;31m";
const PLAIN = "\u001b[m";

/** A line about trouble, in bold red if the output shows colours. The words alone must say that there is trouble. */
export function alert(line: string, colours: boolean): string {
  return colours ? `${ALERT}${line}${PLAIN}` : line;
}

/** The colours of texts that report no trouble. A terminal's own palette decides how they look. */
const COLOURS = { green: 32, yellow: 33, grey: 90 } as const;
/** The name of a colour. */
export type Colour = keyof typeof COLOURS;

/** A text in a colour. */
export function paint(text: string, colour: Colour): string {
  return `\u001b[${COLOURS[colour]}m${text}${PLAIN}`;
}

/** True if an output shows colours: a terminal does, unless the user sets NO_COLOR (https://no-color.org). */
export function showsColours({ isTTY }: { readonly isTTY?: boolean }, env: NodeJS.ProcessEnv): boolean {
  return isTTY === true && !env["NO_COLOR"] && env["TERM"] !== "dumb";
}

const GRAPHEMES = new Intl.Segmenter(undefined, { granularity: "grapheme" });
const ASCII = /^[ -~]*$/;
const EMOJI = /\p{Emoji_Presentation}|\u{fe0f}/u;
/** Marks and format characters add no cell, e.g. accents and joiners. */
const NO_CELL = /[\p{Mn}\p{Me}\p{Cf}]/gu;

/** How many cells of a terminal a printable text takes. */
export function width(text: string): number {
  if (ASCII.test(text)) return text.length;
  let cells = 0;
  for (const { segment } of GRAPHEMES.segment(text)) cells += graphemeWidth(segment);
  return cells;
}

/** The longest beginning of a text that fits into a number of cells. It ends with a whole grapheme. */
function beginning(text: string, cells: number): string {
  if (ASCII.test(text)) return text.slice(0, cells);
  let room = cells;
  for (const { segment, index } of GRAPHEMES.segment(text)) {
    room -= graphemeWidth(segment);
    if (room < 0) return text.slice(0, index);
  }
  return text;
}

/** The longest end of a text that fits into a number of cells. */
function ending(text: string, cells: number): string {
  if (ASCII.test(text)) return text.slice(text.length - cells);
  let room = cells;
  let end = "";
  for (const { segment } of [...GRAPHEMES.segment(text)].reverse()) {
    room -= graphemeWidth(segment);
    if (room < 0) break;
    end = segment + end;
  }
  return end;
}

/** Fills a text with spaces to a number of cells. */
export function pad(text: string, cells: number, align: "left" | "right" = "left"): string {
  const spaces = " ".repeat(Math.max(0, cells - width(text)));
  return align === "right" ? spaces + text : text + spaces;
}

/** Cuts the end of a text that does not fit into a number of cells. */
export function cut(text: string, cells: number): string {
  return width(text) <= cells ? text : `${beginning(text, Math.max(0, cells - 1))}…`;
}

/**
 * Breaks a text into lines that fit into a number of cells. A line ends at its last space if that space is in the
 * second half of the line, and otherwise inside a word.
 */
export function wrap(text: string, cells: number): string[] {
  const lines: string[] = [];
  let rest = text;
  while (width(rest) > cells) {
    const head = beginning(rest, cells);
    const space = head.lastIndexOf(" ");
    const end = space > head.length / 2 ? space + 1 : head.length;
    // If not even one character fits, the rest stays in one line.
    if (end === 0) break;
    lines.push(rest.slice(0, end).trimEnd());
    rest = rest.slice(end);
  }
  return [...lines, rest];
}

/**
 * Cuts out the middle of a text that does not fit into a number of cells. The beginning and the end stay, because
 * related names usually differ there.
 */
export function shorten(text: string, cells: number): string {
  if (width(text) <= cells) return text;
  const head = Math.ceil((cells - 1) / 2);
  return `${beginning(text, head)}…${ending(text, cells - 1 - head)}`;
}

/**
 * How many cells a grapheme takes. A grapheme is what people see as one character; it may consist of several code
 * points.
 */
function graphemeWidth(grapheme: string): number {
  if (EMOJI.test(grapheme)) return 2;
  const visible = grapheme.replaceAll(NO_CELL, "");
  return visible === "" ? 0 : eastAsianWidth(visible.codePointAt(0)!);
}
