import { Packr, RESET_BUFFER_MODE } from "msgpackr/pack";

// This entry of msgpackr is plain JavaScript; its main entry would load a native addon.
const packr = new Packr({ useRecords: false, encodeUndefinedAsNil: true });

/**
 * A value as msgpack. It copies the bytes, because the library returns a part of a large buffer, which would stay in memory.
 */
export function pack(value: unknown): Uint8Array {
  return Uint8Array.prototype.slice.call(packr.pack(value, RESET_BUFFER_MODE));
}
