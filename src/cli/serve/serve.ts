import { once } from "node:events";
import type { Connection } from "../../client/connection.ts";
import { Examiner } from "../../doctor/examiner.ts";
import { driverFor } from "../../driver/registry.ts";
import { invalid } from "../../model/error.ts";
import { MetadataPath } from "../../outlets/identity/metadata-path.ts";
import type { Exporter } from "../../outlets/prometheus/exporter.ts";
import type { ServerLimits } from "../../server/limits.ts";
import { checkListening, type ServeOptions, serve as startServer, type VirstreamServer } from "../../server/server.ts";
import { parse } from "../arguments.ts";
import { sourceText } from "../format/notice.ts";
import { notify } from "../notify.ts";
import { awaitSources, guestSources, openSources, readText, readToken, resolveUri } from "../source.ts";
import { ExitCode, INTERRUPTED, UsageError } from "../usage.ts";
import { type Place, SERVE_OPTIONS, type ServeArguments } from "./arguments.ts";
import { type Configuration, configurationOf, configurationWithout } from "./config-file.ts";
import { startPublisher } from "./publish.ts";
import { readHeaders, startPush } from "./push.ts";
import { Reconfiguration } from "./reconfigure.ts";
import { Secrets } from "./secrets.ts";
import { ServiceManager } from "./service-manager.ts";

/** How often the log looks at the health of the server, in ms. */
const HEALTH_CHECK_MS = 1_000;

/** Reads the configuration again. */
type Reread = (servers: readonly VirstreamServer[], connection: Connection) => Promise<void>;

/** `virstream serve`: serves until it is interrupted. The URLs go to stdout, everything else to stderr. */
export async function serve(argv: readonly string[], signal: AbortSignal): Promise<number> {
  const { config, check, "print-config": prints } = parse(argv, SERVE_OPTIONS).values;
  const read = async (): Promise<Configuration> =>
    config === undefined
      ? configurationWithout(argv, process.env)
      : configurationOf(await readText("configuration file", config, false), config, argv, process.env);
  const configuration = await read();
  const { args, limits, text } = configuration;
  if (prints) {
    process.stdout.write(text());
    return ExitCode.ok;
  }
  const secrets = await Secrets.read(args);
  if (check) {
    await checkFiles(args);
    for (const uri of args.uris) driverFor(resolveUri(uri));
    for (const place of [args.listen, args.metrics])
      if (place !== undefined) checkListening(serverOptions(args, limits, secrets, place));
    notify(`the configuration is valid${config === undefined ? "" : `: ${config}`}`);
    return ExitCode.ok;
  }
  const reconfiguration = new Reconfiguration(configuration);
  const reread: Reread = async (servers, connection) => {
    if (config === undefined) return;
    const now = await read().catch((thrown) => {
      throw thrown instanceof UsageError ? invalid(thrown.message) : thrown;
    });
    const keys = reconfiguration.take(now, secrets, servers, connection);
    if (keys.length > 0) notify(`${config} has other values now, which need a restart: ${keys.join(", ")}`);
  };
  return run(args, limits, secrets, reread, signal);
}

/** Reads the files that only an outlet or a source would read, and checks what the page for Prometheus reads of definitions. */
async function checkFiles({ sourceTokenFile, otlpHeadersFile, nats, metricsMetadata }: ServeArguments): Promise<void> {
  await readToken(sourceTokenFile, {});
  if (otlpHeadersFile !== undefined) await readHeaders(otlpHeadersFile);
  if (nats?.creds !== undefined) await readText("file of NATS credentials", nats.creds);
  for (const text of metricsMetadata) new MetadataPath(text);
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

async function run(
  args: ServeArguments,
  limits: Partial<ServerLimits>,
  secrets: Secrets,
  reread: Reread,
  signal: AbortSignal,
): Promise<number> {
  const sourceToken = await readToken(args.sourceTokenFile, {});
  const openAll = args.requireSource ? openSources : awaitSources;
  await using connection = await openAll(args.uris, sourceToken, signal);
  void logStatus(connection);
  const examiner = new Examiner(connection, await guestSources(connection, sourceToken));
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
      metrics: page,
      ui: args.ui,
      explain: (domain, signal) => examiner.examine(domain, signal),
    }));
  await using exporter =
    args.metrics &&
    (await startServer(connection, {
      ...serverOptions(args, limits, secrets, args.metrics),
      metrics,
      webSockets: false,
    }));
  await using _push = args.otlp === undefined ? undefined : await startPush(connection, args.otlp, args);
  await using publisher = args.nats && (await startPublisher(connection, args.nats));
  notify(
    `serving ${connection.uri} of ${connection.host.includes(",") ? "hosts" : "host"} ${connection.host.replaceAll(",", ", ")}; interrupt to end`,
  );
  if (server !== undefined) process.stdout.write(`${server.url}\n`);
  if (server !== undefined && args.ui) {
    process.stdout.write(`${server.pageUrl}\n`);
    const isFile = server.pageUrl.startsWith("http+unix:");
    const browser = isFile ? "a browser needs a proxy in front of it" : `a browser opens ${server.pageUrl}`;
    notify(`clients connect to ${server.url}; ${browser}`);
  }
  if (exporter !== undefined) process.stdout.write(`${exporter.pageUrl}metrics\n`);
  if (publisher !== undefined) process.stdout.write(`${publisher.url}\n`);
  const health = server ?? exporter;
  const servers = [server, exporter].filter((each) => each !== undefined);
  const manager = new ServiceManager();
  const status = `serving ${connection.host}`;
  const stopReload = secrets.reloadAtSignal(
    servers,
    (reload) => {
      manager.reloading();
      void reload().then(() => manager.ready(status));
    },
    () => reread(servers, connection),
  );
  manager.ready(status);
  const stopLog = health === undefined ? () => {} : logHealth(health, connection);
  if (exporter !== undefined) void logMissing(exporter.exporter);
  if (!signal.aborted) await once(signal, "abort");
  manager.stopping();
  stopLog();
  // Another signal ends the process at once.
  await Promise.all(servers.map((each) => each.close({ drain: true })));
  stopReload();
  if (signal.reason !== INTERRUPTED) throw signal.reason;
  return ExitCode.ok;
}

/** Logs why the page for Prometheus cannot say what domains are, or has no storage pools although they were asked for. */
async function logMissing(exporter: Exporter): Promise<void> {
  const failure = await exporter.identities();
  if (failure !== undefined) notify(`/metrics has no series about the identity of domains: ${failure.message}`);
  const poolFailure = await exporter.pools();
  if (poolFailure !== undefined) notify(`/metrics has no series about storage pools: ${poolFailure.message}`);
}

/** Logs which hosts are absent at first, and each change of a connection. */
async function logStatus(connection: Connection): Promise<void> {
  const seen = new Set<string | undefined>();
  await connection.status.forEach(({ state, host, uri, error }) => {
    const first = !seen.has(uri);
    seen.add(uri);
    if (error?.code === "connection-closed" || (first && error === undefined)) return;
    const source = uri === undefined ? connection.uri : host;
    if (error === undefined) notify(`${source}: connected again`);
    else if (state === "closed") notify(sourceText(source, "connection lost for good", error));
    else notify(sourceText(source, first ? "not there yet" : "connection lost, connecting again", error));
  });
}

/** Logs when hosts stop giving statistics although their connections last, and when they do so again. */
function logHealth(server: VirstreamServer, connection: Connection): () => void {
  let before = server.health().sourcesAbsent;
  const timer = setInterval(() => {
    const { sourcesAbsent } = server.health();
    // The log has a line for each lost connection already.
    if (sourcesAbsent === before || (connection.driver.absent?.length ?? 0) > 0) return;
    before = sourcesAbsent;
    const hosts = sourcesAbsent === 1 ? "a watched host fails" : `${sourcesAbsent} watched hosts fail`;
    notify(sourcesAbsent === 0 ? "the watched hosts give statistics again" : `${hosts} every record: see /healthz`);
  }, HEALTH_CHECK_MS);
  return () => clearInterval(timer);
}
