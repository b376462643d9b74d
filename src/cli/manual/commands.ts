import { GROUPS } from "../../model/group.ts";
import { EXTRAS } from "../../outlets/identity/identities.ts";
import { DIALECTS, FAMILY_GROUPS } from "../../outlets/prometheus/family.ts";
import { PAGE_EXTRAS } from "../../outlets/prometheus/info/extras.ts";
import { counterColumns, RATE_COLUMNS } from "../../overview/columns.ts";
import { DEVICES, deviceColumns } from "../../overview/devices.ts";
import { ROLES } from "../../server/access/principal.ts";
import { FORMATS } from "../format/format.ts";
import { LOG_FORMATS, LOG_LEVELS } from "../serve/arguments.ts";
import { ACTIONS } from "../token/arguments.ts";
import type { Command } from "../usage.ts";
import { COMMAND_NAMES, type HelpOption, optionsOf, summaryOf } from "./help.ts";

/** The shells whose command lines virstream completes. */
export const SHELLS = ["bash", "zsh", "fish"] as const;

/**
 * The possible completions of a word: one of some values, several values with commas between them, a file, or nothing.
 */
export type Words =
  | { readonly kind: "one" | "list"; readonly values: readonly string[] }
  | { readonly kind: "file" | "none" };

/** A command, with everything that shells complete. */
export interface CompletedCommand {
  readonly name: string;
  readonly summary: string;
  readonly options: readonly (HelpOption & { readonly words: Words })[];
  /** The completions of a word that is no option. */
  readonly operands: Words;
}

/** All commands, taken from their help, with the values of their options. */
export function completedCommands(): CompletedCommand[] {
  const commands = COMMAND_NAMES.map(
    (name): CompletedCommand => ({
      name,
      summary: summaryOf(name),
      options: optionsOf(name).map((option) => ({ ...option, words: wordsOf(name, option) })),
      operands: operandsOf(name),
    }),
  );
  const operands: Words = { kind: "one", values: COMMAND_NAMES };
  return [...commands, { name: "help", summary: "print the help of a command", options: [], operands }];
}

/** URIs, and beginnings of URIs, that the shells offer. */
const URIS: Words = {
  kind: "one",
  values: [
    ...["qemu:///system", "qemu:///session", "qemu+ssh://", "ws://", "ws+unix:///", "nats://"],
    ...["test:///default", "file:///"],
  ],
};

function operandsOf(command: Command): Words {
  switch (command) {
    case "completion":
      return { kind: "one", values: SHELLS };
    case "token":
      return { kind: "one", values: ACTIONS };
    case "info":
    case "record":
      return { kind: "file" };
    case "why":
      return { kind: "none" };
    default:
      return URIS;
  }
}

function wordsOf(command: Command, { names, argument }: HelpOption): Words {
  switch (names.at(-1)) {
    case "--format":
      return { kind: "one", values: formatsOf(command) };
    case "--log-level":
      return { kind: "one", values: LOG_LEVELS };
    case "--log-format":
      return { kind: "one", values: LOG_FORMATS };
    case "--dialect":
      return { kind: "one", values: DIALECTS };
    case "--per":
      return { kind: "one", values: DEVICES };
    case "--sort":
      return { kind: "one", values: columnNames() };
    case "--columns":
      return { kind: "list", values: columnNames() };
    case "--role":
      return { kind: "one", values: ROLES };
    case "--groups":
      return { kind: "list", values: GROUPS };
    case "--metrics-groups":
      return { kind: "list", values: FAMILY_GROUPS };
    case "--metrics-extra":
      return { kind: "list", values: command === "serve" ? PAGE_EXTRAS : EXTRAS };
    case "--connect":
      return URIS;
    default:
      return { kind: argument === "FILE" ? "file" : "none" };
  }
}

function formatsOf(command: Command): readonly string[] {
  if (command === "get") return FORMATS;
  return command === "watch" ? ["table", "virsh", "ndjson"] : ["text", "json"];
}

function columnNames(): string[] {
  const ofDevices = DEVICES.flatMap((device) => [
    ...deviceColumns(device, false, false),
    ...deviceColumns(device, true, false),
  ]);
  return [...new Set([...RATE_COLUMNS, ...counterColumns(false), ...ofDevices].map(({ name }) => name))];
}

/** The beginning of a description, for a list of options. */
export function brief({ description }: HelpOption): string {
  return description.split(/[;:] |\. /)[0]!;
}
