import { VirstreamError } from "../model/error.ts";

/** The error for what a peer sent against the protocol. */
export function malformed(detail: string): VirstreamError {
  return new VirstreamError("protocol-error", `malformed message: ${detail}`);
}
