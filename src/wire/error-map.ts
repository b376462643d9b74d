import { ERROR_CODES, isErrorCode, VirstreamError } from "../model/error.ts";
import { malformed, type WireValue } from "./encoding.ts";

/** An error as it travels: its code, message and retryable, and libvirt's code and domain where there are some. */
export function errorToWire(error: VirstreamError | undefined): WireValue {
  if (error === undefined) return null;
  const { code, message, retryable, libvirt } = error;
  const map = { code, message, retryable };
  return libvirt === undefined ? map : { ...map, libvirt: [libvirt.code, libvirt.domain] };
}

/** An error from the wire; a code that this version does not know becomes `internal`, with the code in its message. */
export function errorFromWire(value: WireValue): VirstreamError | undefined {
  if (value === null) return undefined;
  const map = value as { [key: string]: WireValue };
  if (typeof value !== "object" || typeof map["code"] !== "string" || typeof map["message"] !== "string") {
    throw malformed("an error has no code and message");
  }
  const code = isErrorCode(map["code"]) ? map["code"] : "internal";
  const message = isErrorCode(map["code"]) ? map["message"] : `${map["code"]}: ${map["message"]}`;
  const libvirt = map["libvirt"];
  return new VirstreamError(code, message, {
    retryable: typeof map["retryable"] === "boolean" ? map["retryable"] : ERROR_CODES[code].retryable,
    ...(Array.isArray(libvirt) && typeof libvirt[0] === "number" && typeof libvirt[1] === "number"
      ? { libvirt: { code: libvirt[0], domain: libvirt[1] } }
      : {}),
  });
}
