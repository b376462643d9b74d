import { Unpackr } from "msgpackr/unpack";
import { malformed } from "./malformed.ts";
import { precheck } from "./precheck.ts";

// This entry of msgpackr is plain JavaScript; its main entry would load a native addon.
const unpackr = new Unpackr({ useRecords: false, mapsAsObjects: true, structuredClone: false, int64AsType: "auto" });

/** The value of a message from the other end. @throws VirstreamError `protocol-error` for what the protocol does not use */
export function unpack(bytes: Uint8Array): unknown {
  precheck(bytes);
  try {
    return unpackr.unpack(bytes);
  } catch (cause) {
    throw malformed(cause instanceof Error ? cause.message : String(cause));
  }
}
