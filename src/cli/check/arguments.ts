import { parseArgs } from "node:util";
import type { StatsQuery } from "../../model/query.ts";
import { CREDENTIALS, credentialFiles, duration, FLAG, LIST, selection, TEXT } from "../arguments.ts";
import { misused } from "../misused-option.ts";
import { UsageError } from "../usage.ts";
import { Range } from "./range.ts";

/**
 * The metrics for which the user can set thresholds, each with its unit in the performance data of the printed line.
 */
export const METRICS = { stuck: "s", cpu: "%", steal: "%", latency: "ms", memory: "%" } as const;
/** The name of a metric for which the user can set thresholds. */
export type Metric = keyof typeof METRICS;

/** The ranges that -w and -c set for a metric. */
export interface Thresholds {
  readonly warning?: Range;
  readonly critical?: Range;
}

/** The options of `virstream check`, checked, with the defaults filled in. */
export type CheckArguments = ReturnType<typeof parseCheck>;

/** The options of `virstream check`. */
export const CHECK_OPTIONS = {
  ...{ stuck: FLAG, cpu: FLAG, steal: FLAG, latency: FLAG, memory: FLAG },
  warning: { ...LIST, short: "w" },
  critical: { ...LIST, short: "c" },
  timeout: { ...TEXT, short: "t" },
  ...{ connect: LIST, domain: LIST, name: LIST, host: LIST, over: TEXT, deadline: TEXT, ...CREDENTIALS },
} as const;

/**
 * Each -w and each -c applies to the last metric option before it, or to `stuck` if there is no such option.
 *
 * @throws UsageError
 */
export function parseCheck(args: readonly string[]) {
  const { values, positionals, tokens } = parsed(args);
  const thresholds = new Map<Metric, Thresholds>();
  let metric: Metric = "stuck";
  for (const token of tokens) {
    if (token.kind !== "option") continue;
    if (Object.hasOwn(METRICS, token.name)) {
      metric = token.name as Metric;
      thresholds.set(metric, thresholds.get(metric) ?? {});
    } else if (token.name === "warning" || token.name === "critical") {
      thresholds.set(metric, { ...thresholds.get(metric), [token.name]: new Range(token.value ?? "") });
    }
  }
  for (const [name, { warning, critical }] of thresholds) {
    if (name !== "stuck" && (warning ?? critical) === undefined) {
      throw new UsageError(`--${name} goes before its thresholds: --${name} -w 80 -c 95`);
    }
  }
  // A stuck guest is critical, unless the user has set thresholds for `stuck`.
  if ((thresholds.get("stuck")?.warning ?? thresholds.get("stuck")?.critical) === undefined) {
    thresholds.set("stuck", { critical: new Range("0") });
  }
  return {
    /** The URIs of the sources. Empty: the default URI. */
    uris: [...(values.connect ?? []), ...positionals],
    query: selection(values) as StatsQuery,
    thresholds,
    /** The time between the two samples, in ms. */
    overMs: duration("over", values.over, 250, 600_000) ?? 1_000,
    timeoutMs: duration("timeout", values.timeout, 1_000, 3_600_000) ?? 10_000,
    ...credentialFiles(values),
  };
}

function parsed(args: readonly string[]) {
  try {
    return parseArgs({ args: [...args], options: CHECK_OPTIONS, allowPositionals: true, strict: true, tokens: true });
  } catch (error) {
    throw misused(error, Object.keys(CHECK_OPTIONS));
  }
}
