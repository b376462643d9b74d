import { invalid, quote } from "./error.ts";

/**
 * The valid values of a member of an options object: the words that follow "must be" in an error, and a function that
 * checks a value. An error does not quote the value of a `secret` member.
 */
export type Kind = readonly [words: string, fits: (value: unknown) => boolean, secret?: boolean];

/**
 * The members of an options object, with the valid values of each. Undefined for a member that the caller of
 * checkOptions checks itself.
 */
export type Members = Readonly<Record<string, Kind | undefined>>;

/** A boolean. */
export const FLAG: Kind = ["true or false", (value) => typeof value === "boolean"];
/** A text of any length. */
export const TEXT: Kind = ["a string", (value) => typeof value === "string"];
/** A function, with any parameters. */
export const FUNCTION: Kind = ["a function", (value) => typeof value === "function"];
/** An object, also an array, but not null. */
export const OBJECT: Kind = ["an object", (value) => typeof value === "object" && value !== null];
/** A text that an error must not quote, such as a token. */
export const SECRET: Kind = [TEXT[0], TEXT[1], true];
/** An array, with any items. */
export const LIST: Kind = ["a list", Array.isArray];
/** An AbortSignal, also one of another realm, such as an iframe, where `instanceof` does not recognize it. */
export const SIGNAL: Kind = [
  "an AbortSignal",
  (value) => typeof (value as AbortSignal | null)?.addEventListener === "function",
];

/**
 * A whole number within limits.
 *
 * @param least the words for the lower limit in an error, if they are more than the number `min`
 */
export function whole(min: number, max: number, least = `${min}`): Kind {
  return [
    `a whole number from ${least} to ${max}`,
    (value) => Number.isInteger(value) && (value as number) >= min && (value as number) <= max,
  ];
}

/** Refuses a value that is not valid. @throws VirstreamError `invalid-argument` */
export function check(name: string, value: unknown, kind: Kind): void {
  if (kind[1](value)) return;
  throw invalid(`${name} must be ${kind[0]}${kind[2] ? "" : `, not ${quote(value)}`}`);
}

/**
 * Refuses `options` if it is no object, if it has an unknown member, or if a member has an invalid value. A misspelt
 * option would otherwise be ignored silently, and some options restrict access. A member that is undefined counts as
 * absent.
 *
 * @param what the object's name in the error
 * @throws VirstreamError `invalid-argument`
 */
export function checkOptions(what: string, options: object, members: Members): void {
  check(what, options, OBJECT);
  for (const [name, value] of Object.entries(options)) {
    if (!Object.hasOwn(members, name)) {
      throw invalid(`${what} has no member ${quote(name)}: it has ${Object.keys(members).join(", ")}`);
    }
    const kind = members[name];
    if (kind !== undefined && value !== undefined) check(name, value, kind);
  }
}
