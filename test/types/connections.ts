/** The promises about the types of connections, their options and their streams. It never runs; see records.ts. */
import {
  type Connection,
  type ConnectionStatus,
  connect,
  connectAll,
  type DomainRates,
  type DomainStatsRecord,
  type FleetConnection,
  type FleetHost,
  type ParamValue,
  type SweepEvent,
  type SweepSummary,
  VirstreamError,
  type WatchEvent,
} from "../../src/index.ts";
import { never, same } from "./same.ts";

export async function connectChecksItsOptions(uri: string, signal: AbortSignal): Promise<Connection> {
  await connect(uri, {
    signal,
    connectTimeoutMs: 5_000,
    waitForFirstConnection: true,
    token: async () => "secret",
    creditBytes: 65_536,
    headers: { cookie: "session=1" },
    reconnect: {
      initialMs: 100,
      maxMs: 5_000,
      attempts: 3,
      shouldRetry: (error) => {
        same<typeof error, VirstreamError>(true);
        return error.retryable;
      },
    },
  });
  // @ts-expect-error The member is misspelt.
  await connect(uri, { tokn: "secret" });
  // @ts-expect-error The member is misspelt.
  await connect(uri, { reconnect: { attemps: 3 } });
  // @ts-expect-error A time is a number of milliseconds.
  await connect(uri, { connectTimeoutMs: "5s" });
  // @ts-expect-error It is a switch.
  await connect(uri, { waitForFirstConnection: "yes" });
  // @ts-expect-error A token is a text.
  await connect(uri, { token: () => 42 });
  // @ts-expect-error An answer is needed.
  await connect(uri, { reconnect: { shouldRetry: () => {} } });
  // @ts-expect-error A controller is not its signal.
  await connect(uri, { signal: new AbortController() });
  const connection = await connect(uri);
  // @ts-expect-error Only a connection of connectAll() has hosts to add.
  await connection.add(uri);
  return connection;
}

export async function aFleetHasHosts(uri: string): Promise<FleetHost[]> {
  const fleet = await connectAll([uri, { uri, token: "secret", reconnect: { attempts: 3 } }], { creditBytes: 65_536 });
  same<typeof fleet, FleetConnection>(true);
  const connection: Connection = fleet;
  same<typeof connection.host, string>(true);
  await fleet.add(uri);
  await fleet.add({ uri, token: () => "secret" });
  await fleet.remove(uri);
  // @ts-expect-error A host needs its URI.
  await connectAll([{ token: "secret" }]);
  // @ts-expect-error The member is misspelt.
  await connectAll([{ uri, tokn: "secret" }]);
  // @ts-expect-error The member is misspelt.
  await fleet.add({ uri, reconect: {} });
  // @ts-expect-error A host is removed by its URI.
  await fleet.remove({ uri });
  for (const { name, uri, state, error } of fleet.hosts) {
    same<typeof name, string>(true);
    same<typeof uri, string>(true);
    same<typeof state, ConnectionStatus["state"]>(true);
    same<typeof error, VirstreamError | undefined>(true);
  }
  // @ts-expect-error The list is how the hosts are now: add() changes them.
  fleet.hosts = [];
  return fleet.hosts;
}

export function statesNarrow({ state, host, error }: ConnectionStatus): string {
  same<typeof host, string>(true);
  same<typeof error, VirstreamError | undefined>(true);
  switch (state) {
    case "connected":
    case "reconnecting":
    case "degraded":
    case "removed":
    case "closed":
      return host;
    default:
      never(state);
      return "";
  }
}

export async function aConnectionHasALife(connection: Connection): Promise<void> {
  connection.status.subscribe((status) => same<typeof status, ConnectionStatus>(true));
  for await (const status of connection.status) statesNarrow(status);
  await connection.status.forEach(async (status) => same<typeof status, ConnectionStatus>(true));
  const end = await connection.closed;
  same<typeof end, VirstreamError | undefined>(true);
  await connection.close({ drain: true });
  // @ts-expect-error The member is misspelt.
  await connection.close({ drian: true });
  // @ts-expect-error It is a switch.
  await connection.close({ drain: 1_000 });
}

export async function sweepsCheckTheirOptions(connection: Connection, signal: AbortSignal): Promise<void> {
  const stream = connection.stats(
    { groups: ["state"], filter: ["running"], enforce: true, backing: true, nowait: true, deadlineMs: 500 },
    { signal },
  );
  stream.subscribe((record) => same<typeof record, DomainStatsRecord>(true));
  for await (const record of stream) same<typeof record, DomainStatsRecord>(true);
  await stream.forEach(async (record) => same<typeof record, DomainStatsRecord>(true));
  same<Awaited<ReturnType<typeof stream.toArray>>, DomainStatsRecord[]>(true);
  await stream.events.forEach(sweepEventsNarrow);
  // @ts-expect-error The member is misspelt.
  connection.stats({ group: ["state"] });
  // @ts-expect-error The filter is misspelt.
  connection.stats({ filter: ["runing"] });
  // @ts-expect-error Patterns are a list.
  connection.stats({ names: "web-*" });
  // @ts-expect-error A time is a number of milliseconds.
  connection.stats({ deadlineMs: "500ms" });
  // @ts-expect-error An interval is for a watch.
  connection.stats({}, { intervalMs: 1_000 });
  // @ts-expect-error A controller is not its signal.
  connection.stats({}, { signal: new AbortController() });
  // @ts-expect-error A callback takes records.
  await stream.forEach((record: WatchEvent) => {
    console.log(record.type);
  });
}

export function sweepEventsNarrow(event: SweepEvent): void {
  switch (event.type) {
    case "expect":
      same<typeof event.domains, number>(true);
      break;
    case "record":
      same<typeof event.record, DomainStatsRecord>(true);
      break;
    case "sync":
      same<typeof event.summary, SweepSummary>(true);
      break;
    default:
      never(event);
  }
}

export async function batchCallsChooseRecordsOrRates(connection: Connection): Promise<void> {
  const records = await connection.getAllDomainStats({ groups: ["state"] });
  same<typeof records, DomainStatsRecord[]>(true);
  const rates = await connection.getAllDomainStats({ rates: true, overMs: 500 });
  same<typeof rates, DomainRates[]>(true);
  const some = await connection.domainListGetStats([records[0]!.domain, "guest-00003"]);
  same<typeof some, DomainStatsRecord[]>(true);
  const someRates = await connection.domainListGetStats(["guest-00003"], { rates: true });
  same<typeof someRates, DomainRates[]>(true);
  // @ts-expect-error Records of one moment have no duration.
  await connection.getAllDomainStats({ overMs: 500 });
  // @ts-expect-error For a list there is domainListGetStats().
  await connection.getAllDomainStats({ domains: ["guest-00003"] });
  // @ts-expect-error The list is the first argument.
  await connection.domainListGetStats("guest-00003");
  // @ts-expect-error The list of domains has no groups.
  await connection.listDomains({ groups: ["state"] });
}

export async function watchesCheckTheirOptions(connection: Connection, signal: AbortSignal): Promise<void> {
  const watch = connection.watch(
    { names: ["web-*"] },
    { intervalMs: 500, mode: "on-change", heartbeatMs: 5_000, signal },
  );
  await watch.forEach((record) => {
    same<typeof record, DomainStatsRecord>(true);
  });
  await watch.events.forEach((event) => {
    same<typeof event, WatchEvent>(true);
  });
  await watch.rates.forEach((each) => {
    same<typeof each, DomainRates>(true);
    same<typeof each.cpu.percent, number | undefined>(true);
    // @ts-expect-error A rate may be unknown.
    each.cpu.percent.toFixed(1);
  });
  // @ts-expect-error The member is misspelt.
  connection.watch({}, { interval: 500 });
  // @ts-expect-error The mode is misspelt.
  connection.watch({}, { mode: "onchange" });
  // @ts-expect-error The options are the second argument.
  connection.watch({ intervalMs: 500 });
}

export function errorsHaveCodes(thrown: unknown): ParamValue | undefined {
  if (!(thrown instanceof VirstreamError)) return undefined;
  if (thrown.code === "connection-lost") return thrown.message;
  // @ts-expect-error The code is misspelt.
  if (thrown.code === "conection-lost") return undefined;
  return thrown.retryable;
}
