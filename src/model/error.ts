/**
 * Every error that virstream raises is one class with a stable code. The codes are documented, one heading each, in
 * docs/errors.md; a test holds this table against that page.
 */

/** The stable codes, and whether doing the same thing again later may succeed. */
export const ERROR_CODES = {
  "invalid-argument": { retryable: false },
  "unknown-group": { retryable: false },
  "unknown-flag": { retryable: false },
  "empty-domain-list": { retryable: false },
  "foreign-domain": { retryable: false },
  "unknown-domain": { retryable: false },
  "invalid-uri": { retryable: false },
  "unknown-scheme": { retryable: false },
  "socket-missing": { retryable: true },
  "socket-denied": { retryable: false },
  "connection-refused": { retryable: true },
  "connection-lost": { retryable: true },
  "connection-closed": { retryable: false },
  "connect-timeout": { retryable: true },
  unauthenticated: { retryable: false },
  denied: { retryable: false },
  unsupported: { retryable: false },
  "deadline-exceeded": { retryable: true },
  "hypervisor-error": { retryable: true },
  "protocol-error": { retryable: false },
  "message-too-big": { retryable: false },
  "wrong-subprotocol": { retryable: false },
  "limit-exceeded": { retryable: true },
  "slow-consumer": { retryable: true },
  "server-shutdown": { retryable: true },
  internal: { retryable: false },
} as const satisfies Record<string, { retryable: boolean }>;

/** A stable error code; see docs/errors.md for what each means and what to do. */
export type ErrorCode = keyof typeof ERROR_CODES;

/** libvirt's own view of an error: its code (virErrorNumber) and the part of libvirt that raised it (virErrorDomain). */
export interface LibvirtErrorInfo {
  readonly code: number;
  readonly domain: number;
}

/** What an error may carry besides its code and its message. */
export interface VirstreamErrorDetails {
  readonly cause?: unknown;
  readonly libvirt?: LibvirtErrorInfo;
  /** Overrides what the code says, for the cases where the situation knows better. */
  readonly retryable?: boolean;
}

/** The one error class: `code` is stable and documented, `message` tells a person what happened and what to do next. */
export class VirstreamError extends Error {
  override readonly name = "VirstreamError";
  readonly code: ErrorCode;
  /** Whether the same request may succeed later without anybody changing anything. */
  readonly retryable: boolean;
  /** libvirt's code and domain, when libvirt raised it. */
  readonly libvirt: LibvirtErrorInfo | undefined;

  constructor(code: ErrorCode, message: string, details: VirstreamErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.code = code;
    this.retryable = details.retryable ?? ERROR_CODES[code].retryable;
    this.libvirt = details.libvirt;
  }

  /** Anything thrown, as a VirstreamError: itself if it is one, else `internal` with the original as its cause. */
  static from(thrown: unknown): VirstreamError {
    if (thrown instanceof VirstreamError) return thrown;
    const message = thrown instanceof Error ? thrown.message : String(thrown);
    return new VirstreamError("internal", message, { cause: thrown });
  }
}

/** Whether a string is one of the stable codes. */
export function isErrorCode(code: unknown): code is ErrorCode {
  return typeof code === "string" && Object.hasOwn(ERROR_CODES, code);
}
