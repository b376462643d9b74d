/** Control characters, line separators, and the characters that change the direction of the text after them. */
export const CONTROL = /[\p{Cc}\p{Zl}\p{Zp}\p{Bidi_Control}]/gu;

/**
 * Makes a text from outside safe to print: names, hosts, messages, values. It replaces characters that could move the
 * cursor, change the screen, or reorder a line. Every text that the command line and the page show to people goes
 * through it, at the latest when it is written.
 */
export function printable(text: string): string {
  return text.replaceAll(CONTROL, "\u{fffd}");
}

/** Names in a sentence: `a`, `a and b`, `a, b and c`. */
export function listed(names: readonly string[]): string {
  return names.length < 2 ? names.join("") : `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`;
}
