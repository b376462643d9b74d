import { parse, stringify, TomlError } from "smol-toml";
import { withoutSecrets } from "../../driver/registry.ts";
import { VirstreamError } from "../../model/error.ts";
import { checkLimits, DEFAULT_SERVER_LIMITS, type ServerLimits } from "../../server/limits.ts";
import { choice, parse as parseOptions } from "../arguments.ts";
import { suggestion } from "../nearest.ts";
import { UsageError } from "../usage.ts";
import { LOG_FORMATS, LOG_LEVELS, parseServe, SERVE_OPTIONS, type ServeArguments } from "./arguments.ts";

/** The key of a configuration file that is no option: the list of sources. */
export const SOURCES = "sources";
/** The other key that is no option: the limits of the server. */
export const LIMITS = "limits";
/** The options that only the command line can have, and no file. */
const ONLY_GIVEN = ["config", "check", "print-config"];
/** Options of the file that count only if a variable of the environment is not set, each with its variable. */
const FROM_ENVIRONMENT: Readonly<Record<string, string>> = { "token-file": "VIRSTREAM_TOKEN" };

/** Options that the environment may also set, each with its variable and its possible values. */
const ALSO_IN_ENVIRONMENT: Readonly<Record<string, readonly [variable: string, values: readonly string[]]>> = {
  "log-level": ["VIRSTREAM_LOG_LEVEL", LOG_LEVELS],
  "log-format": ["VIRSTREAM_LOG_FORMAT", LOG_FORMATS],
};

/**
 * All options of `virstream serve`: from the command line and the environment. An option that neither of them sets
 * comes from a file.
 */
export interface Configuration {
  readonly args: ServeArguments;
  readonly limits: Partial<ServerLimits>;
  /** All values by the keys of a configuration file. */
  readonly values: Readonly<Record<string, unknown>>;
  /** The whole configuration as the text of a file, with every limit, and without passwords in URIs. */
  readonly text: () => string;
  /** Where a key is set, for error messages: the file, the line and the key; empty if no file has it. */
  readonly placeOf: (key: string) => string;
}

/** The configuration without a file. @throws UsageError */
export function configurationWithout(cli: readonly string[], env: NodeJS.ProcessEnv): Configuration {
  return { ...made([...optionsOf(env), ...cli], named(env) ?? [], {}), placeOf: () => "" };
}

/**
 * Reads a configuration file in TOML: the long options without their dashes, `sources` (a list of URIs) and the table `limits`. An
 * option of the command line replaces that of the file.
 *
 * @param cli the arguments of the command line
 * @throws UsageError with the file, the line and the key
 */
export function configurationOf(
  text: string,
  file: string,
  cli: readonly string[],
  env: NodeJS.ProcessEnv,
): Configuration {
  const at = (key: string | undefined): string =>
    `${file}${key === undefined ? "" : `${placeOf(text, key)}: ${key}`}: `;
  const fail = (key: string | undefined, what: string): never => {
    throw new UsageError(`${at(key)}${what}`);
  };
  let table: Readonly<Record<string, unknown>>;
  try {
    table = parse(text);
  } catch (thrown) {
    if (!(thrown instanceof TomlError)) throw thrown;
    throw new UsageError(`${file}:${thrown.line}: ${thrown.message.split("\n")[0]}`);
  }
  const fromFile: string[] = [];
  const given = new Set(cli.flatMap((argument) => /^--([\w-]+)/.exec(argument)?.[1] ?? []));
  for (const [key, value] of Object.entries(table)) {
    if (key === SOURCES || key === LIMITS) continue;
    if (!isOption(key)) return fail(key, `there is no such option${suggestion(key, optionNames())}`);
    if (given.has(key) || env[FROM_ENVIRONMENT[key] ?? ""]) continue;
    const { type, ...rest } = SERVE_OPTIONS[key];
    const isList = "multiple" in rest;
    for (const each of isList && Array.isArray(value) ? value : [value]) {
      if (type === "boolean") {
        if (typeof each !== "boolean") fail(key, "must be true or false");
        if (each) fromFile.push(`--${key}`);
      } else if (typeof each === "string" || typeof each === "number") fromFile.push(`--${key}=${each}`);
      else fail(key, `must be a string${isList ? ", or a list of strings" : ""}`);
    }
  }
  const { [SOURCES]: sources = [], [LIMITS]: limits = {} } = table;
  if (!Array.isArray(sources) || sources.some((uri) => typeof uri !== "string"))
    fail(SOURCES, "must be a list of URIs");
  if ("min-interval" in table && "minIntervalMs" in (limits as object)) {
    fail("min-interval", "is the limit minIntervalMs, which the table limits has, too: give it once");
  }
  try {
    checkLimits(limits as Partial<ServerLimits>);
  } catch (thrown) {
    const { message } = VirstreamError.from(thrown);
    const member = message.match(/\w+/g)?.find((word) => Object.hasOwn(limits as object, word));
    fail(member ?? LIMITS, message.startsWith(`${member} `) ? message.slice(member!.length + 1) : message);
  }
  const fromEnvironment = optionsOf(env);
  try {
    return {
      ...made(
        [...fromFile, ...fromEnvironment, ...cli],
        named(env) ?? (sources as string[]),
        limits as Partial<ServerLimits>,
      ),
      placeOf: (key) => (key in table && !given.has(key) ? at(key) : ""),
    };
  } catch (thrown) {
    if (!(thrown instanceof UsageError)) throw thrown;
    const key = /--([\w-]+)/.exec(thrown.message)?.[1];
    return fail(key !== undefined && key in table && !given.has(key) ? key : undefined, thrown.message);
  }
}

/** @param sources the URIs if the arguments have none */
function made(
  argv: readonly string[],
  sources: readonly string[],
  limits: Partial<ServerLimits>,
): Omit<Configuration, "placeOf"> {
  const args = parseServe(argv);
  const uris = args.uris.length > 0 ? args.uris : sources;
  const { minIntervalMs = limits.minIntervalMs ?? DEFAULT_SERVER_LIMITS.minIntervalMs } = args;
  const all = { ...limits, minIntervalMs };
  // `min-interval` is left out here, because the limits already contain it.
  const given = Object.entries(parseOptions(argv, SERVE_OPTIONS).values).filter(
    ([name]) => isOption(name) && name !== "min-interval",
  );
  const values = {
    [SOURCES]: uris,
    ...Object.fromEntries(given),
    [LIMITS]: { ...DEFAULT_SERVER_LIMITS, ...all },
  };
  const text = (): string => {
    const shown = Object.entries(values).map(([key, value]) => [
      key,
      typeof value === "string" ? withoutSecrets(value) : value,
    ]);
    return `${stringify({ ...Object.fromEntries(shown), [SOURCES]: uris.map(withoutSecrets) })}\n`;
  };
  return { args: { ...args, uris }, limits: all, values, text };
}

/** The options that the environment sets, as arguments of the command line. @throws UsageError */
function optionsOf(env: NodeJS.ProcessEnv): string[] {
  return Object.entries(ALSO_IN_ENVIRONMENT).flatMap(([option, [variable, values]]) => {
    const value = env[variable];
    return value ? [`--${option}=${choice(`$${variable}`, value, values)}`] : [];
  });
}

/** The sources that the environment names. */
function named({ VIRSTREAM_URI: uri }: NodeJS.ProcessEnv): string[] | undefined {
  return uri ? [uri] : undefined;
}

function optionNames(): string[] {
  return [...Object.keys(SERVE_OPTIONS).filter((name) => !ONLY_GIVEN.includes(name)), SOURCES, LIMITS];
}

function isOption(key: string): key is keyof typeof SERVE_OPTIONS {
  return Object.hasOwn(SERVE_OPTIONS, key) && !ONLY_GIVEN.includes(key);
}

/** The line in which a key is set, as `:3`; empty if no line begins with it. */
function placeOf(text: string, key: string): string {
  const line = text.split("\n").findIndex((each) => /^\s*\[?\s*["']?([\w-]+)["']?\s*[=\].]/.exec(each)?.[1] === key);
  return line < 0 ? "" : `:${line + 1}`;
}
