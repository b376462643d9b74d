import { type ErrorCode, VirstreamError } from "../../../model/error.ts";
import type { XdrReader } from "./xdr.ts";

/** The error code for some of libvirt's error numbers (virErrorNumber); all others are a `hypervisor-error`. */
const CODES: ReadonlyMap<number, ErrorCode> = new Map<number, ErrorCode>([
  [3, "unsupported"], // no support: the driver does not implement the call
  [5, "unsupported"], // no connect: the daemon has no driver for the URI
  [74, "unsupported"], // argument unsupported: an unsupported group, with the enforce flag
  [84, "unsupported"], // operation unsupported
  [42, "unknown-domain"],
  [29, "denied"], // operation denied: on a read-only connection
  [88, "denied"], // access denied: by policy
  [45, "unauthenticated"], // authentication failed
  [79, "unauthenticated"], // authentication cancelled
  [94, "unauthenticated"], // authentication unavailable
  [8, "invalid-argument"],
]);

/**
 * How much of a message is kept, in bytes. A domain's failed record is kept, with its error, until the domain has a
 * newer record. So the errors of all domains of a host must together be small.
 */
const EXCERPT_BYTES = 1_024;

/** Reads the error of an ERROR reply (remote_error), with libvirt's message, code and error domain. */
export function readRemoteError(reader: XdrReader): VirstreamError {
  const code = reader.int();
  const domain = reader.int();
  const message = reader.optional(() => reader.excerpt(EXCERPT_BYTES)) ?? `libvirt error ${code} without a message`;
  // Level, objects and the parts of the message follow. They are not needed.
  return new VirstreamError(CODES.get(code) ?? "hypervisor-error", message, { libvirt: { code, domain } });
}

/** True if the daemon answered with this error. Any other error means that the connection has failed. */
export function isRemoteError(error: unknown): error is VirstreamError {
  return error instanceof VirstreamError && error.libvirt !== undefined;
}

/** VIR_ERR_NO_DOMAIN: there is no such domain. VIR_ERR_OPERATION_INVALID: the domain exists, but does not run. */
const STOPPED: readonly (number | undefined)[] = [42, 55];

/** True if the daemon refuses a call that needs a running domain, because the domain has stopped. */
export function hasStopped(error: VirstreamError): boolean {
  return STOPPED.includes(error.libvirt?.code);
}

/** VIR_ERR_NO_STORAGE_POOL. */
const NO_STORAGE_POOL = 49;

/** True if the daemon says that there is no such storage pool. */
export function isNoStoragePool(error: unknown): boolean {
  return isRemoteError(error) && error.libvirt?.code === NO_STORAGE_POOL;
}

/**
 * True if the daemon refuses a statistics request for a reason that holds for every domain.
 *
 * @param accepted true if the daemon has accepted the same request for another domain
 */
export function refusesRequest(error: VirstreamError, accepted: boolean): boolean {
  switch (error.libvirt?.code) {
    case 3: // The hypervisor driver has no statistics call.
    case 74: // The enforce flag is set, and a group is not supported.
      return true;
    case 8: // The driver does not know a flag. This is not the reason if the driver has just accepted the same flags.
      return !accepted;
    default:
      return false;
  }
}
