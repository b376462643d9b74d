import { malformed } from "../errors.ts";
import { LIMITS } from "../protocol.ts";

/** Limits how much one message may expand, because a few bytes of columns can stand for millions of values. */
export class MessageBudget {
  #cells = LIMITS.cells;
  #characters = LIMITS.characters;

  /** How much memory the message has expanded to, roughly: 8 bytes for a cell, and one for a character. */
  get bytes(): number {
    return 8 * (LIMITS.cells - this.#cells) + LIMITS.characters - this.#characters;
  }

  /** @throws VirstreamError `protocol-error` beyond the bounds */
  spend(rows: number, columns: number): void {
    this.#cells -= rows * columns;
    if (rows > LIMITS.rows || this.#cells < 0) throw malformed("it has too many rows");
  }

  /** @throws VirstreamError `protocol-error` beyond the bound */
  spendCharacters(characters: number): void {
    this.#characters -= characters;
    if (this.#characters < 0) throw malformed("it has too many characters");
  }
}
