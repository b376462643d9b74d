import { printable, withSwitches } from "./format/text.ts";

/** Writes one line for people to stderr. A message of another program may have several lines, which become one line. */
export function notify(notice: string): void {
  process.stderr.write(`virstream: ${printable(withSwitches(notice).replaceAll(/\s*\n\s*/g, " "))}\n`);
}
