import { type ParseArgsConfig, parseArgs } from "node:util";
import { GROUPS, groupMask, type KnownGroup } from "../model/group.ts";
import { LIST_FILTERS, type ListFilter, MAX_DEADLINE_MS, type StatsQuery } from "../model/query.ts";
import { DEFAULT_INTERVAL_MS, MAX_HEARTBEAT_MS, MAX_INTERVAL_MS, type WatchOptions } from "../model/watch.ts";
import { EXTRAS } from "../outlets/identity/identities.ts";
import { DIALECTS, type Dialect, FAMILY_GROUPS } from "../outlets/prometheus/family.ts";
import { FORMATS } from "./format/format.ts";
import { UsageError } from "./usage.ts";

/** The options of `virstream get`, checked, with the defaults filled in. */
export type GetArguments = ReturnType<typeof parseGet>;
/** The options of `virstream watch`, checked in the same way. */
export type WatchArguments = ReturnType<typeof parseWatch>;
/** The options of `virstream top`, checked in the same way. */
export type TopArguments = Omit<ReturnType<typeof parseTop>, "query"> & { readonly query: StatsQuery };
/** The options of `virstream why`, checked in the same way. */
export type WhyArguments = ReturnType<typeof parseWhy>;
/** The options of `virstream doctor`, checked in the same way. */
export type DoctorArguments = ReturnType<typeof parseDoctor>;

const FILTERS = Object.keys(LIST_FILTERS) as ListFilter[];

/**
 * The shortest interval of `virstream watch`, in ms. People read no faster, and a shorter one is more often a mistaken unit than
 * a wish: it would keep a hypervisor busy. Programs may go down to MIN_INTERVAL_MS.
 */
export const LEAST_INTERVAL_MS = 250;

/** The kinds of options. */
export const FLAG = { type: "boolean" } as const;
export const TEXT = { type: "string" } as const;
export const LIST = { type: "string", multiple: true } as const;
/** The URI as virsh takes it. */
const CONNECT = { connect: { type: "string", multiple: true, short: "c" } } as const;

/** The options of every command that sweeps: which domains and groups, and how. */
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
  "token-file": TEXT,
};

/** The options of every command that prints records. */
const RECORD_OPTIONS = { ...QUERY_OPTIONS, raw: FLAG, format: TEXT };
/** The options of a page for Prometheus. */
const PAGE_OPTIONS = { dialect: TEXT, "metrics-metadata": LIST, "metrics-extra": TEXT };
/** The options of every command that sweeps repeatedly. */
export const WATCH_OPTIONS = { interval: TEXT, "on-change": FLAG, heartbeat: TEXT };

/** @throws UsageError */
export function parseGet(args: readonly string[]) {
  const { values, uris } = parse(args, { ...RECORD_OPTIONS, ...PAGE_OPTIONS, rates: FLAG, over: TEXT });
  const common = recordArguments(values, uris);
  const isPage = common.format === "prometheus";
  const ofPage = Object.keys(PAGE_OPTIONS).find((name) => name in values);
  if (ofPage !== undefined && !isPage) throw new UsageError(`--${ofPage} goes with --format prometheus`);
  if (isPage && common.raw) throw new UsageError("--raw does not fit Prometheus's format, which has seconds and bytes");
  const { rates = false } = values;
  if (rates) refuseTotals(common.format, common.raw);
  if (values.over !== undefined && !rates) throw new UsageError("--over goes with --rates");
  const { query } = common;
  return {
    ...common,
    query: isPage && groupMask(query.groups) === 0 ? { ...query, groups: FAMILY_GROUPS } : query,
    dialect: dialectOf(values.dialect),
    /** Texts of the domains' definitions for the page, as NAME=PATH. */
    metricsMetadata: values["metrics-metadata"] ?? [],
    metricsExtras: extrasOf(values["metrics-extra"], EXTRAS),
    /** The time between the two sweeps whose rates are printed; undefined: print the records of one sweep. */
    ratesOverMs: rates
      ? (duration("over", values.over, LEAST_INTERVAL_MS, MAX_INTERVAL_MS) ?? DEFAULT_INTERVAL_MS)
      : undefined,
  };
}

/** @throws UsageError */
export function parseWatch(args: readonly string[]) {
  const { values, uris } = parse(args, { ...RECORD_OPTIONS, ...WATCH_OPTIONS, rates: FLAG, count: TEXT });
  const { format, ...rest } = recordArguments(values, uris);
  if (format === "prometheus") {
    throw new UsageError("--format prometheus is one page, and a watch has no end: use virstream serve --metrics");
  }
  if (format === "json") {
    throw new UsageError("--format json is one array, and a watch has no end: use --format ndjson");
  }
  const { rates = false, "on-change": onChange = false, count } = values;
  if (rates) refuseTotals(format, rest.raw);
  if (rates && onChange) {
    throw new UsageError("--rates needs every record, and --on-change leaves some out: choose one");
  }
  const sweeps = sweepCount("--count", count);
  return {
    ...rest,
    format,
    rates,
    options: watchOptions(values),
    count: sweeps,
  };
}

/** @throws UsageError */
export function parseTop(args: readonly string[]) {
  const options = {
    ...{ domain: LIST, name: LIST, host: LIST, deadline: TEXT, "token-file": TEXT, interval: TEXT, hosts: TEXT },
    batch: { type: "boolean", short: "b" } as const,
    count: { type: "string", short: "n" } as const,
  };
  const { values, uris } = parse(args, options);
  const { batch = false } = values;
  if (values.count !== undefined && !batch) throw new UsageError("-n goes with -b: a screen ends when you press q");
  return {
    /** Empty: the default URI. */
    uris,
    /** A file with a URI on each line. */
    hostsFile: values.hosts,
    query: selection(values),
    intervalMs: duration("interval", values.interval, LEAST_INTERVAL_MS, MAX_INTERVAL_MS) ?? DEFAULT_INTERVAL_MS,
    batch,
    count: sweepCount("-n", values.count),
    tokenFile: values["token-file"],
  };
}

/** @throws UsageError */
export function parseDoctor(args: readonly string[]) {
  const { values, uris } = parse(args, { all: FLAG, format: TEXT });
  return { uri: single(uris), format: formatOf(values.format, ["text", "json"]), all: values.all ?? false };
}

/** @throws UsageError */
export function parseWhy(args: readonly string[]) {
  const { values, uris, positionals } = parse(args, { format: TEXT, "token-file": TEXT });
  const [guest, ...rest] = positionals;
  if (guest === undefined || guest === "")
    throw new UsageError("why takes the name, uuid or id of a guest: virstream why GUEST [URI]");
  return {
    guest,
    uri: single([...uris.slice(0, uris.length - positionals.length), ...rest]),
    format: formatOf(values.format, ["text", "json"]),
    tokenFile: values["token-file"],
  };
}

type ParseArgsOptionsConfig = NonNullable<ParseArgsConfig["options"]>;
type Values<Options extends ParseArgsOptionsConfig> = ReturnType<typeof parse<Options>>["values"];

function recordArguments(values: Values<typeof RECORD_OPTIONS>, uris: readonly string[]) {
  return {
    uri: single(uris),
    query: queryOf(values),
    format: formatOf(values.format, FORMATS),
    raw: values.raw ?? false,
    tokenFile: values["token-file"],
  };
}

/** A number of sweeps; undefined: without an end. */
function sweepCount(option: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (/^0*[1-9]\d{0,8}$/.test(text)) return Number(text);
  throw new UsageError(`${option} takes a number of sweeps, 1 or more, not ${JSON.stringify(text)}`);
}

/** Which domains, and how long each may take. */
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

/** The query of the options that say which domains and groups, and how. */
export function queryOf(values: Values<typeof QUERY_OPTIONS>): StatsQuery {
  return {
    groups: GROUPS.filter((group) => values[group]),
    filter: FILTERS.filter((filter) => values[`list-${filter}`]),
    enforce: values.enforce ?? false,
    backing: values.backing ?? false,
    nowait: values.nowait ?? false,
    ...selection(values),
  };
}

/** How often to sweep, and what to print. */
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

/** Refuses what is about totals where rates are shown. */
function refuseTotals(format: string, raw: boolean): void {
  if (raw) throw new UsageError("--raw is about totals, and --rates shows rates in their place: choose one");
  if (format === "virsh" || format === "prometheus") {
    throw new UsageError(`--rates does not fit the format ${format}, which has totals: use --format table or ndjson`);
  }
}

/** One of the formats, by default the first. */
export function formatOf<Name extends string>(format: string | undefined, formats: readonly Name[]): Name {
  const found = formats.find((name) => name === (format ?? formats[0]));
  if (found !== undefined) return found;
  throw new UsageError(`there is no format ${JSON.stringify(format)}: choose one of ${formats.join(", ")}`);
}

/** The URI of a command that takes at most one. */
export function single([uri, other]: readonly string[]): string | undefined {
  if (other !== undefined)
    throw new UsageError(`one URI at a time: what is ${JSON.stringify(other)}? --domain names a domain`);
  return uri;
}

/** The values of options, and what stands beside them. */
interface Parsed<Options extends ParseArgsOptionsConfig> {
  readonly values: ReturnType<
    typeof parseArgs<{ options: Options & typeof CONNECT; allowPositionals: true; strict: true }>
  >["values"];
  readonly positionals: readonly string[];
  /** Those of `--connect`, and the others. */
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
    // Node's message goes on with advice for the programmer: the user gets its first sentence.
    const message = (error as Error).message.split(". ")[0]!;
    const unknown = /^Unknown option '--([\w-]+)'/.exec(message)?.[1];
    const meant = Object.keys(options).find((name) => unknown !== undefined && name.startsWith(`${unknown}-`));
    throw new UsageError(`${message}${meant === undefined ? "" : `: did you mean --${meant}?`}`);
  }
}

/** The units of a time in ms, in the order in which they are written. A number without a unit is seconds. */
const UNITS: Readonly<Record<string, number>> = { h: 3_600_000, m: 60_000, s: 1_000, ms: 1 };
const NUMBER = "\\d+\\.?\\d*|\\.\\d+";
const DURATION = new RegExp(
  `^(?:(${NUMBER})|${Object.keys(UNITS)
    .map((unit) => `(?:(${NUMBER})${unit})?`)
    .join("")})$`,
);

/** An option's time such as 500ms, .5s, 1m30s or 1h, in ms. A bare number is seconds, as in `watch -n`. */
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

function durationText(ms: number): string {
  const [unit, factor] = Object.entries(UNITS).find(([, factor]) => ms % factor === 0)!;
  return `${ms / factor}${unit}`;
}

/** The dialect of the page for Prometheus. */
export function dialectOf(dialect: string = DIALECTS[0]): Dialect {
  const found = DIALECTS.find((name) => name === dialect);
  if (found !== undefined) return found;
  throw new UsageError(`there is no dialect ${JSON.stringify(dialect)}: choose one of ${DIALECTS.join(", ")}`);
}

/** The kinds of metrics that cost more calls, of a list with commas between them. */
export function extrasOf<Extra extends string>(text: string | undefined, extras: readonly Extra[]): Extra[] {
  return (text?.split(",") ?? []).map((name) => {
    const extra = extras.find((each) => each === name);
    if (extra !== undefined) return extra;
    if (name === "pools") {
      throw new UsageError(
        "--metrics-extra pools goes with virstream serve: a storage pool that hangs would keep a worker of libvirtd for each run",
      );
    }
    throw new UsageError(`--metrics-extra takes ${extras.join(",")} or some of them, not ${JSON.stringify(text)}`);
  });
}
