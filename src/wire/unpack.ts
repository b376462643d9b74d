import { Unpackr } from "msgpackr/unpack";
import { malformed } from "./errors.ts";
import { LIMITS } from "./protocol.ts";

// This entry of msgpackr is plain JavaScript; its main entry would load a native addon.
const unpackr = new Unpackr({ useRecords: false, mapsAsObjects: true, structuredClone: false, int64AsType: "auto" });

/** Decodes a message from the other end. @throws VirstreamError `protocol-error` for bytes that the protocol does not use */
export function unpack(bytes: Uint8Array): unknown {
  precheck(bytes);
  try {
    return unpackr.unpack(bytes);
  } catch (cause) {
    throw malformed(cause instanceof Error ? cause.message : String(cause));
  }
}

/**
 * Checks a msgpack message before the library decodes it, and creates no objects. The library trusts its input: from hostile
 * bytes it builds dates, errors, regular expressions and functions, or spends seconds on arrays whose items are not in the
 * message. A message that passes this check has only types that the protocol uses, and no size in it exceeds the message.
 *
 * @throws VirstreamError `protocol-error`
 */
export function precheck(bytes: Uint8Array): void {
  const { length } = bytes;
  /** How many values each open array or map still needs; a map needs two for each member. */
  const left = [1];
  const isMap = [false];
  let depth = 0;
  let values = 0;
  let at = 0;
  for (;;) {
    while (left[depth] === 0) {
      if (depth === 0) {
        if (at !== length) throw malformed("there are bytes after the message");
        return;
      }
      depth--;
    }
    const isKey = isMap[depth]! && (left[depth]! & 1) === 0;
    left[depth]!--;
    if (at >= length) throw cut();
    if (++values > LIMITS.values) throw malformed(`it has more than ${LIMITS.values} values`);
    const head = bytes[at++]!;
    let size = 0;
    let kind: Kind = Kind.scalar;
    if (head < 0x80 || head >= 0xe0) {
      // A small integer has no bytes after its head.
    } else if (head < 0x90) {
      kind = Kind.map;
      size = head & 0x0f;
    } else if (head < 0xa0) {
      kind = Kind.array;
      size = head & 0x0f;
    } else if (head < 0xc0) {
      kind = Kind.text;
      size = head & 0x1f;
    } else {
      kind = KINDS[head - 0xc0]!;
      if (kind === Kind.refused)
        throw malformed(`byte 0x${head.toString(16)} is of a type that the protocol does not use`);
      const sizeBytes = SIZES[head - 0xc0]!;
      if (kind === Kind.scalar) {
        size = sizeBytes;
      } else {
        if (at + sizeBytes > length) throw cut();
        for (let i = 0; i < sizeBytes; i++) size = size * 256 + bytes[at++]!;
      }
    }
    if (isKey && kind !== Kind.text) throw malformed("a map has a key that is not text");
    if (kind === Kind.array || kind === Kind.map) {
      if (kind === Kind.map) size *= 2;
      // Each value takes at least one byte.
      if (size > length - at) throw cut();
      if (++depth > LIMITS.depth) throw malformed(`it nests deeper than ${LIMITS.depth}`);
      left[depth] = size;
      isMap[depth] = kind === Kind.map;
    } else {
      at += size;
      if (at > length) throw cut();
    }
  }
}

function cut(): Error {
  return malformed("it is shorter than its sizes say");
}

const Kind = { refused: 0, scalar: 1, text: 2, bytes: 3, array: 4, map: 5 } as const;
type Kind = (typeof Kind)[keyof typeof Kind];

/** The kind of each head from 0xc0 to 0xdf: nil, true, false, bytes, floats, integers, texts, arrays, maps. */
const KINDS: Kind[] = new Array<Kind>(32).fill(Kind.refused);
/** For a scalar, how many bytes follow its head; for other kinds, how many bytes their size field has. */
const SIZES = new Uint8Array(32);
function define(head: number, kind: Kind, sizes: readonly number[]): void {
  sizes.forEach((size, i) => {
    KINDS[head - 0xc0 + i] = kind;
    SIZES[head - 0xc0 + i] = size;
  });
}
define(0xc0, Kind.scalar, [0]);
define(0xc2, Kind.scalar, [0, 0]);
define(0xc4, Kind.bytes, [1, 2, 4]);
define(0xca, Kind.scalar, [4, 8]);
define(0xcc, Kind.scalar, [1, 2, 4, 8]);
define(0xd0, Kind.scalar, [1, 2, 4, 8]);
define(0xd9, Kind.text, [1, 2, 4]);
define(0xdc, Kind.array, [2, 4]);
define(0xde, Kind.map, [2, 4]);
