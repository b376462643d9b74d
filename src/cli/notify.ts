import { printable, withSwitches } from "./format/text.ts";

/** Writes one line for people to stderr. A message from elsewhere may have several. */
export function notify(notice: string): void {
  process.stderr.write(`virstream: ${printable(withSwitches(notice).replaceAll(/\s*\n\s*/g, " "))}\n`);
}
