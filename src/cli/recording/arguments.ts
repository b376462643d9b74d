import {
  credentialFiles,
  duration,
  formatOf,
  parse,
  QUERY_OPTIONS,
  queryOf,
  single,
  TEXT,
  WATCH_OPTIONS,
  watchOptions,
} from "../arguments.ts";
import { UsageError } from "../usage.ts";

/** The limits of the options for rotation: the smallest size and the greatest age. */
const LEAST_FILE_BYTES = 4_096;
const MOST_AGE_MS = 8_760 * 3_600_000;

/** The options of `virstream record`. */
export const RECORD_COMMAND_OPTIONS = {
  ...{ ...QUERY_OPTIONS, ...WATCH_OPTIONS },
  ...{ "rotate-size": TEXT, "rotate-age": TEXT, keep: TEXT },
} as const;

/** @throws UsageError */
export function parseRecord(args: readonly string[]) {
  const { values, uris } = parse(args, RECORD_COMMAND_OPTIONS);
  const file = uris.at(-1);
  if (file === undefined || /^[a-z][a-z0-9+.-]*:\/\//i.test(file)) {
    throw new UsageError(`record takes a URI and a file: virstream record ${file ?? "qemu:///system"} FILE`);
  }
  const { keep } = values;
  if (keep !== undefined && !/^[1-9]\d{0,5}$/.test(keep)) {
    throw new UsageError(`--keep takes a number of files, 1 or more, not ${JSON.stringify(keep)}`);
  }
  const rotateBytes = size("rotate-size", values["rotate-size"], LEAST_FILE_BYTES);
  const rotateAgeMs = duration("rotate-age", values["rotate-age"], 1_000, MOST_AGE_MS);
  if (keep !== undefined && rotateBytes === undefined && rotateAgeMs === undefined) {
    throw new UsageError("--keep goes with --rotate-size or --rotate-age: without them there is one file");
  }
  return {
    /** The URIs of the sources. Empty: the default URI. */
    uris: uris.slice(0, -1),
    file,
    ...credentialFiles(values),
    query: queryOf(values),
    watch: watchOptions(values),
    isDefaultInterval: values.interval === undefined,
    rotation: {
      ...(rotateBytes !== undefined && { rotateBytes }),
      ...(rotateAgeMs !== undefined && { rotateAgeMs }),
      ...(keep !== undefined && { keep: Number(keep) }),
    },
  };
}

/** @throws UsageError */
export function parseInfo(args: readonly string[]) {
  const { values, uris } = parse(args, { format: TEXT });
  const file = single(uris);
  if (file === undefined) throw new UsageError("info takes the file of a recording");
  return { file, format: formatOf(values.format, ["text", "json"]) };
}

/**
 * The value, in bytes, of an option that takes a size such as 500K, 256M or 4G (powers of 1,024). A bare number is
 * bytes.
 */
function size(option: string, text: string | undefined, min: number): number | undefined {
  if (text === undefined) return undefined;
  const [, amount = "", unit = ""] = /^(\d+(?:\.\d+)?)([KMGT]?)(?:i?B)?$/.exec(text) ?? [];
  const bytes = amount === "" ? Number.NaN : Math.round(Number(amount) * 1_024 ** " KMGT".indexOf(unit || " "));
  if (bytes >= min && bytes <= Number.MAX_SAFE_INTEGER) return bytes;
  throw new UsageError(`--${option} takes a size from ${min} bytes such as 256M or 4G, not ${JSON.stringify(text)}`);
}
