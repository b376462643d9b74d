/**
 * The two forms of a uuid: 36 characters of lower-case text, and the 16 bytes that libvirt's protocol and virstream's
 * protocol use. A sweep converts one uuid per record, so both conversions use tables.
 */

/** HIGH and LOW have the character codes of the two hexadecimal digits of each byte. */
const digitOf = (value: number): number => "0123456789abcdef".charCodeAt(value);
const HIGH = Uint8Array.from({ length: 256 }, (_, byte) => digitOf(byte >> 4));
const LOW = Uint8Array.from({ length: 256 }, (_, byte) => digitOf(byte & 15));

/**
 * The value of each hexadecimal digit by its character code, −1 for other characters. Marked as pure, so that a bundle
 * for pages can leave the table out.
 */
const NIBBLES = /* @__PURE__ */ Int8Array.from({ length: 128 }, (_, code) =>
  "0123456789abcdef".indexOf(String.fromCharCode(code).toLowerCase()),
);

const DASH = 0x2d;
/** The position of each byte's first digit in the text. */
const TEXT_OFFSETS = /* @__PURE__ */ Uint8Array.of(0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34);

/**
 * The text of the 16 bytes at `offset`. One call of String.fromCharCode with 36 arguments takes a third less time than
 * a loop.
 */
export function formatUuid(bytes: Uint8Array, offset: number): string {
  const at = (i: number): number => bytes[offset + i]!;
  // biome-ignore format: a row for each part between two dashes
  return String.fromCharCode(
    HIGH[at(0)]!, LOW[at(0)]!, HIGH[at(1)]!, LOW[at(1)]!, HIGH[at(2)]!, LOW[at(2)]!, HIGH[at(3)]!, LOW[at(3)]!, DASH,
    HIGH[at(4)]!, LOW[at(4)]!, HIGH[at(5)]!, LOW[at(5)]!, DASH,
    HIGH[at(6)]!, LOW[at(6)]!, HIGH[at(7)]!, LOW[at(7)]!, DASH,
    HIGH[at(8)]!, LOW[at(8)]!, HIGH[at(9)]!, LOW[at(9)]!, DASH,
    HIGH[at(10)]!, LOW[at(10)]!, HIGH[at(11)]!, LOW[at(11)]!, HIGH[at(12)]!, LOW[at(12)]!,
    HIGH[at(13)]!, LOW[at(13)]!, HIGH[at(14)]!, LOW[at(14)]!, HIGH[at(15)]!, LOW[at(15)]!,
  );
}

/**
 * Writes the 16 bytes of a uuid, given as a text of 36 characters, to `offset`. Returns false if the text has another
 * length, or a character that is no hexadecimal digit in the place of a digit.
 */
export function writeUuid(text: string, bytes: Uint8Array, offset: number): boolean {
  if (text.length !== 36) return false;
  // The digits are checked once at the end: a branch for each digit would cost as much as converting the digit.
  let bad = 0;
  let codes = 0;
  for (let i = 0; i < 16; i++) {
    const at = TEXT_OFFSETS[i]!;
    const first = text.charCodeAt(at);
    const second = text.charCodeAt(at + 1);
    codes |= first | second;
    const byte = (NIBBLES[first & 127]! << 4) | NIBBLES[second & 127]!;
    bad |= byte;
    bytes[offset + i] = byte;
  }
  return bad >= 0 && codes < 128;
}

/** The uuid in the record of a domain that a query names by its name and that does not exist. */
export const NIL_UUID = "00000000-0000-0000-0000-000000000000";

const UUID = /^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$/i;

/**
 * Converts a uuid, in upper or lower case and with or without dashes, to lower case with dashes. Returns undefined if
 * the text is not a uuid.
 */
export function parseUuid(text: string): string | undefined {
  if (!UUID.test(text)) return undefined;
  const hex = text.replaceAll("-", "").toLowerCase();
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}
