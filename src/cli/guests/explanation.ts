import { guestWord, shellWord } from "../../doctor/guests.ts";
import { printable } from "../format/text.ts";
import { type GuestLine, type HostLine, nameOf } from "./line.ts";
import { trouble } from "./verdict.ts";

/**
 * What is the matter with a guest in trouble, and the command that helps: one sentence of each.
 *
 * @param uri of the guest's host
 */
export function troubleText({ row, verdict }: GuestLine, uri: string): string {
  const { domain, error, missing, reason } = row.record;
  const what =
    verdict.kind === "stuck"
      ? "does not answer"
      : error !== undefined
        ? error.message
        : missing.length > 0
          ? `without ${missing.join(", ")}${reason === undefined ? "" : ` (${reason})`}`
          : (trouble(row.record) ?? verdict.words.toLowerCase());
  return `${printable(nameOf(domain))}: ${printable(what)}.  virstream why ${guestWord(domain)} ${shellWord(uri)}`;
}

/** Why a host is absent. */
export function absenceText({ host: { host, error } }: HostLine): string {
  return `${printable(host)} cannot be reached: ${printable(error.message)} [${error.code}]`;
}
