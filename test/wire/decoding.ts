import { expect } from "vitest";
import { VirstreamError } from "../../src/model/error.ts";
import type { TypedParams } from "../../src/model/params.ts";
import { MessageDecoder } from "../../src/wire/message-decoder.ts";
import { ServerClock } from "../../src/wire/server-clock.ts";

/** The decoder of a new connection. */
export function decoderOf(owner: object = {}): MessageDecoder {
  return new MessageDecoder(owner, new ServerClock(() => 0));
}

/** The code of the error that work throws, or "none". An error without a code fails the test. */
export function codeOf(work: () => unknown): string {
  try {
    work();
  } catch (error) {
    if (error instanceof VirstreamError) return error.code;
    throw error;
  }
  return "none";
}

/** Fails the test if a value is not of its declared type. */
export function expectDeclaredTypes(params: TypedParams): void {
  for (const { type, value } of params.list()) {
    const wide = type.endsWith("llong");
    expect(typeof value).toBe(wide ? "bigint" : type === "string" || type === "boolean" ? type : "number");
    if (type === "ullong") expect(BigInt.asUintN(64, value as bigint)).toBe(value);
    if (type === "llong") expect(BigInt.asIntN(64, value as bigint)).toBe(value);
    if (type === "int") expect(Number(value) | 0).toBe(value);
    if (type === "uint") expect(Number(value) >>> 0).toBe(value);
  }
}
