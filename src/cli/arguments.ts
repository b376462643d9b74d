import { type ParseArgsConfig, parseArgs } from "node:util";
import { GROUPS, type KnownGroup } from "../model/group.ts";
import { LIST_FILTERS, type ListFilter, type StatsQuery } from "../model/query.ts";
import { DEFAULT_LISTEN_HOST, DEFAULT_PORT } from "../server/server.ts";
import { FORMATS, type FormatName } from "./format/formats.ts";
import { UsageError } from "./usage.ts";

/** What `virstream get` was asked. */
export interface GetArguments {
  readonly uri: string | undefined;
  readonly query: StatsQuery;
  readonly format: FormatName;
  readonly tokenFile: string | undefined;
}

/** What `virstream serve` was asked. */
export interface ServeArguments {
  readonly uri: string | undefined;
  readonly host: string;
  readonly port: number;
  readonly tokenFile: string | undefined;
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

const FILTER_NAMES = Object.keys(LIST_FILTERS) as ListFilter[];

/** @throws UsageError */
export function parseGet(args: readonly string[]): GetArguments | "help" {
  const { values, uri } = parse(args, {
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
  });
  if (values["help"]) return "help";
  const groups = GROUPS.filter((group: KnownGroup) => values[group]);
  const filter = FILTER_NAMES.filter((name) => values[`list-${name}`]);
  const format = (values["format"] ?? "table") as string;
  if (!isFormat(format)) {
    throw new UsageError(`there is no format ${JSON.stringify(format)}: choose one of ${FORMATS.join(", ")}`);
  }
  const deadline = values["deadline"] as string | undefined;
  const domains = values["domain"] as string[] | undefined;
  return {
    uri,
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

/** @throws UsageError */
export function parseServe(args: readonly string[]): ServeArguments | "help" {
  const { values, uri } = parse(args, { listen: text, "token-file": text, "allow-anyone": flag, origin: texts });
  if (values["help"]) return "help";
  return {
    uri,
    ...parseListen((values["listen"] as string | undefined) ?? ""),
    tokenFile: values["token-file"] as string | undefined,
    allowAnyone: values["allow-anyone"] === true,
    origins: (values["origin"] as string[] | undefined) ?? [],
  };
}

/** @throws UsageError */
export function parseDoctor(args: readonly string[]): DoctorArguments | "help" {
  const { values, uri } = parse(args, { format: text, all: flag });
  if (values["help"]) return "help";
  const format = values["format"] ?? "text";
  if (format !== "text" && format !== "json") {
    throw new UsageError(`there is no format ${JSON.stringify(format)}: choose one of text, json`);
  }
  return { uri, format, all: values["all"] === true };
}

type Values = Record<string, string | boolean | (string | boolean)[] | undefined>;

function parse(
  args: readonly string[],
  options: NonNullable<ParseArgsConfig["options"]>,
): { values: Values; uri: string | undefined } {
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
  if (parsed.positionals.length > 1) {
    throw new UsageError(`one URI at a time: what is ${JSON.stringify(parsed.positionals[1])}?`);
  }
  return { values: parsed.values, uri: parsed.positionals[0] };
}

const UNITS: Record<string, number> = { "": 1, ms: 1, s: 1_000, m: 60_000 };

/** A time such as 500ms, 1.5s or 1m, in ms; a bare number is ms. */
export function parseDuration(option: string, duration: string): number {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|)$/.exec(duration);
  const ms = match === null ? Number.NaN : Math.round(Number(match[1]) * UNITS[match[2]!]!);
  if (Number.isNaN(ms) || ms < 1 || ms > 600_000) {
    throw new UsageError(
      `${option} takes a time from 1ms to 10m such as 500ms, 2s or 1m, not ${JSON.stringify(duration)}`,
    );
  }
  return ms;
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
