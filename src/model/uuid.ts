/**
 * A uuid's two forms: 36 characters of lower-case text, and 16 bytes on libvirt's and on our own wire. Both conversions
 * run once per record of a sweep, so they go through tables and a scratch buffer instead of string building.
 */

const HEX_DIGITS = new Uint8Array(16);
for (let i = 0; i < 16; i++) HEX_DIGITS[i] = "0123456789abcdef".charCodeAt(i);

const NIBBLES = new Int8Array(128).fill(-1);
for (let i = 0; i < 16; i++) {
  NIBBLES["0123456789abcdef".charCodeAt(i)] = i;
  NIBBLES["0123456789ABCDEF".charCodeAt(i)] = i;
}

/** Node makes text of bytes natively; browsers of character codes. */
const native = (globalThis as { Buffer?: { prototype: { latin1Slice(start: number, end: number): string } } }).Buffer
  ?.prototype;

const DASH = 0x2d;
/** Where each byte's first digit stands in the text. */
const TEXT_OFFSETS = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];
const scratch = new Uint8Array(36).fill(DASH);

/** The text of the 16 bytes at `offset`. */
export function formatUuid(bytes: Uint8Array, offset: number): string {
  for (let i = 0; i < 16; i++) {
    const byte = bytes[offset + i]!;
    const at = TEXT_OFFSETS[i]!;
    scratch[at] = HEX_DIGITS[byte >> 4]!;
    scratch[at + 1] = HEX_DIGITS[byte & 15]!;
  }
  return native === undefined
    ? String.fromCharCode.apply(null, scratch as unknown as number[])
    : native.latin1Slice.call(scratch, 0, 36);
}

/** Writes the 16 bytes of a uuid in its text form to `offset`; false when the text is not of that form. */
export function writeUuid(text: string, bytes: Uint8Array, offset: number): boolean {
  if (text.length !== 36) return false;
  for (let i = 0; i < 16; i++) {
    const at = TEXT_OFFSETS[i]!;
    const high = NIBBLES[text.charCodeAt(at)] ?? -1;
    const low = NIBBLES[text.charCodeAt(at + 1)] ?? -1;
    if ((high | low) < 0) return false;
    bytes[offset + i] = (high << 4) | low;
  }
  return true;
}

/** The uuid of a domain that was asked for by a name that nobody has. */
export const NIL_UUID = "00000000-0000-0000-0000-000000000000";

const UUID = /^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$/i;

/** A uuid in lower case with its dashes, or undefined if the text is none. */
export function parseUuid(text: string): string | undefined {
  if (!UUID.test(text)) return undefined;
  const hex = text.replaceAll("-", "").toLowerCase();
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}
