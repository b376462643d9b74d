import { X509Certificate } from "node:crypto";
import { once } from "node:events";
import { hostname } from "node:os";
import type { Connection } from "../../client/connection.ts";
import { Examiner } from "../../doctor/examiner.ts";
import { driverFor, withoutSecrets } from "../../driver/registry.ts";
import { invalid, VirstreamError } from "../../model/error.ts";
import { MetadataPath } from "../../outlets/identity/metadata-path.ts";
import type { Exporter } from "../../outlets/prometheus/exporter.ts";
import { Origins } from "../../server/access/origins.ts";
import { ClientAddresses } from "../../server/bounds/client-address.ts";
import { DEFAULT_SERVER_LIMITS, type ServerLimits } from "../../server/limits.ts";
import type { TlsOptions } from "../../server/listening/http-server.ts";
import { checkListening, type ServeOptions, serve as startServer, type VirstreamServer } from "../../server/server.ts";
import { VERSION } from "../../version.ts";
import { parse } from "../arguments.ts";
import { notify } from "../notify.ts";
import {
  awaitSources,
  type Credentials,
  defaultUri,
  guestSources,
  openSources,
  readCredentials,
  readText,
  spelledUri,
  type Warn,
} from "../source.ts";
import { ExitCode, INTERRUPTED, UsageError } from "../usage.ts";
import { type Place, SERVE_OPTIONS, type ServeArguments } from "./arguments.ts";
import { type Configuration, configurationOf, configurationWithout, SOURCES } from "./config-file.ts";
import { ServeLog } from "./log.ts";
import { readHeaders, startPublisher, startPush } from "./outlets.ts";
import { Reconfiguration } from "./reconfigure.ts";
import { Secrets } from "./secrets.ts";
import { ServiceManager } from "./service-manager.ts";
import { logHealth, logStatus } from "./source-log.ts";

/** A function that reads the configuration again, and applies it. */
type Reread = (secrets: Secrets, servers: readonly VirstreamServer[], connection: Connection) => Promise<void>;

/** `virstream serve`: serves until it is interrupted. The URLs go to stdout, everything else to stderr. */
export async function serve(argv: readonly string[], signal: AbortSignal): Promise<number> {
  const { config, check, "print-config": prints } = parse(argv, SERVE_OPTIONS).values;
  const read = async (): Promise<Configuration> =>
    config === undefined
      ? configurationWithout(argv, process.env)
      : configurationOf(await readText("configuration file", config, null), config, argv, process.env);
  const configuration = await read();
  const { args, text } = configuration;
  if (prints) {
    process.stdout.write(text());
    return ExitCode.ok;
  }
  if (check) {
    const secrets = await Secrets.read(args);
    await checkFiles(args);
    await checkSources(configuration);
    checkPlaces(configuration, secrets);
    notify(`the configuration is valid${config === undefined ? "" : `: ${config}`}`);
    return ExitCode.ok;
  }
  const log = new ServeLog(args);
  const reconfiguration = new Reconfiguration(configuration, log);
  const reread: Reread = async (secrets, servers, connection) => {
    if (config === undefined) return;
    const now = await read().catch((thrown) => {
      throw thrown instanceof UsageError ? invalid(thrown.message) : thrown;
    });
    const keys = reconfiguration.take(now, secrets, servers, connection);
    const message = `${config} has other values now, which need a restart: ${keys.join(", ")}`;
    if (keys.length > 0) log.say("restart-needed", message, { keys });
  };
  let code: number = ExitCode.failed;
  try {
    code = await run(configuration, reread, signal, log);
  } catch (thrown) {
    // Errors in the command line, and failures to write to stdout, do not belong in the log.
    if (signal.reason === INTERRUPTED) code = ExitCode.interrupted;
    if (thrown instanceof UsageError || signal.aborted) throw thrown;
    log.fail("failed", thrown);
  } finally {
    // If the reader of stderr has stopped, the lines that wait for it would keep the process alive.
    if (!(await log.end())) process.exit(code);
  }
  return code;
}

/**
 * Reads the files that otherwise only an outlet or a source would read, and checks the paths that the page for
 * Prometheus reads in definitions.
 */
async function checkFiles(args: ServeArguments): Promise<void> {
  const { otlpHeadersFile, nats, metricsMetadata } = args;
  await readSourceCredentials(args);
  if (otlpHeadersFile !== undefined) await readHeaders(otlpHeadersFile);
  if (nats?.creds !== undefined) await readText("file of NATS credentials", nats.creds);
  for (const text of metricsMetadata) new MetadataPath(text);
}

/**
 * Reads the credentials for the virstream servers among the sources. `$VIRSTREAM_TOKEN` is not one of them: it is the
 * token that this server's own clients must send.
 */
function readSourceCredentials({ sourceTokenFile, caFile }: ServeArguments, warn?: Warn): Promise<Credentials> {
  return readCredentials({ tokenFile: sourceTokenFile, caFile }, { ...process.env, VIRSTREAM_TOKEN: "" }, warn);
}

/**
 * Checks each source's URI by giving it to its driver. The signal of this attempt to connect is already aborted, so
 * there is no connection.
 *
 * @throws UsageError
 */
async function checkSources({ args, placeOf }: Configuration): Promise<void> {
  for (const uri of args.uris) {
    try {
      const source = spelledUri(uri);
      const driver = await driverFor(source)(source, { signal: AbortSignal.abort() });
      await driver.close();
    } catch (thrown) {
      const { code, message } = VirstreamError.from(thrown);
      if (code === "invalid-uri" || code === "unknown-scheme") throw fault(placeOf(SOURCES), { code, message });
    }
  }
}

/** Checks the origins, the trusted proxies, and the options of each place to listen at. @throws UsageError */
function checkPlaces({ args, limits, placeOf }: Configuration, secrets: Secrets): void {
  const check = (key: string, work: () => unknown): void => {
    try {
      work();
    } catch (thrown) {
      throw fault(placeOf(key), VirstreamError.from(thrown));
    }
  };
  check("origin", () => new Origins(args.origins));
  check("trusted-proxy", () => new ClientAddresses(args.trustedProxies));
  for (const [key, place] of Object.entries({ listen: args.listen, metrics: args.metrics })) {
    if (place !== undefined) check(key, () => checkListening(serverOptions(args, limits, secrets, place)));
  }
}

/** The error for a fault in the configuration, with the place of the fault. */
function fault(place: string, { code, message }: Pick<VirstreamError, "code" | "message">): UsageError {
  return new UsageError(`${place}${message} [${code}]`);
}

/** The options of a server that listens at a place. */
function serverOptions(
  { allowAnyone, allowPlain, origins, trustedProxies }: ServeArguments,
  limits: Partial<ServerLimits>,
  secrets: Secrets,
  place: Place,
): ServeOptions {
  const { tls, ...rest } = secrets.options;
  return {
    ...{ allowAnyone, allowPlain, origins, trustedProxies, limits, ...rest, ...place },
    ...(tls !== undefined && !("socketPath" in place) && { tls }),
  };
}

async function run(configuration: Configuration, reread: Reread, signal: AbortSignal, log: ServeLog): Promise<number> {
  const { args, limits } = configuration;
  await checkSources(configuration);
  sayStarting(args, limits, log);
  const secrets = await Secrets.read(args, log.exposed);
  checkPlaces(configuration, secrets);
  const credentials = await readSourceCredentials(args, log.exposed);
  const openAll = args.requireSource ? openSources : awaitSources;
  await using connection = await openAll(args.uris, credentials, signal);
  void logStatus(connection, log);
  const examiner = new Examiner(connection, guestSources(connection, credentials));
  const { dialect } = args;
  const page = {
    ...{ dialect, metadata: args.metricsMetadata, extras: args.metricsExtras },
    ...(args.metricsGroups && { groups: args.metricsGroups }),
    ...(args.metricsNames && { names: args.metricsNames }),
  };
  const metrics = { ...page, intervalMs: args.metricsIntervalMs };
  await using server =
    args.listen &&
    (await startServer(connection, {
      ...serverOptions(args, limits, secrets, args.listen),
      log: log.server,
      metrics: page,
      ui: args.ui,
      explain: (domain, signal) => examiner.examine(domain, signal),
    }));
  await using exporter =
    args.metrics &&
    (await startServer(connection, {
      ...serverOptions(args, limits, secrets, args.metrics),
      log: log.server,
      metrics,
      webSockets: false,
    }));
  await using _push = args.otlp === undefined ? undefined : await startPush(connection, args.otlp, args, log);
  await using publisher = args.nats && (await startPublisher(connection, args.nats, log));
  const name = nameOf(secrets.options.tls);
  const pageUrl = server !== undefined && args.ui ? reachable(server.pageUrl, name) : undefined;
  const metricsUrl = exporter && reachable(`${exporter.pageUrl}metrics`, name);
  const url = server && reachable(server.url, name);
  const urls = [url, pageUrl, metricsUrl, publisher?.url].filter((each) => each !== undefined);
  const { uri, host } = connection;
  const hosts = `${host.includes(",") ? "hosts" : "host"} ${host.replaceAll(",", ", ")}`;
  const places = urls.filter((url) => url !== pageUrl).join(" and ");
  const isFile = pageUrl?.startsWith("http+unix:");
  const isAdmitted = pageUrl === undefined || isFile || new Origins(args.origins).admitHost(new URL(pageUrl).host);
  const origin = isAdmitted ? "" : `, if the server has --origin ${new URL(pageUrl).origin}`;
  const toOpen = isFile ? "a browser needs a proxy in front of it" : `a browser opens ${pageUrl}${origin}`;
  const browser = pageUrl === undefined ? "" : `; ${toOpen}`;
  log.say("serving", `serving ${uri} of ${hosts} at ${places}${browser}; interrupt to end`, {
    ...{ uri, hosts: host.split(","), urls },
  });
  const health = server ?? exporter;
  const servers = [server, exporter].filter((each) => each !== undefined);
  const manager = new ServiceManager(log);
  const status = `serving ${host}`;
  const stopReload = secrets.reloadAtSignal(
    servers,
    log,
    (reload) => {
      manager.reloading();
      void reload().then(() => manager.ready(status));
    },
    () => reread(secrets, servers, connection),
  );
  manager.ready(status);
  // The handler of SIGHUP must be there before this line: a program that reads the line may send SIGHUP at once, and
  // SIGHUP ends a process that has no handler for it.
  for (const url of urls) process.stdout.write(`${url}\n`);
  const stopLog = health === undefined ? () => {} : logHealth(health, connection, log);
  if (exporter !== undefined) void logMissing(exporter.exporter, log);
  if (!signal.aborted) await once(signal, "abort");
  manager.stopping();
  stopLog();
  const stoppedAt = performance.now();
  const sweeps = servers.reduce((sum, each) => sum + each.sweeps, 0);
  const draining = sweeps === 0 ? "" : `, when ${sweeps} sweeps of clients under way have ended, or in ten seconds`;
  log.say("stopping", `stopping${draining}`, { sweeps });
  // A second signal of the same kind (SIGINT or SIGTERM) ends the process at once, because each has a handler only
  // once.
  await Promise.all(servers.map((each) => each.close({ drain: true })));
  stopReload();
  if (signal.reason !== INTERRUPTED) throw signal.reason;
  const tookMs = Math.round(performance.now() - stoppedAt);
  log.say("stopped", "stopped", { tookMs });
  return ExitCode.ok;
}

/**
 * The name under which clients elsewhere reach this machine: the first DNS name of its certificate, or else its host
 * name.
 */
function nameOf(tls: TlsOptions | undefined): string {
  const names = tls && new X509Certificate(tls.cert).subjectAltName;
  return /(?:^|, )DNS:([\w.-]+)/.exec(names ?? "")?.[1] ?? hostname();
}

/**
 * A URL that clients can use. If a server listens at all addresses, its own URL names none of them, so the name of this
 * machine replaces the host.
 */
function reachable(url: string, name: string): string {
  return url.replace(/\/\/(0\.0\.0\.0|\[::\])(?=:)/, `//${name}`);
}

/** Logs the start: the version, the sources, and the limits that differ from their defaults. */
function sayStarting(args: ServeArguments, limits: Partial<ServerLimits>, log: ServeLog): void {
  const sources = (args.uris.length > 0 ? args.uris : [defaultUri(process.env)]).map(withoutSecrets);
  const others = Object.entries(limits).filter(
    ([name, value]) => value !== DEFAULT_SERVER_LIMITS[name as keyof ServerLimits],
  );
  const and = others.length === 0 ? "" : `; limits: ${others.map(([name, value]) => `${name} ${value}`).join(", ")}`;
  log.say("starting", `virstream ${VERSION} starts, with ${sources.join(", ")}${and}`, {
    ...{ version: VERSION, pid: process.pid, sources, limits: Object.fromEntries(others) },
  });
}

/** Logs why the page for Prometheus lacks the domains' identities, or lacks storage pools that the user asked for. */
async function logMissing(exporter: Exporter, log: ServeLog): Promise<void> {
  const failure = await exporter.identities();
  const say = (what: string, { code, message }: VirstreamError): void =>
    log.say("metrics-incomplete", `/metrics has no series about ${what}: ${message}`, { code });
  if (failure !== undefined) say("the identity of domains", failure);
  const poolFailure = await exporter.pools();
  if (poolFailure !== undefined) say("storage pools", poolFailure);
}
