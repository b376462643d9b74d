import { VirstreamError } from "./error.ts";

/**
 * Refuses members that an object of options does not have: a misspelt one would be left out without a word, and some
 * of them keep strangers out.
 *
 * @param what the object, as the error names it
 * @throws VirstreamError `invalid-argument`
 */
export function checkMembers(options: object, known: readonly string[], what: string): void {
  for (const member of Object.keys(options)) {
    if (!known.includes(member)) {
      throw new VirstreamError(
        "invalid-argument",
        `${what} has no member ${JSON.stringify(member)}: it has ${known.join(", ")}`,
      );
    }
  }
}
