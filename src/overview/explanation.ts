import { type GuestLine, type HostLine, nameOf } from "./line.ts";
import { guestWord, shellWord } from "./shell-word.ts";
import { trouble } from "./verdict.ts";
import { printable } from "./words.ts";

/** What is wrong with a guest that is in trouble or slow, in one sentence without its full stop. */
export function matterText({ row, verdict }: Pick<GuestLine, "row" | "verdict">): string {
  const { domain, error, missing, reason } = row.record;
  const what =
    verdict.slow !== undefined
      ? verdict.slow.sentence
      : verdict.kind === "stuck"
        ? "does not answer"
        : error !== undefined
          ? error.message
          : missing.length > 0
            ? `without ${missing.join(", ")}${reason === undefined ? "" : ` (${reason})`}`
            : (trouble(row.record) ?? verdict.words.toLowerCase());
  return `${printable(nameOf(domain))}: ${printable(what)}`;
}

/**
 * The command that finds out why a guest is in trouble.
 *
 * @param uri of the guest's host
 * @param options further words of the command, with a space before each
 */
export function whyCommand({ row: { domain } }: Pick<GuestLine, "row">, uri: string, options = ""): string {
  return `virstream why ${guestWord(domain)} ${shellWord(uri)}${options}`;
}

/**
 * What is wrong with a guest in trouble, in one sentence, and then the command that finds out why.
 *
 * @param uri of the guest's host
 * @param options further words of the command, with a space before each
 */
export function troubleText(line: GuestLine, uri: string, options = ""): string {
  // Nothing can be found out about a guest that does not exist.
  if (line.row.record.status === "gone") return matterText(line);
  return `${matterText(line)}.  ${whyCommand(line, uri, options)}`;
}

/** Why a host is absent. */
export function absenceText({ host: { host, error } }: HostLine): string {
  const says = `${host} cannot be reached`;
  // The error from a connection to several hosts begins with the same words.
  const text = error.message.startsWith(says) ? error.message : `${says}: ${error.message}`;
  return `${printable(text)} [${error.code}]`;
}
