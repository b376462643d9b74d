const encoder = new TextEncoder();

/** How many bytes a message has: its own, or those of its text in UTF-8. */
export function sizeOf(message: Uint8Array | string): number {
  return typeof message === "string" ? utf8Length(message) : message.length;
}

/** How many bytes a text takes in UTF-8. Node counts without encoding; browsers cannot. */
export function utf8Length(text: string): number {
  const buffer = (globalThis as { Buffer?: { byteLength(text: string): number } }).Buffer;
  return buffer === undefined ? encoder.encode(text).length : buffer.byteLength(text);
}
