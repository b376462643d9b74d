import { printable, withSwitches } from "./format/text.ts";

/** Writes one line for people to stderr. A message from outside may have several lines, which become one. */
export function notify(notice: string): void {
  process.stderr.write(`virstream: ${printable(withSwitches(notice).replaceAll(/\s*\n\s*/g, " "))}\n`);
}
