import { type ErrorCode, VirstreamError } from "../../../model/error.ts";
import type { XdrReader } from "./xdr.ts";

/** libvirt's error numbers (virErrorNumber) that mean something of their own here; every other is `hypervisor-error`. */
const CODES: ReadonlyMap<number, ErrorCode> = new Map<number, ErrorCode>([
  [3, "unsupported"], // no support: the driver lacks the entry
  [74, "unsupported"], // argument unsupported: a group, with the enforce flag
  [84, "unsupported"], // operation unsupported
  [42, "unknown-domain"],
  [29, "denied"], // operation denied: a read-only connection
  [88, "denied"], // access denied: by policy
  [45, "unauthenticated"], // authentication failed
  [79, "unauthenticated"], // authentication cancelled
  [94, "unauthenticated"], // authentication unavailable
  [8, "invalid-argument"],
]);

/** The error in an ERROR reply (remote_error), with libvirt's own message, code and domain. */
export function readRemoteError(reader: XdrReader): VirstreamError {
  const code = reader.int();
  const domain = reader.int();
  const message = reader.optional(() => reader.string());
  // Level, objects and the parts of the message follow. Nothing here needs them.
  return new VirstreamError(
    CODES.get(code) ?? "hypervisor-error",
    message ?? `libvirt error ${code} without a message`,
    {
      libvirt: { code, domain },
    },
  );
}

/** Whether this is the daemon's own word, and so an answer; anything else means that the connection is of no more use. */
export function isRemoteError(error: unknown): error is VirstreamError {
  return error instanceof VirstreamError && error.libvirt !== undefined;
}

/**
 * Whether what the daemon refuses is a statistics request as such, so that it would refuse it for every domain.
 *
 * @param accepted whether it accepted the same request for another domain
 */
export function refusesRequest(error: VirstreamError, accepted: boolean): boolean {
  switch (error.libvirt?.code) {
    case 3: // The driver has no statistics call.
    case 74: // A group that is to be enforced is not supported.
      return true;
    case 8: // Flags that the driver does not know; unless they were fine a moment ago.
      return !accepted;
    default:
      return false;
  }
}
