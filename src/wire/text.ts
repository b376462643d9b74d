/**
 * UTF-8, as fast as the platform allows. Node's Buffer has native reads and writes on any Uint8Array; browsers have
 * TextEncoder and TextDecoder, which cost more per call, so that short ASCII goes through a loop there.
 */

interface NativeText {
  utf8Slice(start: number, end: number): string;
  latin1Slice(start: number, end: number): string;
  utf8Write(text: string, offset: number, length: number): number;
}

const native: NativeText | undefined = (globalThis as { Buffer?: { prototype: NativeText } }).Buffer?.prototype;
const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

/** At most this many bytes may be needed for a text. */
export function maxUtf8Length(text: string): number {
  return text.length * 3;
}

/** Writes a text at an offset, where there must be room for maxUtf8Length; tells how many bytes it took. */
export function writeUtf8(text: string, bytes: Uint8Array, offset: number): number {
  const length = text.length;
  if (length < 48) {
    let i = 0;
    for (; i < length; i++) {
      const code = text.charCodeAt(i);
      if (code > 0x7f) break;
      bytes[offset + i] = code;
    }
    if (i === length) return length;
  }
  if (native !== undefined) return native.utf8Write.call(bytes, text, offset, bytes.length - offset);
  return encoder.encodeInto(text, bytes.subarray(offset)).written;
}

/** A text of at most so many bytes is put together from its characters: a native call costs as much as five of them. */
const SHORT = 12;

/** The text of bytes; what is not UTF-8 becomes U+FFFD. */
export function readUtf8(bytes: Uint8Array, start: number, end: number): string {
  if (end - start <= SHORT) {
    const text = readShortAscii(bytes, start, end);
    if (text !== undefined) return text;
  }
  if (native !== undefined) return native.utf8Slice.call(bytes, start, end);
  if (end - start < 32) {
    let text = "";
    for (let i = start; i < end; i++) {
      const code = bytes[i]!;
      if (code > 0x7f) return decoder.decode(bytes.subarray(start, end));
      text += String.fromCharCode(code);
    }
    return text;
  }
  return decoder.decode(bytes.subarray(start, end));
}

/** The text of bytes that are all ASCII; undefined if one is not. Four at a time: each call makes a string. */
function readShortAscii(bytes: Uint8Array, start: number, end: number): string | undefined {
  let text = "";
  let at = start;
  for (; at + 4 <= end; at += 4) {
    const [a, b, c, d] = [bytes[at]!, bytes[at + 1]!, bytes[at + 2]!, bytes[at + 3]!];
    if ((a | b | c | d) > 0x7f) return undefined;
    text += String.fromCharCode(a, b, c, d);
  }
  for (; at < end; at++) {
    if (bytes[at]! > 0x7f) return undefined;
    text += String.fromCharCode(bytes[at]!);
  }
  return text;
}

/** How many bytes a message has: its own, or those of its text in UTF-8. */
export function sizeOf(message: Uint8Array | string): number {
  return typeof message === "string" ? utf8Length(message) : message.length;
}

/** How many bytes a text takes in UTF-8. */
export function utf8Length(text: string): number {
  const buffer = (globalThis as { Buffer?: { byteLength(text: string): number } }).Buffer;
  return buffer === undefined ? encoder.encode(text).length : buffer.byteLength(text);
}
