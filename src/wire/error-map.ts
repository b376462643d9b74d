import { ERROR_CODES, isErrorCode, VirstreamError } from "../model/error.ts";
import { malformed } from "./malformed.ts";

/** An error as it travels: libvirt's own code and domain only where libvirt raised it. */
export interface WireError {
  readonly code: string;
  readonly message: string;
  readonly retryable: boolean;
  readonly libvirt?: { readonly code: number; readonly domain: number };
}

export function errorToWire({ code, message, retryable, libvirt }: VirstreamError): WireError {
  return { code, message, retryable, ...(libvirt && { libvirt }) };
}

/** An error from the wire, if there is one; a code that this version does not know becomes `internal`, with the code in its message. */
export function errorFromWire(value: unknown): VirstreamError | undefined {
  if (value === undefined || value === null) return undefined;
  const { code, message, retryable, libvirt } = value as Partial<Record<keyof WireError, unknown>>;
  if (typeof code !== "string" || typeof message !== "string") throw malformed("an error has no code and message");
  const known = isErrorCode(code) ? code : "internal";
  const number = libvirt as Partial<Record<"code" | "domain", unknown>> | null | undefined;
  return new VirstreamError(known, known === code ? message : `${code}: ${message}`, {
    retryable: typeof retryable === "boolean" ? retryable : ERROR_CODES[known].retryable,
    ...(typeof number?.code === "number" && typeof number.domain === "number"
      ? { libvirt: { code: number.code, domain: number.domain } }
      : {}),
  });
}
