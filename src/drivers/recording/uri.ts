import { fileURLToPath } from "node:url";
import { VirstreamError } from "../../model/error.ts";
import type { Recorded } from "../../model/record.ts";

/** A moment of a recording: in ms since 1970, in ms after the recording's start, or in ms before its end. */
export type Moment = { readonly at: number } | { readonly afterStart: number } | { readonly beforeEnd: number };

/** The options in a URI for the replay of a recording. */
export interface ReplayOptions {
  readonly path: string;
  /** The recorded time divided by the time that its replay takes; Infinity: as fast as the reader takes the records. */
  readonly speed: number;
  readonly from: Moment | undefined;
  readonly to: Moment | undefined;
}

const FORM = "file:///PATH?speed=10&from=2026-01-31T12:00:00Z&to=-30s";
const MAX_SPEED = 1_000_000;

/** @throws VirstreamError `invalid-uri` */
export function parseRecordingUri(uri: string): ReplayOptions {
  const [, location = "", query = ""] = /^([^?#]*)(?:\?([^#]*))?$/.exec(uri) ?? [];
  const options = new Map<string, string>();
  for (const part of query === "" ? [] : query.split("&")) {
    const [name = "", value = ""] = part.split(/=(.*)/s);
    if (!["speed", "from", "to"].includes(name)) {
      throw refusal(`unknown parameter ${JSON.stringify(name)}: a recording takes speed, from and to`);
    }
    if (options.has(name)) throw refusal(`${name} is given twice`);
    options.set(name, decoded(value));
  }
  return {
    path: pathOf(location),
    speed: speedOf(options.get("speed") ?? "1"),
    from: momentOf("from", options.get("from")),
    to: momentOf("to", options.get("to")),
  };
}

function pathOf(location: string): string {
  try {
    return fileURLToPath(location);
  } catch {
    throw refusal(`${JSON.stringify(location)} names no file: a recording is ${FORM}`);
  }
}

function decoded(text: string): string {
  try {
    // A plus sign stays a plus sign and does not become a space, because it begins a time after the start, such as
    // +10m.
    return decodeURIComponent(text);
  } catch {
    throw refusal(`${JSON.stringify(text)} is not percent-encoded text`);
  }
}

function speedOf(text: string): number {
  const speed = text === "max" || text === "0" ? Number.POSITIVE_INFINITY : Number(text);
  if (/^(max|\d*\.?\d+)$/.test(text) && speed > 0 && (speed <= MAX_SPEED || speed === Number.POSITIVE_INFINITY))
    return speed;
  throw refusal(`speed=${text}: speed is a number such as 0.5 or 60, or max`);
}

const UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };

function momentOf(name: string, text: string | undefined): Moment | undefined {
  if (text === undefined) return undefined;
  const moment = parseMoment(text);
  if (moment === undefined) throw refusal(`${name}=${text}: ${name} is ${MOMENT_FORM}`);
  return moment;
}

/** The form of a moment, for error messages. */
export const MOMENT_FORM =
  "a time such as 2026-01-31T12:00:00Z (without Z: local time), +10m after the start, or -30s before the end";

/** Reads a moment; undefined if the text is not a moment. */
export function parseMoment(text: string): Moment | undefined {
  const [, sign, amount, unit] = /^([+-])(\d{1,9}(?:\.\d{1,3})?)(ms|s|m|h|d)$/.exec(text) ?? [];
  if (sign !== undefined) {
    const ms = Number(amount) * UNITS[unit!]!;
    return sign === "+" ? { afterStart: ms } : { beforeEnd: ms };
  }
  const at = /^\d{4}-\d\d-\d\d/.test(text) ? Date.parse(text.replace(" ", "T")) : Number.NaN;
  return Number.isNaN(at) ? undefined : { at };
}

/** Converts a moment to ms since 1970. */
export function timeOf(moment: Moment, { from, to }: Pick<Recorded, "from" | "to">): number {
  if ("at" in moment) return moment.at;
  return "afterStart" in moment ? from + moment.afterStart : to - moment.beforeEnd;
}

function refusal(message: string): VirstreamError {
  return new VirstreamError("invalid-uri", message);
}
