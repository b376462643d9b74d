/**
 * Every error that virstream raises is a VirstreamError with a stable code. docs/errors.md has a heading for each code;
 * a test compares ERROR_CODES with that page.
 */

const RETRYABLE = { retryable: true } as const;
const FINAL = { retryable: false } as const;

/** The stable codes, and whether the same request may succeed later. */
export const ERROR_CODES = {
  "invalid-argument": FINAL,
  "unknown-group": FINAL,
  "unknown-flag": FINAL,
  "empty-domain-list": FINAL,
  "foreign-domain": FINAL,
  "unknown-domain": FINAL,
  "invalid-uri": FINAL,
  "unknown-scheme": FINAL,
  "socket-missing": RETRYABLE,
  "socket-denied": FINAL,
  "connection-refused": RETRYABLE,
  "connection-lost": RETRYABLE,
  "connection-closed": FINAL,
  "connect-timeout": RETRYABLE,
  unauthenticated: FINAL,
  denied: FINAL,
  unsupported: FINAL,
  "deadline-exceeded": RETRYABLE,
  "hypervisor-error": RETRYABLE,
  "protocol-error": FINAL,
  "message-too-big": FINAL,
  "wrong-subprotocol": FINAL,
  "limit-exceeded": RETRYABLE,
  "slow-consumer": RETRYABLE,
  "server-shutdown": RETRYABLE,
  "address-in-use": RETRYABLE,
  "end-of-recording": FINAL,
  "output-failed": FINAL,
  internal: FINAL,
} as const satisfies Record<string, { retryable: boolean }>;

/** A stable error code. docs/errors.md says what each code means and what to do. */
export type ErrorCode = keyof typeof ERROR_CODES;

/**
 * libvirt's two numbers for an error. `code` says which error it is (virErrorNumber). `domain` is no virtual machine:
 * it says which part of libvirt raised the error (virErrorDomain).
 */
export interface LibvirtErrorInfo {
  readonly code: number;
  readonly domain: number;
}

/** The optional members of an error. */
export interface VirstreamErrorDetails {
  /** The error that caused this error. Default: none. */
  readonly cause?: unknown;
  /** libvirt's own numbers for the error, if libvirt raised it. Default: none. */
  readonly libvirt?: LibvirtErrorInfo;
  /** True if the same request may succeed later. Default: the value that ERROR_CODES has for the code. */
  readonly retryable?: boolean;
}

/** The error class: `code` is stable and documented, `message` says what happened and what to do next. */
export class VirstreamError extends Error {
  override readonly name = "VirstreamError";
  readonly code: ErrorCode;
  /** True if the same request may succeed later although nothing else was changed. */
  readonly retryable: boolean;
  /** libvirt's own numbers for the error; undefined if libvirt did not raise it. */
  readonly libvirt: LibvirtErrorInfo | undefined;

  constructor(code: ErrorCode, message: string, details: VirstreamErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.code = code;
    this.retryable = details.retryable ?? ERROR_CODES[code].retryable;
    this.libvirt = details.libvirt;
  }

  /**
   * Returns the members for JSON. JSON.stringify also calls this for an error inside an event or a summary. Without
   * this method, the JSON would lack the message.
   */
  toJSON(): Pick<VirstreamError, "code" | "message" | "retryable"> & { readonly libvirt?: LibvirtErrorInfo } {
    const { code, message, retryable, libvirt } = this;
    return { code, message, retryable, ...(libvirt && { libvirt }) };
  }

  /**
   * Converts any thrown value to a VirstreamError. A VirstreamError is returned unchanged. Any other value becomes an
   * error with the code `internal` and this value as its cause.
   */
  static from(thrown: unknown): VirstreamError {
    if (thrown instanceof VirstreamError) return thrown;
    const message = thrown instanceof Error ? thrown.message : String(thrown);
    return new VirstreamError("internal", message, { cause: thrown });
  }
}

/** True if a string is one of the stable codes. */
export function isErrorCode(code: unknown): code is ErrorCode {
  return typeof code === "string" && Object.hasOwn(ERROR_CODES, code);
}

/** The most characters of a text that an error message quotes. */
const MAX_QUOTE = 100;

/**
 * Formats a value for an error message, which must stay short: the first MAX_QUOTE characters of a text, a number or
 * another simple value; for an array, a function or an object, only its type.
 */
export function quote(value: unknown): string {
  if (typeof value === "string") {
    return JSON.stringify(value.length > MAX_QUOTE ? `${value.slice(0, MAX_QUOTE)}…` : value);
  }
  if (Array.isArray(value)) return "an array";
  if (typeof value === "function") return "a function";
  return typeof value === "object" && value !== null ? "an object" : String(value).slice(0, MAX_QUOTE);
}

/** Makes the error for an argument that is not allowed. */
export function invalid(message: string): VirstreamError {
  return new VirstreamError("invalid-argument", message);
}
