import { GROUPS } from "../../model/group.ts";
import { type Command, HELP } from "../usage.ts";

/** An option in the help. */
export interface HelpOption {
  /** With dashes, as `-n` and `--count`. */
  readonly names: readonly string[];
  /** The placeholder of its value, such as `TIME`; undefined if it has no value. */
  readonly argument: string | undefined;
  readonly description: string;
}

/** A part of a help text. */
export type HelpPart =
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "options"; readonly options: readonly HelpOption[] }
  /** Lines that are not to be wrapped: examples and lists. */
  | { readonly kind: "lines"; readonly lines: readonly string[] };

/** The commands, in the order of the help. */
export const COMMAND_NAMES = Object.keys(HELP).filter((name): name is Command => name !== "");

/** What a command does, in a few words. */
export function summaryOf(command: Command): string {
  return new RegExp(`^  ${command} +(.+)$`, "m").exec(HELP[""])![1]!;
}

/** The text after the program's name in the first line of a help text, such as `get [URI]... [OPTION]...`. */
export function usageOf(command: Command | ""): string {
  return /^Usage: virstream (.*)$/m.exec(HELP[command])![1]!;
}

/** All options of a command. */
export function optionsOf(command: Command): HelpOption[] {
  const options = partsOf(command).flatMap((part) => (part.kind === "options" ? part.options : []));
  if (!usageOf(command).includes("URI")) return options;
  const names = command === "check" ? ["--connect"] : ["-c", "--connect"];
  return [...options, { names, argument: "URI", description: "where the domains come from" }];
}

/** The parts of a help text below its first line. */
export function partsOf(command: Command | ""): HelpPart[] {
  return HELP[command]
    .split("\n")
    .slice(1)
    .join("\n")
    .split(/\n\n+/)
    .flatMap((paragraph) => partsOfParagraph(paragraph.split("\n").filter((line) => line !== "")));
}

function partsOfParagraph(lines: readonly string[]): HelpPart[] {
  const parts: HelpPart[] = [];
  for (let i = 0; i < lines.length; ) {
    const isOption = (line: string): boolean => /^ {2}-/.test(line);
    const isIndented = (line: string): boolean => line.startsWith("  ");
    const kind = isOption(lines[i]!) ? "options" : isIndented(lines[i]!) ? "lines" : "text";
    const end = lines.findIndex((line, at) =>
      at <= i ? false : kind === "text" ? isIndented(line) : !isIndented(line) || (kind === "lines" && isOption(line)),
    );
    const own = lines.slice(i, end < 0 ? lines.length : end);
    if (kind === "options") parts.push({ kind, options: optionsIn(own) });
    else if (kind === "lines") parts.push({ kind, lines: own.map((line) => line.slice(2)) });
    else parts.push({ kind, text: own.join(" ") });
    i += own.length;
  }
  return parts;
}

function optionsIn(lines: readonly string[]): HelpOption[] {
  const options: { names: string[]; argument: string | undefined; description: string }[] = [];
  for (const line of lines) {
    const option = /^ {2}(-[\w-]+)(?:, (--[\w-]+))?(?: ([A-Z[][^ ]*))?(?: +(.*))?$/.exec(line);
    if (/^ {2}(--[\w-]+ )*--[\w-]+$/.test(line)) {
      for (const name of line.trim().split(" ")) {
        options.push({ names: [name], argument: undefined, description: descriptionOf(name) });
      }
    } else if (option !== null) {
      const [, one, other, argument, description = ""] = option;
      const names = other === undefined ? [one!] : [one!, other];
      options.push({ names, argument, description: description || descriptionOf(names.at(-1)!) });
    } else {
      const last = options.at(-1)!;
      last.description = `${last.description} ${line.trim()}`.trim();
    }
  }
  return options;
}

/** The description of an option that the help only lists: a group, a filter, or `--help`. */
function descriptionOf(name: string): string {
  if (name === "--help") return "print the help";
  if (name.startsWith("--list-")) return `only ${name.slice(7)} domains`;
  return isGroup(name.slice(2)) ? `the group ${name.slice(2)}` : "";
}

function isGroup(name: string): boolean {
  return (GROUPS as readonly string[]).includes(name);
}
