import { VirstreamError } from "../src/model/error.ts";

/** The code of the VirstreamError with which a call fails; `none` if it does not fail. */
export async function codeOf(work: Promise<unknown> | (() => unknown)): Promise<string> {
  try {
    await (typeof work === "function" ? work() : work);
  } catch (error) {
    if (error instanceof VirstreamError) return error.code;
    throw error;
  }
  return "none";
}
