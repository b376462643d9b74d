import { type ParseArgsConfig, parseArgs } from "node:util";
import { GROUPS, type KnownGroup } from "../model/group.ts";
import { LIST_FILTERS, type ListFilter, type StatsQuery } from "../model/query.ts";
import { DEFAULT_INTERVAL_MS, MAX_INTERVAL_MS, MIN_INTERVAL_MS, type WatchOptions } from "../model/watch.ts";
import { DEFAULT_LISTEN_HOST, DEFAULT_PORT } from "../server/server.ts";
import { FORMATS, type FormatName, type WatchFormatName } from "./format/formats.ts";
import { UsageError } from "./usage.ts";

/** What `virstream get` was asked. */
export interface GetArguments {
  readonly uri: string | undefined;
  readonly query: StatsQuery;
  readonly format: FormatName;
  readonly tokenFile: string | undefined;
}

/** What `virstream watch` was asked. */
export interface WatchArguments extends GetArguments {
  readonly format: WatchFormatName;
  readonly options: WatchOptions;
  /** How many sweeps of each host; undefined: until it is interrupted. */
  readonly count: number | undefined;
  readonly rates: boolean;
}

/** What `virstream serve` was asked. */
export interface ServeArguments {
  /** None: the default one. */
  readonly uris: readonly string[];
  /** The shortest interval that watches may ask for; undefined: the server's default. */
  readonly minIntervalMs: number | undefined;
  readonly host: string;
  readonly port: number;
  readonly tokenFile: string | undefined;
  /** The token that is shown to virstream servers among the URIs. */
  readonly sourceTokenFile: string | undefined;
  /** A file that says who may see some domains only. */
  readonly viewersFile: string | undefined;
  readonly allowAnyone: boolean;
  readonly origins: readonly string[];
}

/** What `virstream doctor` was asked. */
export interface DoctorArguments {
  readonly uri: string | undefined;
  readonly format: "text" | "json";
  readonly all: boolean;
}

const flag = { type: "boolean" } as const;
const text = { type: "string" } as const;
const texts = { type: "string", multiple: true } as const;

const MAX_HEARTBEAT_MS = 86_400_000;

const FILTER_NAMES = Object.keys(LIST_FILTERS) as ListFilter[];

/** What says which records are wanted and how they are printed: get's options, and watch's as well. */
const RECORD_OPTIONS = {
  ...Object.fromEntries(GROUPS.map((group) => [group, flag])),
  ...Object.fromEntries(FILTER_NAMES.map((filter) => [`list-${filter}`, flag])),
  domain: texts,
  format: text,
  deadline: text,
  enforce: flag,
  backing: flag,
  nowait: flag,
  raw: flag,
  "token-file": text,
};

/** @throws UsageError */
export function parseGet(args: readonly string[]): GetArguments | "help" {
  const { values, uris } = parse(args, RECORD_OPTIONS);
  return values["help"] ? "help" : recordArguments(values, uris);
}

/** @throws UsageError */
export function parseWatch(args: readonly string[]): WatchArguments | "help" {
  const { values, uris } = parse(args, {
    ...RECORD_OPTIONS,
    interval: text,
    count: text,
    "on-change": flag,
    heartbeat: text,
    rates: flag,
  });
  if (values["help"]) return "help";
  const { format, ...rest } = recordArguments(values, uris);
  if (format === "json") {
    throw new UsageError("--format json is one array, and a watch has no end: use --format ndjson");
  }
  const rates = values["rates"] === true;
  const onChange = values["on-change"] === true;
  if (rates && format === "virsh") {
    throw new UsageError("--rates has no place in virsh's format: use --format table or ndjson");
  }
  if (rates && onChange) {
    throw new UsageError("--rates needs every sample, and --on-change leaves some out: choose one");
  }
  return { ...rest, format, rates, options: watchOptions(values, onChange), count: parseCount(values["count"]) };
}

function recordArguments(values: Values, uris: readonly string[]): GetArguments {
  const groups = GROUPS.filter((group: KnownGroup) => values[group]);
  const filter = FILTER_NAMES.filter((name) => values[`list-${name}`]);
  const format = (values["format"] ?? "table") as string;
  if (!isFormat(format)) {
    throw new UsageError(`there is no format ${JSON.stringify(format)}: choose one of ${FORMATS.join(", ")}`);
  }
  const deadline = values["deadline"] as string | undefined;
  const domains = values["domain"] as string[] | undefined;
  return {
    uri: oneUri(uris),
    query: {
      groups,
      filter,
      enforce: values["enforce"] === true,
      backing: values["backing"] === true,
      nowait: values["nowait"] === true,
      ...(deadline === undefined ? {} : { deadlineMs: parseDuration("--deadline", deadline) }),
      ...(domains === undefined ? {} : { domains }),
    },
    format,
    tokenFile: values["token-file"] as string | undefined,
  };
}

function watchOptions(values: Values, onChange: boolean): WatchOptions {
  const interval = values["interval"] as string | undefined;
  const heartbeat = values["heartbeat"] as string | undefined;
  const intervalMs =
    interval === undefined
      ? DEFAULT_INTERVAL_MS
      : parseDuration("--interval", interval, MIN_INTERVAL_MS, MAX_INTERVAL_MS);
  if (!onChange) {
    if (heartbeat !== undefined)
      throw new UsageError("--heartbeat goes with --on-change: without it every sweep is one");
    return { intervalMs, mode: "sample" };
  }
  return {
    intervalMs,
    mode: "on-change",
    ...(heartbeat === undefined
      ? {}
      : { heartbeatMs: parseDuration("--heartbeat", heartbeat, intervalMs, MAX_HEARTBEAT_MS) }),
  };
}

function parseCount(count: Values[string]): number | undefined {
  if (count === undefined) return undefined;
  if (typeof count !== "string" || !/^\d{1,9}$/.test(count) || Number(count) === 0) {
    throw new UsageError(`--count takes how many sweeps, 1 or more, not ${JSON.stringify(count)}`);
  }
  return Number(count);
}

/** @throws UsageError */
export function parseServe(args: readonly string[]): ServeArguments | "help" {
  const { values, uris } = parse(args, {
    listen: text,
    "token-file": text,
    "source-token-file": text,
    viewers: text,
    "allow-anyone": flag,
    origin: texts,
    "min-interval": text,
  });
  if (values["help"]) return "help";
  const minInterval = values["min-interval"] as string | undefined;
  return {
    uris,
    minIntervalMs:
      minInterval === undefined
        ? undefined
        : parseDuration("--min-interval", minInterval, MIN_INTERVAL_MS, MAX_INTERVAL_MS),
    ...parseListen((values["listen"] as string | undefined) ?? ""),
    tokenFile: values["token-file"] as string | undefined,
    sourceTokenFile: values["source-token-file"] as string | undefined,
    viewersFile: values["viewers"] as string | undefined,
    allowAnyone: values["allow-anyone"] === true,
    origins: (values["origin"] as string[] | undefined) ?? [],
  };
}

/** @throws UsageError */
export function parseDoctor(args: readonly string[]): DoctorArguments | "help" {
  const { values, uris } = parse(args, { format: text, all: flag });
  if (values["help"]) return "help";
  const format = values["format"] ?? "text";
  if (format !== "text" && format !== "json") {
    throw new UsageError(`there is no format ${JSON.stringify(format)}: choose one of text, json`);
  }
  return { uri: oneUri(uris), format, all: values["all"] === true };
}

type Values = Record<string, string | boolean | (string | boolean)[] | undefined>;

function parse(
  args: readonly string[],
  options: NonNullable<ParseArgsConfig["options"]>,
): { values: Values; uris: string[] } {
  let parsed: { values: Values; positionals: string[] };
  try {
    parsed = parseArgs({
      args: [...args],
      options: { ...options, help: { type: "boolean", short: "h" } },
      allowPositionals: true,
      strict: true,
    });
  } catch (error) {
    // Node's advice after the first sentence is about writing programs, not about using them.
    throw new UsageError((error as Error).message.split(". ")[0]!);
  }
  return { values: parsed.values, uris: parsed.positionals };
}

function oneUri(uris: readonly string[]): string | undefined {
  if (uris.length > 1) throw new UsageError(`one URI at a time: what is ${JSON.stringify(uris[1])}?`);
  return uris[0];
}

const UNITS: Record<string, number> = { "": 1, ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };

/** A time such as 500ms, 1.5s, 1m or 1h, in ms; a bare number is ms. */
export function parseDuration(option: string, duration: string, minMs = 1, maxMs = 600_000): number {
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
export function parseListen(listen: string): { host: string; port: number } {
  const match = /^(?:(\[[0-9a-fA-F:.]+\]|[^:[\]]*):)?(\d+)$/.exec(listen);
  const host = (match?.[1] || DEFAULT_LISTEN_HOST).replace(/^\[|\]$/g, "");
  const port = match === null ? DEFAULT_PORT : Number(match[2]);
  if ((listen !== "" && match === null) || port > 65_535) {
    throw new UsageError(`--listen takes HOST:PORT, not ${JSON.stringify(listen)}`);
  }
  return { host, port };
}

function isFormat(name: string): name is FormatName {
  return (FORMATS as readonly string[]).includes(name);
}
