import { parseArgs } from "node:util";
import { GROUPS } from "../model/group.ts";
import { LIST_FILTERS, type ListFilter, type StatsQuery } from "../model/query.ts";
import { DEFAULT_INTERVAL_MS, MAX_INTERVAL_MS, MIN_INTERVAL_MS, type WatchOptions } from "../model/watch.ts";
import { DEFAULT_LISTEN_HOST, DEFAULT_PORT } from "../server/server.ts";
import { FORMATS } from "./format/formats.ts";
import { UsageError } from "./usage.ts";

export type GetArguments = ReturnType<typeof parseGet>;
export type WatchArguments = ReturnType<typeof parseWatch>;
export type ServeArguments = ReturnType<typeof parseServe>;
export type DoctorArguments = ReturnType<typeof parseDoctor>;

const MAX_HEARTBEAT_MS = 86_400_000;
const FILTERS = Object.keys(LIST_FILTERS) as ListFilter[];

const RECORD_FLAGS = [...GROUPS, ...FILTERS.map((filter) => `list-${filter}`), "enforce", "backing", "nowait", "raw"];
const RECORD_TEXTS = ["format", "deadline", "token-file"];

/** @throws UsageError */
export function parseGet(args: readonly string[]) {
  return recordArguments(parse(args, RECORD_FLAGS, RECORD_TEXTS, ["domain"]));
}

/** @throws UsageError */
export function parseWatch(args: readonly string[]) {
  const flags = [...RECORD_FLAGS, "on-change", "rates"];
  const given = parse(args, flags, [...RECORD_TEXTS, "interval", "count", "heartbeat"], ["domain"]);
  const { format, ...rest } = recordArguments(given);
  if (format === "json") {
    throw new UsageError("--format json is one array, and a watch has no end: use --format ndjson");
  }
  const rates = given.flag("rates");
  if (rates && format === "virsh") {
    throw new UsageError("--rates does not fit virsh's format: use --format table or ndjson");
  }
  if (rates && given.flag("on-change")) {
    throw new UsageError("--rates needs every record, and --on-change leaves some out: choose one");
  }
  const count = given.text("count");
  if (count !== undefined && !/^0*[1-9]\d{0,8}$/.test(count)) {
    throw new UsageError(`--count takes a number of sweeps, 1 or more, not ${JSON.stringify(count)}`);
  }
  return {
    ...rest,
    format,
    rates,
    options: watchOptions(given),
    count: count === undefined ? undefined : Number(count),
  };
}

/** @throws UsageError */
export function parseServe(args: readonly string[]) {
  const texts = ["listen", "token-file", "source-token-file", "viewers", "min-interval"];
  const given = parse(args, ["allow-anyone"], texts, ["origin"]);
  return {
    /** None: the default one. */
    uris: given.uris,
    /** The shortest interval that watches may ask for; undefined: the server's default. */
    minIntervalMs: given.duration("min-interval", MIN_INTERVAL_MS, MAX_INTERVAL_MS),
    ...parseListen(given.text("listen") ?? ""),
    /** The file of the token that clients must send. */
    tokenFile: given.text("token-file"),
    /** The file of the token that is sent to virstream servers among the URIs. */
    sourceTokenFile: given.text("source-token-file"),
    viewersFile: given.text("viewers"),
    allowAnyone: given.flag("allow-anyone"),
    origins: given.list("origin") ?? [],
  };
}

/** @throws UsageError */
export function parseDoctor(args: readonly string[]) {
  const given = parse(args, ["all"], ["format"]);
  return { uri: given.uri(), format: formatOf(given, ["text", "json"]), all: given.flag("all") };
}

function recordArguments(given: Given) {
  const deadlineMs = given.duration("deadline");
  const domains = given.list("domain");
  const query: StatsQuery = {
    groups: GROUPS.filter((group) => given.flag(group)),
    filter: FILTERS.filter((name) => given.flag(`list-${name}`)),
    enforce: given.flag("enforce"),
    backing: given.flag("backing"),
    nowait: given.flag("nowait"),
    ...(deadlineMs === undefined ? {} : { deadlineMs }),
    ...(domains === undefined ? {} : { domains }),
  };
  return { uri: given.uri(), query, format: formatOf(given, FORMATS), tokenFile: given.text("token-file") };
}

function watchOptions(given: Given): WatchOptions {
  const intervalMs = given.duration("interval", MIN_INTERVAL_MS, MAX_INTERVAL_MS) ?? DEFAULT_INTERVAL_MS;
  if (given.flag("on-change")) {
    const heartbeatMs = given.duration("heartbeat", intervalMs, MAX_HEARTBEAT_MS);
    return { intervalMs, mode: "on-change", ...(heartbeatMs === undefined ? {} : { heartbeatMs }) };
  }
  if (given.text("heartbeat") !== undefined) {
    throw new UsageError("--heartbeat goes with --on-change: without it every sweep is one");
  }
  return { intervalMs, mode: "sample" };
}

/** One of the formats, by default the first. */
function formatOf<Name extends string>(given: Given, formats: readonly Name[]): Name {
  const format = given.text("format") ?? formats[0]!;
  if (formats.includes(format as Name)) return format as Name;
  throw new UsageError(`there is no format ${JSON.stringify(format)}: choose one of ${formats.join(", ")}`);
}

type Given = ReturnType<typeof parse>;

/**
 * The options of a command line, by name.
 *
 * @param lists options that can be given several times
 */
function parse(
  args: readonly string[],
  flags: readonly string[],
  texts: readonly string[],
  lists: readonly string[] = [],
) {
  const options = {
    ...Object.fromEntries(flags.map((name) => [name, { type: "boolean" } as const])),
    ...Object.fromEntries(texts.map((name) => [name, { type: "string" } as const])),
    ...Object.fromEntries(lists.map((name) => [name, { type: "string", multiple: true } as const])),
  };
  let parsed: { values: Record<string, unknown>; positionals: string[] };
  try {
    parsed = parseArgs({ args: [...args], options, allowPositionals: true, strict: true });
  } catch (error) {
    // Node's advice after the first sentence is about writing programs, not about using them.
    throw new UsageError((error as Error).message.split(". ")[0]!);
  }
  const { values, positionals: uris } = parsed;
  const text = (name: string): string | undefined => values[name] as string | undefined;
  return {
    uris,
    /** The URI of a command that takes one. */
    uri: (): string | undefined => {
      if (uris.length > 1) throw new UsageError(`one URI at a time: what is ${JSON.stringify(uris[1])}?`);
      return uris[0];
    },
    flag: (name: string) => values[name] === true,
    text,
    /** A time in ms. */
    duration: (name: string, minMs?: number, maxMs?: number): number | undefined => {
      const duration = text(name);
      return duration === undefined ? undefined : parseDuration(`--${name}`, duration, minMs, maxMs);
    },
    list: (name: string) => values[name] as string[] | undefined,
  };
}

const UNITS: Record<string, number> = { "": 1, ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };

/** A time such as 500ms, 1.5s, 1m or 1h, in ms; a bare number is ms. */
function parseDuration(option: string, duration: string, minMs = 1, maxMs = 600_000): number {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h|)$/.exec(duration);
  const ms = match === null ? Number.NaN : Math.round(Number(match[1]) * UNITS[match[2]!]!);
  if (Number.isNaN(ms) || ms < minMs || ms > maxMs) {
    const range = `from ${durationText(minMs)} to ${durationText(maxMs)}`;
    throw new UsageError(`${option} takes a time ${range} such as 500ms, 2s or 1m, not ${JSON.stringify(duration)}`);
  }
  return ms;
}

function durationText(ms: number): string {
  const unit = ["h", "m", "s"].find((unit) => ms % UNITS[unit]! === 0) ?? "ms";
  return `${ms / UNITS[unit]!}${unit}`;
}

/** HOST:PORT, :PORT or PORT; an IPv6 address in brackets. */
function parseListen(listen: string): { host: string; port: number } {
  const match = /^(?:(\[[0-9a-fA-F:.]+\]|[^:[\]]*):)?(\d+)$/.exec(listen);
  const host = (match?.[1] || DEFAULT_LISTEN_HOST).replace(/^\[|\]$/g, "");
  const port = match === null ? DEFAULT_PORT : Number(match[2]);
  if ((listen !== "" && match === null) || port > 65_535) {
    throw new UsageError(`--listen takes HOST:PORT, not ${JSON.stringify(listen)}`);
  }
  return { host, port };
}
