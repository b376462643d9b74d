import { VERSION } from "../../version.ts";
import { COMMAND_NAMES, type HelpPart, partsOf, usageOf } from "./help.ts";

/** The manual page virstream(1), made from the help of the commands. The build writes it. */
export function manPage(): string {
  const general = partsOf("");
  const known = new Set(general.map((part) => JSON.stringify(part)));
  const commands = COMMAND_NAMES.flatMap((name) => [
    `.SS virstream ${roff(usageOf(name))}`,
    // The section DESCRIPTION already has the parts that all commands share.
    ...partsOf(name)
      .filter((part) => !known.has(JSON.stringify(part)))
      .flatMap(partRoff),
  ]);
  const lines = [
    `.TH VIRSTREAM 1 "" "virstream ${VERSION}" "User Commands"`,
    ".SH NAME",
    "virstream \\- statistics of virtual machines, one record per domain as soon as its hypervisor has it",
    ".SH SYNOPSIS",
    `.B virstream\n${roff(usageOf(""))}`,
    ".SH DESCRIPTION",
    ...general.flatMap(partRoff),
    ".SH COMMANDS",
    ...commands,
    ".SH ENVIRONMENT",
    ...ENVIRONMENT.flatMap(([name, text]) => [".TP", `.B ${name}`, roff(text)]),
    ".SH SEE ALSO",
    ".BR virsh (1),\n.BR virt-top (1)",
  ];
  return `${lines.join("\n")}\n`;
}

const ENVIRONMENT = [
  ["VIRSTREAM_URI", "the URI of a command without one"],
  ["LIBVIRT_DEFAULT_URI", "the same, where VIRSTREAM_URI is not set"],
  ["VIRSTREAM_TOKEN", "the token for virstream servers"],
  [
    "VIRSTREAM_TLS_CERT, VIRSTREAM_TLS_KEY",
    "the files with this client's certificate and its key, for servers that ask for them",
  ],
  ["VIRSTREAM_TOKENS", "the file of tokens of virstream token"],
  ["VIRSTREAM_LOG_LEVEL", "the least level that virstream serve logs"],
  ["VIRSTREAM_LOG_FORMAT", "the form of its log: text or json"],
  ["NO_COLOR", "switches colours off, whatever its value is"],
] as const;

function partRoff(part: HelpPart): string[] {
  switch (part.kind) {
    case "text":
      return [".PP", roff(part.text)];
    case "lines":
      return [".PP", ".RS 4", ".nf", ...part.lines.map(roff), ".fi", ".RE"];
    case "options":
      return part.options.flatMap(({ names, argument, description }) => {
        const value = argument === undefined ? "" : ` \\fI${roff(argument)}\\fR`;
        return [".TP", `${names.map((name) => `\\fB${roff(name)}\\fR`).join(", ")}${value}`, roff(description)];
      });
  }
}

/** Escapes a text for roff, so that a user can copy its hyphens, and roff takes no line for a request. */
function roff(text: string): string {
  return text
    .replaceAll("\\", "\\e")
    .replaceAll("-", "\\-")
    .replaceAll("~", "\\(ti")
    .replaceAll("^", "\\(ha")
    .replace(/^[.']/, "\\&$&");
}
