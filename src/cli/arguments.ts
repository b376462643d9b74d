import { type ParseArgsConfig, parseArgs } from "node:util";
import { withoutSecrets } from "../driver/registry.ts";
import { MOMENT_FORM, type Moment, parseMoment } from "../drivers/recording/uri.ts";
import { GROUPS, groupMask, type KnownGroup } from "../model/group.ts";
import { LIST_FILTERS, type ListFilter, MAX_DEADLINE_MS, type StatsQuery } from "../model/query.ts";
import { DEFAULT_INTERVAL_MS, MAX_HEARTBEAT_MS, MAX_INTERVAL_MS, type WatchOptions } from "../model/watch.ts";
import { EXTRAS } from "../outlets/identity/identities.ts";
import { DIALECTS, type Dialect, FAMILY_GROUPS } from "../outlets/prometheus/family.ts";
import { type Column, counterColumns, RATE_COLUMNS } from "../overview/columns.ts";
import { DEVICES, deviceColumns } from "../overview/devices.ts";
import { shellWord } from "../overview/shell-word.ts";
import { FORMATS } from "./format/format.ts";
import { misused } from "./misused-option.ts";
import { nearest } from "./nearest.ts";
import { UsageError } from "./usage.ts";

/** The options of `virstream get`, checked, with the defaults filled in. */
export type GetArguments = ReturnType<typeof parseGet>;
/** The options of `virstream watch`, checked in the same way. */
export type WatchArguments = ReturnType<typeof parseWatch>;
/** The options of `virstream top`, checked in the same way. */
export type TopArguments = Omit<ReturnType<typeof parseTop>, "query"> & { readonly query: StatsQuery };

const FILTERS = Object.keys(LIST_FILTERS) as ListFilter[];

/**
 * The shortest interval that `virstream watch`, `top` and other commands accept, in ms. People cannot read a screen
 * that changes faster. A shorter interval is more often a wrong unit than an intention, and it would keep a hypervisor
 * busy. In the programming interface, the shortest interval is MIN_INTERVAL_MS.
 */
export const LEAST_INTERVAL_MS = 250;

/** An option without a value. */
export const FLAG = { type: "boolean" } as const;
/** An option with a value. */
export const TEXT = { type: "string" } as const;
/** An option with a value. The user may give the option several times. */
export const LIST = { type: "string", multiple: true } as const;
/** The options of every command that may connect to a virstream server. */
export const CREDENTIALS = { "token-file": TEXT, ca: TEXT } as const;
/** The option that names the URI, as in virsh. */
const CONNECT = { connect: { type: "string", multiple: true, short: "c" } } as const;

/** The options of every command that sweeps. They select domains and groups, and say how to sweep. */
export const QUERY_OPTIONS = {
  ...(Object.fromEntries(GROUPS.map((group) => [group, FLAG])) as Record<KnownGroup, typeof FLAG>),
  ...(Object.fromEntries(FILTERS.map((filter) => [`list-${filter}`, FLAG])) as Record<
    `list-${ListFilter}`,
    typeof FLAG
  >),
  enforce: FLAG,
  backing: FLAG,
  nowait: FLAG,
  domain: LIST,
  name: LIST,
  host: LIST,
  deadline: TEXT,
  ...CREDENTIALS,
};

/** The options of every command that prints records. */
const RECORD_OPTIONS = { ...QUERY_OPTIONS, raw: FLAG, format: TEXT };
/** The options of a page for Prometheus. */
const PAGE_OPTIONS = { dialect: TEXT, "metrics-metadata": LIST, "metrics-extra": TEXT };
/** The options of every command that sweeps repeatedly. */
export const WATCH_OPTIONS = { interval: TEXT, "on-change": FLAG, heartbeat: TEXT };
const COUNT = { count: { type: "string", short: "n" } } as const;
/** The options of `virstream watch`. */
export const WATCH_COMMAND_OPTIONS = {
  ...{ ...RECORD_OPTIONS, ...WATCH_OPTIONS, rates: FLAG, "no-rates": FLAG },
  ...COUNT,
} as const;
/** The options of `virstream top`. */
export const TOP_OPTIONS = {
  ...{ domain: LIST, name: LIST, host: LIST, deadline: TEXT, ...CREDENTIALS, interval: TEXT, hosts: TEXT },
  batch: { type: "boolean", short: "b" },
  ...COUNT,
} as const;
/** The options of `virstream why`. */
export const WHY_OPTIONS = { format: TEXT, ...CREDENTIALS };
/** The options of `virstream doctor`. */
export const DOCTOR_OPTIONS = { all: FLAG, format: TEXT };

/** The options of `virstream get`. */
export const GET_OPTIONS = {
  ...RECORD_OPTIONS,
  ...PAGE_OPTIONS,
  ...{ rates: FLAG, "no-rates": FLAG, over: TEXT, hosts: TEXT, at: TEXT },
  ...{ sort: TEXT, columns: TEXT, per: TEXT },
  reverse: { type: "boolean", short: "r" },
} as const;

/** @throws UsageError */
export function parseGet(args: readonly string[]) {
  const { values, uris } = parse(args, GET_OPTIONS);
  const { query, groups, format, raw, ...credentials } = recordArguments(values);
  const isTable = format === "table" || format === "csv";
  const isPage = format === "prometheus";
  const ofPage = Object.keys(PAGE_OPTIONS).find((name) => name in values);
  if (ofPage !== undefined && !isPage) throw new UsageError(`--${ofPage} goes with --format prometheus`);
  if (isPage && raw) throw new UsageError("--raw does not fit Prometheus's format, which has seconds and bytes");
  const hasRates = ratesOf(values, format, isTable);
  if (values.over !== undefined && values["no-rates"]) {
    throw new UsageError("--over is the time between the two sweeps of rates: it does not go with --no-rates");
  }
  if (values.over !== undefined && !hasRates) {
    throw new UsageError("--over is the time between the two sweeps of rates: it goes with --rates");
  }
  for (const option of ["sort", "reverse", "columns", "per"] as const) {
    if (values[option] !== undefined && !isTable)
      throw new UsageError(`--${option} goes with the formats table and csv`);
  }
  const table = tableOf(values, hasRates, raw);
  return {
    /** The URIs of the sources. Empty: the default URI. */
    uris,
    /** A file with a URI on each line. */
    hostsFile: values.hosts,
    format,
    ...credentials,
    query: { ...query, groups: groupsOf(groups, isTable ? table : undefined, isPage) },
    dialect: dialectOf(values.dialect),
    /** The labels that the page for Prometheus takes from texts in the domains' definitions, each as NAME=PATH. */
    metricsMetadata: values["metrics-metadata"] ?? [],
    metricsExtras: extrasOf(values["metrics-extra"], EXTRAS),
    table,
    groupsWithoutColumn: isTable ? withoutColumn(groups, table.columns) : [],
    /** The groups whose columns are shown, as a mask; 0: all. */
    columnGroups: groupMask(groups),
    /** The time between the two sweeps from which the rates are computed; undefined: print the records of one sweep. */
    ratesOverMs: hasRates
      ? (duration("over", values.over, LEAST_INTERVAL_MS, MAX_INTERVAL_MS) ?? DEFAULT_INTERVAL_MS)
      : undefined,
    /** The moment of a recording that `--at` names. */
    at: momentOf(values.at),
  };
}

function momentOf(text: string | undefined): Moment | undefined {
  const moment = text === undefined ? undefined : parseMoment(text);
  if (text === undefined || moment !== undefined) return moment;
  throw new UsageError(`--at takes ${MOMENT_FORM}, not ${JSON.stringify(text)}`);
}

/** True to show rates. Unless the user wants counters, a table shows rates. */
function ratesOf(
  values: Pick<Values<typeof WATCH_COMMAND_OPTIONS>, "rates" | "no-rates" | "raw">,
  format: string,
  isTable: boolean,
): boolean {
  const { rates = false, "no-rates": counters = false, raw = false } = values;
  if (rates && counters) throw new UsageError("--rates and --no-rates: choose one");
  if (rates) refuseTotals(format, raw);
  return rates || (isTable && !counters && !raw);
}

/** The columns of a table, and the order of its lines. */
function tableOf(values: Values<typeof GET_OPTIONS>, rates: boolean, raw: boolean) {
  const per = values.per === undefined ? undefined : choice("--per", values.per, DEVICES);
  const columns = per !== undefined ? deviceColumns(per, !rates, raw) : rates ? RATE_COLUMNS : counterColumns(raw);
  const named = (option: string, text: string): Column => {
    const name = columns.find(({ title }) => title.toLowerCase() === text.toLowerCase())?.name ?? text.toLowerCase();
    const found = choice(
      option,
      name,
      columns.map((column) => column.name),
    );
    return columns.find((column) => column.name === found)!;
  };
  return {
    columns,
    chosen: values.columns?.split(",").map((name) => named("--columns", name.trim())),
    per,
    sort: values.sort === undefined ? undefined : named("--sort", values.sort),
    reverse: values.reverse ?? false,
  };
}

/** The requested groups that a table cannot show. */
function withoutColumn(asked: readonly KnownGroup[], columns: readonly Column[]): KnownGroup[] {
  const shown = columns.filter(({ optional }) => optional === undefined).map(({ group }) => group);
  return asked.filter((group) => group !== "state" && !shown.includes(group));
}

/**
 * The groups to ask for. A table asks only for the groups of its columns. For other groups, the host would make calls
 * whose results the table does not show.
 */
function groupsOf(
  asked: readonly KnownGroup[],
  table: (Pick<ReturnType<typeof tableOf>, "columns"> & Partial<ReturnType<typeof tableOf>>) | undefined,
  isPage: boolean,
): readonly KnownGroup[] {
  if (isPage && asked.length === 0) return FAMILY_GROUPS;
  if (table === undefined) return asked;
  const { columns, chosen, per, sort } = table;
  const shown = chosen ?? columns.filter(({ optional }) => optional === undefined);
  // With --per, each line needs the name of its device.
  const names = per === undefined ? [] : columns.filter(({ rank }) => rank === 0);
  const needed = [...shown, ...names, sort].flatMap((column) => column?.group ?? []);
  return GROUPS.filter((group) => group === "state" || (asked.length > 0 ? asked : needed).includes(group));
}

/** @throws UsageError */
export function parseWatch(args: readonly string[]) {
  const { values, uris } = parse(args, WATCH_COMMAND_OPTIONS);
  const { format, query, groups, ...rest } = recordArguments(values);
  if (format === "prometheus") {
    throw new UsageError("--format prometheus is one page, and a watch has no end: use virstream serve --metrics");
  }
  if (format === "json" || format === "csv") {
    const what = format === "json" ? "array" : "table";
    throw new UsageError(`--format ${format} is one ${what}, and a watch has no end: use --format ndjson`);
  }
  const { "on-change": onChange = false } = values;
  if (values.rates && onChange) {
    throw new UsageError("--rates needs every record, and --on-change leaves some out: choose one");
  }
  const isTable = format === "table";
  const rates = ratesOf(values, format, isTable && !onChange);
  const columns = rates ? RATE_COLUMNS : counterColumns(rest.raw);
  return {
    ...rest,
    query: { ...query, groups: groupsOf(groups, isTable ? { columns } : undefined, false) },
    groupsWithoutColumn: isTable ? withoutColumn(groups, columns) : [],
    /** True if the user named groups. */
    namesGroups: groups.length > 0,
    uri: single(uris),
    format,
    rates,
    options: watchOptions(values),
    isDefaultInterval: values.interval === undefined,
    count: sweepCount("--count", values.count),
  };
}

/** @throws UsageError */
export function parseTop(args: readonly string[]) {
  const { values, uris } = parse(args, TOP_OPTIONS);
  const { batch = false } = values;
  if (values.count !== undefined && !batch) throw new UsageError("-n goes with -b: a screen ends when you press q");
  return {
    /** The URIs of the sources. Empty: the default URI. */
    uris,
    /** A file with a URI on each line. */
    hostsFile: values.hosts,
    query: selection(values),
    intervalMs: duration("interval", values.interval, LEAST_INTERVAL_MS, MAX_INTERVAL_MS) ?? DEFAULT_INTERVAL_MS,
    isDefaultInterval: values.interval === undefined,
    batch,
    count: sweepCount("-n", values.count),
    ...credentialFiles(values),
  };
}

/** @throws UsageError */
export function parseDoctor(args: readonly string[]) {
  const { values, uris } = parse(args, DOCTOR_OPTIONS);
  return { uri: single(uris), format: formatOf(values.format, ["text", "json"]), all: values.all ?? false };
}

/** @throws UsageError */
export function parseWhy(args: readonly string[]) {
  const { values, uris, positionals } = parse(args, WHY_OPTIONS);
  const [guest, ...rest] = positionals;
  if (guest === undefined || guest === "")
    throw new UsageError("why takes the name, uuid or id of a guest: virstream why GUEST [URI]");
  if (/^[a-z][a-z0-9+.-]*:\/\//i.test(guest)) {
    const uri = shellWord(withoutSecrets(guest));
    throw new UsageError(
      `why takes a guest before the URI: virstream why ${rest[0] === undefined ? "GUEST" : shellWord(rest[0])} ${uri}`,
    );
  }
  return {
    guest,
    uri: single([...uris.slice(0, uris.length - positionals.length), ...rest]),
    format: formatOf(values.format, ["text", "json"]),
    ...credentialFiles(values),
  };
}

type ParseArgsOptionsConfig = NonNullable<ParseArgsConfig["options"]>;
type Values<Options extends ParseArgsOptionsConfig> = ReturnType<typeof parse<Options>>["values"];

function recordArguments(values: Values<typeof RECORD_OPTIONS>) {
  return {
    query: queryOf(values),
    groups: groupsAsked(values),
    format: formatOf(values.format, FORMATS),
    raw: values.raw ?? false,
    ...credentialFiles(values),
  };
}

/** The files of the credentials for virstream servers: the token, and the authorities to trust. */
export function credentialFiles(values: {
  readonly "token-file"?: string | undefined;
  readonly ca?: string | undefined;
}) {
  return { tokenFile: values["token-file"], caFile: values.ca };
}

/** The number of sweeps that an option's text gives; undefined: the sweeps have no end. */
function sweepCount(option: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (/^0*[1-9]\d{0,8}$/.test(text)) return Number(text);
  throw new UsageError(`${option} takes a number of sweeps, 1 or more, not ${JSON.stringify(text)}`);
}

/** The members of a query that select the domains, and say how long each domain may take to answer. */
export function selection(values: {
  readonly domain?: string[] | undefined;
  readonly name?: string[] | undefined;
  readonly host?: string[] | undefined;
  readonly deadline?: string | undefined;
}): Pick<StatsQuery, "domains" | "names" | "hosts" | "deadlineMs"> {
  if (values.domain !== undefined && (values.name ?? values.host) !== undefined) {
    throw new UsageError("--name and --host do not go with --domain: choose one");
  }
  const deadlineMs = duration("deadline", values.deadline, 1, MAX_DEADLINE_MS);
  return {
    ...(deadlineMs === undefined ? {} : { deadlineMs }),
    ...(values.domain === undefined ? {} : { domains: values.domain }),
    ...(values.name === undefined ? {} : { names: values.name }),
    ...(values.host === undefined ? {} : { hosts: values.host }),
  };
}

function groupsAsked(values: Values<typeof QUERY_OPTIONS>): KnownGroup[] {
  return GROUPS.filter((group) => values[group]);
}

/** The query that results from QUERY_OPTIONS. */
export function queryOf(values: Values<typeof QUERY_OPTIONS>): StatsQuery {
  return {
    groups: groupsAsked(values),
    filter: FILTERS.filter((filter) => values[`list-${filter}`]),
    enforce: values.enforce ?? false,
    backing: values.backing ?? false,
    nowait: values.nowait ?? false,
    ...selection(values),
  };
}

/** The options of a watch: the interval of its sweeps, its mode, and its heartbeat. */
export function watchOptions({ interval, heartbeat, "on-change": onChange = false }: Values<typeof WATCH_OPTIONS>) {
  if (heartbeat !== undefined && !onChange) {
    throw new UsageError("--heartbeat goes with --on-change: without it every sweep is one");
  }
  const intervalMs = duration("interval", interval, LEAST_INTERVAL_MS, MAX_INTERVAL_MS) ?? DEFAULT_INTERVAL_MS;
  const heartbeatMs = duration("heartbeat", heartbeat, intervalMs, MAX_HEARTBEAT_MS);
  return {
    intervalMs,
    mode: onChange ? "on-change" : "sample",
    ...(heartbeatMs === undefined ? {} : { heartbeatMs }),
  } satisfies WatchOptions;
}

/** Refuses the options that go only with totals. Called if the user asked for rates. */
function refuseTotals(format: string, raw: boolean): void {
  if (raw) throw new UsageError("--raw is about totals, and --rates shows rates in their place: choose one");
  if (format === "virsh" || format === "prometheus") {
    throw new UsageError(`--rates does not fit the format ${format}, which has totals: use --format table or ndjson`);
  }
}

/** The format that the user named. Default: the first of `formats`. */
export function formatOf<Name extends string>(format: string | undefined, formats: readonly Name[]): Name {
  return format === undefined ? formats[0]! : choice("--format", format, formats);
}

/** The value of an option that takes one of a few words. */
export function choice<Name extends string>(option: string, text: string, names: readonly Name[]): Name {
  const found = names.find((name) => name === text);
  if (found !== undefined) return found;
  const meant = nearest(text, names);
  const hint = meant === undefined ? "" : ` (did you mean ${meant}?)`;
  throw new UsageError(`${option} has no ${JSON.stringify(text)}${hint}: choose one of ${names.join(", ")}`);
}

/** The values of an option that takes one or more of a few words, with commas between them. */
export function choices<Name extends string>(option: string, text: string, names: readonly Name[]): Name[] {
  return text.split(",").map((name) => choice(option, name, names));
}

/** The URI of a command that takes at most one URI. */
export function single([uri, other]: readonly string[]): string | undefined {
  if (other !== undefined)
    throw new UsageError(
      `one URI at a time, and ${JSON.stringify(other)} is one more: top and get read several, and serve joins them`,
    );
  return uri;
}

/** The values of options, and the other arguments. */
interface Parsed<Options extends ParseArgsOptionsConfig> {
  readonly values: ReturnType<
    typeof parseArgs<{ options: Options & typeof CONNECT; allowPositionals: true; strict: true }>
  >["values"];
  readonly positionals: readonly string[];
  /** The URIs of `--connect`, and the arguments that are no options. */
  readonly uris: readonly string[];
}

/** @throws UsageError */
export function parse<Options extends ParseArgsOptionsConfig>(
  args: readonly string[],
  options: Options,
): Parsed<Options> {
  try {
    const all = { ...options, ...CONNECT };
    const { values, positionals } = parseArgs({ args: [...args], options: all, allowPositionals: true, strict: true });
    const { connect = [] } = values as { readonly connect?: readonly string[] };
    return { values, positionals, uris: [...connect, ...positionals] };
  } catch (error) {
    throw misused(error, Object.keys({ ...options, ...CONNECT }));
  }
}

/**
 * The units of a time, with their lengths in ms, in the order in which a user writes them. A number without a unit is
 * seconds.
 */
const UNITS: Readonly<Record<string, number>> = { d: 86_400_000, h: 3_600_000, m: 60_000, s: 1_000, ms: 1 };
const NUMBER = "\\d+\\.?\\d*|\\.\\d+";
const DURATION = new RegExp(
  `^(?:(${NUMBER})|${Object.keys(UNITS)
    .map((unit) => `(?:(${NUMBER})${unit})?`)
    .join("")})$`,
);

/**
 * The value, in ms, of an option that takes a time such as 500ms, .5s, 1m30s or 1h. A bare number is seconds, as in
 * `watch -n`.
 */
export function duration(option: string, text: string | undefined, minMs: number, maxMs: number): number | undefined {
  if (text === undefined) return undefined;
  const [, bare, ...parts] = DURATION.exec(text) ?? [];
  const factors = Object.values(UNITS);
  const ms = Math.round(
    parts.reduce((sum, part = "0", i) => sum + Number(part) * factors[i]!, Number(bare ?? 0) * 1_000),
  );
  if (ms < minMs || ms > maxMs) {
    const range = `from ${durationText(minMs)} to ${durationText(maxMs)}`;
    throw new UsageError(
      `--${option} takes a time ${range} such as 500ms, 2s or 1m30s, not ${JSON.stringify(text)} (a bare number is seconds)`,
    );
  }
  return ms;
}

/** Writes a time in ms in the form that options take: `300ms`, `2s`. */
export function durationText(ms: number): string {
  const [unit, factor] = Object.entries(UNITS).find(([, factor]) => ms % factor === 0)!;
  return `${ms / factor}${unit}`;
}

/** The dialect of the page for Prometheus. */
export function dialectOf(dialect: string = DIALECTS[0]): Dialect {
  return choice("--dialect", dialect, DIALECTS);
}

/**
 * Parses the value of --metrics-extra: the kinds of metrics that cost the hypervisor more calls, with commas between
 * them.
 */
export function extrasOf<Extra extends string>(text: string | undefined, extras: readonly Extra[]): Extra[] {
  return (text?.split(",") ?? []).map((name) => {
    if (name === "pools" && !extras.some((extra) => extra === name)) {
      throw new UsageError(
        "--metrics-extra pools goes with virstream serve: a storage pool that hangs would keep a worker of libvirtd for each run",
      );
    }
    return choice("--metrics-extra", name, extras);
  });
}
