/** A text of so many characters that shares neither its beginning nor its end with those of other seeds. */
export function distinctText(seed: number, length: number): string {
  const token = (Math.imul(seed + 1, 0x9e3779b1) >>> 0).toString(36).padStart(7, "0");
  return token.repeat(Math.ceil(length / token.length)).slice(0, length);
}
