/** A text of `length` characters. Texts of different seeds share neither their beginning nor their end. */
export function distinctText(seed: number, length: number): string {
  const token = (Math.imul(seed + 1, 0x9e3779b1) >>> 0).toString(36).padStart(7, "0");
  return token.repeat(Math.ceil(length / token.length)).slice(0, length);
}
