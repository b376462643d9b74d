import { malformed } from "../errors.ts";
import { LIMITS } from "../protocol.ts";

/** Limits how much one message may expand, because a few bytes of columns can stand for millions of values. */
export class MessageBudget {
  #cells = LIMITS.cells;
  #characters = LIMITS.characters;

  /** About how many bytes of memory the message has expanded to: 8 bytes for a cell, and one byte for a character. */
  get bytes(): number {
    return 8 * (LIMITS.cells - this.#cells) + LIMITS.characters - this.#characters;
  }

  /** @throws VirstreamError `protocol-error` if the rows or the cells of the message exceed their limits */
  spend(rows: number, columns: number): void {
    this.#cells -= rows * columns;
    if (rows > LIMITS.rows || this.#cells < 0) throw malformed("it has too many rows");
  }

  /** @throws VirstreamError `protocol-error` if the characters of the message exceed their limit */
  spendCharacters(characters: number): void {
    this.#characters -= characters;
    if (this.#characters < 0) throw malformed("it has too many characters");
  }
}
