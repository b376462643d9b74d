import { MAX_INTERVAL_MS, MIN_INTERVAL_MS } from "../../model/watch.ts";
import { DEFAULT_PUBLISH_INTERVAL_MS, MAX_AGE_MS } from "../../outlets/nats/publisher.ts";
import { DEFAULT_PUSH_INTERVAL_MS } from "../../outlets/otlp/push.ts";
import { FAMILY_GROUPS } from "../../outlets/prometheus/family.ts";
import { PAGE_EXTRAS } from "../../outlets/prometheus/info/extras.ts";
import { DEFAULT_LISTEN_HOST, DEFAULT_PORT } from "../../server/listening/address.ts";
import type { ServeOptions } from "../../server/server.ts";
import {
  choice,
  choices,
  dialectOf,
  duration,
  extrasOf,
  FLAG,
  LEAST_INTERVAL_MS,
  LIST,
  parse,
  TEXT,
} from "../arguments.ts";
import { UsageError } from "../usage.ts";

/** The prefix of --listen and --metrics before the path of a socket file. */
const UNIX = "unix:";

/** Where a server listens. */
export type Place =
  | Pick<ServeOptions, "host" | "port">
  | Pick<ServeOptions, "socketPath" | "socketMode" | "socketGroup">;

/** The options of `virstream serve`, checked, with the defaults filled in. */
export type ServeArguments = ReturnType<typeof parseServe>;

/** The values of `--log-level`: the lowest level that is logged. */
export const LOG_LEVELS = ["trace", "debug", "info", "warn", "error", "silent"] as const;
/** A value of `--log-level`. */
export type LogLevel = (typeof LOG_LEVELS)[number];
/** The values of `--log-format`. */
export const LOG_FORMATS = ["text", "json"] as const;

/** The port at which exporters of libvirt's statistics usually listen. */
const METRICS_PORT = 9_177;
/** The default interval of the watch from which the page for Prometheus is made, in ms. */
const METRICS_INTERVAL_MS = 5_000;
/** The shortest time of --nats-max-age and --nats-retain, in ms. */
const LEAST_AGE_MS = 1_000;

/** The shortest interval of `--otlp-interval`, in ms. */
const MIN_PUSH_INTERVAL_MS = 1_000;
/** The options of `virstream serve`. */
export const SERVE_OPTIONS = {
  config: TEXT,
  check: FLAG,
  "print-config": FLAG,
  listen: TEXT,
  "socket-mode": TEXT,
  "socket-group": TEXT,
  metrics: TEXT,
  "metrics-interval": TEXT,
  "metrics-metadata": LIST,
  "metrics-extra": TEXT,
  "metrics-groups": TEXT,
  "metrics-name": LIST,
  dialect: TEXT,
  "token-file": TEXT,
  "source-token-file": TEXT,
  ca: TEXT,
  "require-source": FLAG,
  tokens: TEXT,
  "min-interval": TEXT,
  "allow-anyone": FLAG,
  ui: FLAG,
  "allow-plain": FLAG,
  "tls-cert": TEXT,
  "tls-key": TEXT,
  "tls-client-ca": TEXT,
  origin: LIST,
  "trusted-proxy": LIST,
  "log-level": TEXT,
  "log-format": TEXT,
  otlp: TEXT,
  "otlp-interval": TEXT,
  "otlp-headers-file": TEXT,
  nats: TEXT,
  "nats-creds": TEXT,
  "nats-prefix": TEXT,
  "nats-interval": TEXT,
  "nats-replicas": TEXT,
  "nats-max-age": TEXT,
  "nats-retain": TEXT,
} as const;

/** @throws UsageError */
export function parseServe(args: readonly string[]) {
  const { values, uris } = parse(args, SERVE_OPTIONS);
  const { listen, metrics, nats, ui = false } = values;
  const { "tls-cert": cert, "tls-key": key, "tls-client-ca": clientCa } = values;
  if ((cert === undefined) !== (key === undefined)) throw new UsageError("--tls-cert and --tls-key go together");
  if (clientCa !== undefined && cert === undefined) throw new UsageError("--tls-client-ca goes with --tls-cert");
  if (values["metrics-interval"] !== undefined && metrics === undefined) {
    throw new UsageError("--metrics-interval goes with --metrics");
  }
  const metricsIntervalMs = duration(
    "metrics-interval",
    values["metrics-interval"],
    LEAST_INTERVAL_MS,
    MAX_INTERVAL_MS,
  );
  if (values.otlp === undefined && (values["otlp-interval"] ?? values["otlp-headers-file"]) !== undefined) {
    throw new UsageError("--otlp-interval and --otlp-headers-file go with --otlp");
  }
  const ofNats = Object.keys(values).find((name) => name.startsWith("nats-"));
  if (nats === undefined && ofNats !== undefined) throw new UsageError(`--${ofNats} goes with --nats`);
  const replicas = values["nats-replicas"] ?? "1";
  if (!/^[135]$/.test(replicas)) throw new UsageError("--nats-replicas takes 1, 3 or 5");
  const socket = {
    ...(values["socket-mode"] !== undefined && { socketMode: modeOf(values["socket-mode"]) }),
    ...(values["socket-group"] !== undefined && { socketGroup: values["socket-group"] }),
  };
  const placeOf = (option: string, text: string | undefined, defaultPort: number): Place =>
    text?.startsWith(UNIX)
      ? { socketPath: text.slice(UNIX.length), ...socket }
      : parseListen(option, text, defaultPort);
  const isServer = listen !== undefined || (metrics ?? nats) === undefined || ui;
  /** Where clients connect; undefined if they cannot, because there is only `--metrics` or `--nats`. */
  const clients = isServer ? placeOf("listen", listen, DEFAULT_PORT) : undefined;
  /** The address that serves only the page for Prometheus. */
  const page = metrics === undefined ? undefined : placeOf("metrics", metrics, METRICS_PORT);
  const kinds = [clients, page].map((place) => place && ("socketPath" in place ? "file" : "port"));
  const ofSocket = Object.keys(values).find((name) => name.startsWith("socket-"));
  if (ofSocket !== undefined && !kinds.includes("file")) {
    throw new UsageError(`--${ofSocket} goes with --listen unix:PATH or --metrics unix:PATH`);
  }
  if (cert !== undefined && kinds.includes("file") && !kinds.includes("port")) {
    throw new UsageError("--tls-cert does not go with unix:PATH: the file's permissions say who may connect");
  }
  if (clients !== undefined && page !== undefined && isSame(clients, page)) {
    throw new UsageError(
      "--listen and --metrics are the same place: /metrics is at --listen anyway, so leave out --metrics",
    );
  }
  return {
    /** The URIs of the sources. Empty: the default URI. */
    uris,
    listen: clients,
    metrics: page,
    metricsIntervalMs: metricsIntervalMs ?? METRICS_INTERVAL_MS,
    dialect: dialectOf(values.dialect),
    /** The labels that the page for Prometheus takes from texts in the domains' definitions, each as NAME=PATH. */
    metricsMetadata: values["metrics-metadata"] ?? [],
    /**
     * The groups of statistics on the page for Prometheus, and the patterns for the names of its domains; undefined:
     * all.
     */
    metricsGroups:
      values["metrics-groups"] === undefined
        ? undefined
        : choices("--metrics-groups", values["metrics-groups"], FAMILY_GROUPS),
    metricsNames: values["metrics-name"],
    metricsExtras: extrasOf(values["metrics-extra"], PAGE_EXTRAS),
    /** The shortest interval that watches may ask for; undefined: the server's default. */
    minIntervalMs: duration("min-interval", values["min-interval"], MIN_INTERVAL_MS, MAX_INTERVAL_MS),
    /** The file with the token that clients must send. */
    tokenFile: values["token-file"],
    /** The file with the token for the virstream servers among the URIs. */
    sourceTokenFile: values["source-token-file"],
    /** The file with the certificates of the authorities to trust for the virstream servers among the URIs. */
    caFile: values.ca,
    requireSource: values["require-source"] ?? false,
    /** The file that has the hashes of tokens, and says what each token may read. */
    tokensFile: values.tokens,
    allowAnyone: values["allow-anyone"] ?? false,
    allowPlain: values["allow-plain"] ?? false,
    /** The files of the certificate; undefined if there is no TLS. */
    tlsFiles:
      cert === undefined || key === undefined ? undefined : { cert, key, ...(clientCa !== undefined && { clientCa }) },
    origins: values.origin ?? [],
    trustedProxies: values["trusted-proxy"] ?? [],
    logLevel: choice("--log-level", values["log-level"] ?? "info", LOG_LEVELS),
    /** Undefined: text if stderr is a terminal or systemd's journal, otherwise JSON. */
    logFormat:
      values["log-format"] === undefined ? undefined : choice("--log-format", values["log-format"], LOG_FORMATS),
    /** True to serve the live page, too. */
    ui,
    /** The collector to which statistics are pushed; `env`: the collector that the environment names. */
    otlp: values.otlp,
    otlpIntervalMs:
      duration("otlp-interval", values["otlp-interval"], MIN_PUSH_INTERVAL_MS, MAX_INTERVAL_MS) ??
      DEFAULT_PUSH_INTERVAL_MS,
    /** The file with headers for the collector. */
    otlpHeadersFile: values["otlp-headers-file"],
    /** Where and how to publish to NATS. */
    nats:
      nats === undefined
        ? undefined
        : {
            url: nats,
            ...(values["nats-creds"] !== undefined && { creds: values["nats-creds"] }),
            ...(values["nats-prefix"] !== undefined && { prefix: values["nats-prefix"] }),
            intervalMs:
              duration("nats-interval", values["nats-interval"], LEAST_INTERVAL_MS, MAX_INTERVAL_MS) ??
              DEFAULT_PUBLISH_INTERVAL_MS,
            replicas: Number(replicas),
            maxAgeMs: duration("nats-max-age", values["nats-max-age"], LEAST_AGE_MS, MAX_AGE_MS) ?? 0,
            retainMs: duration("nats-retain", values["nats-retain"], LEAST_AGE_MS, MAX_AGE_MS) ?? 0,
          },
  };
}

/**
 * Parses the permissions of a file: four octal digits that begin with 0. A number in a TOML file is decimal and has no
 * 0 at its beginning, so this function refuses it.
 */
function modeOf(text: string): number {
  if (/^0[0-7]{3}$/.test(text)) return Number.parseInt(text, 8);
  throw new UsageError(`--socket-mode takes the four digits of permissions, as "0660", not ${JSON.stringify(text)}`);
}

/**
 * Parses HOST:PORT, :PORT or PORT, where an IPv6 address is in brackets. If the host is missing, the result has the
 * default host. If `listen` is empty, it also has the default port.
 */
function parseListen(option: string, listen = "", defaultPort: number): { host: string; port: number } {
  const match = /^(?:(\[[0-9a-fA-F:.]+\]|[^:[\]]*):)?(\d+)$/.exec(listen);
  const host = (match?.[1] || DEFAULT_LISTEN_HOST).replace(/^\[|\]$/g, "");
  const port = match === null ? defaultPort : Number(match[2]);
  if ((listen !== "" && match === null) || port > 65_535) {
    const brackets = /:.*:/.test(listen) ? "; an IPv6 address is in brackets, as in [::1]:16580" : "";
    throw new UsageError(
      `--${option} takes HOST:PORT, PORT (0 to 65535) or unix:PATH, not ${JSON.stringify(listen)}${brackets}`,
    );
  }
  return { host, port };
}

/** True if both places are the same, so that only one server could listen there. */
function isSame(one: Place, other: Place): boolean {
  if ("socketPath" in one || "socketPath" in other) {
    return "socketPath" in one && "socketPath" in other && one.socketPath === other.socketPath;
  }
  const [a, b] = [one, other] as Pick<ServeOptions, "host" | "port">[];
  return a!.port !== 0 && a!.port === b!.port && a!.host === b!.host;
}
