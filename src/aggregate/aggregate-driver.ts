import { type Clock, STEADY_CLOCK, withTimeout } from "../driver/clock.ts";
import type { DescriptionReader, Descriptions } from "../driver/description.ts";
import {
  type ConnectionStatus,
  type Driver,
  type HostVersions,
  type OpenDriver,
  type OpenOptions,
  type StatusListener,
  StatusListeners,
  type SweepContext,
} from "../driver/driver.ts";
import { HostList } from "../driver/host-list.ts";
import { DEFAULT_CONNECT_TIMEOUT_MS } from "../driver/reconnector.ts";
import { checkOpenOptions, openDriver, withoutSecrets } from "../driver/registry.ts";
import { invalid, quote, VirstreamError } from "../model/error.ts";
import type { Query } from "../model/query.ts";
import type { Absent, DomainStatsRecord } from "../model/record.ts";
import type { Cadence, WatchSink } from "../model/watch.ts";
import type { WhenClosed } from "./answers.ts";
import { hostPools } from "./host-pools.ts";
import { HostWatch } from "./host-watch.ts";
import { Member, type MemberOptions, uuidsOf } from "./member.ts";
import { NamedSweep } from "./named-sweep.ts";
import { NamedWatch } from "./named-watch.ts";
import { Ownership } from "./ownership.ts";
import { wholeSweep } from "./whole-sweep.ts";

/** One of several hosts: its URI, and options of its own, which replace the options that are given for all hosts. */
export interface HostSource extends OpenOptions {
  readonly uri: string;
}

/** A running watch of the aggregate, with its part for each host. */
interface RunningWatch {
  readonly hosts: Map<Member, HostWatch>;
  add(member: Member): void;
  remove(member: Member): void;
}

/** The dependencies of an aggregate. Tests replace them. */
export interface AggregateDependencies {
  /** How to open one host. Default: by the scheme of its URI. */
  readonly open?: OpenDriver;
  /** A steady clock; tests pass their own. */
  readonly clock?: Clock;
}

/**
 * Several hosts as one. A sweep or a watch covers all of them at the same time; every record carries its host. A host
 * that does not answer delays one sweep, by the query's deadline plus one second. Later sweeps leave it out, and the
 * driver probes it in the background until it answers again. docs/aggregation.md has the rules.
 */
export class AggregateDriver implements Driver {
  readonly storagePools = hostPools(() => this.#members);
  readonly #members: Member[];
  readonly #hosts = new HostList();
  readonly #memberOptions: Pick<MemberOptions, "open" | "clock" | "admit">;
  readonly #openOptions: OpenOptions;
  readonly #watches = new Set<RunningWatch>();
  readonly #ownership: Ownership;
  readonly #clock: Clock;
  readonly #listeners = new StatusListeners();
  /** For each sweep and watch that is under way, a function that ends it. */
  readonly #underWay = new Set<(reason: VirstreamError) => void>();
  /**
   * Settles when the last admission so far has ended. Hosts are admitted one after another, because each host is
   * compared with all hosts that were admitted before.
   */
  #admissions: Promise<void> = Promise.resolve();
  #error: VirstreamError | undefined;
  #closed: Promise<void> | undefined;

  private constructor(
    sources: readonly (string | HostSource)[],
    openOptions: OpenOptions,
    { open = openDriver, clock = STEADY_CLOCK }: AggregateDependencies,
  ) {
    this.#clock = clock;
    const admit: MemberOptions["admit"] = (driver, member, signal, admitted) => {
      const admission = this.#admissions.then(() => this.#check(driver, member, signal)).then(admitted);
      this.#admissions = admission.catch(() => {});
      return admission;
    };
    this.#memberOptions = { open, clock, admit };
    this.#openOptions = openOptions;
    this.#members = sources.map((source, number) => this.#member(source, () => number));
    this.#ownership = new Ownership(
      this,
      this.#members.map(({ label }) => label),
    );
  }

  #member(source: string | HostSource, number: (label: string | undefined) => number): Member {
    const { uri, ...options } = typeof source === "string" ? { uri: source } : source;
    return new Member(uri, number, { ...this.#memberOptions, openOptions: { ...this.#openOptions, ...options } });
  }

  /**
   * Opens all hosts at the same time. Resolves when each host has answered or failed once; hosts that failed are
   * retried.
   *
   * @throws VirstreamError `invalid-argument` for no URI, a URI that is named twice, or two URIs of one host; a
   *   driver's error that retrying cannot cure (`invalid-uri`, `unauthenticated`, …). If no host could be reached: the
   *   error code of the hosts if all have the same one, otherwise `connection-lost`. With `waitForFirstConnection` this
   *   last case is not an error.
   */
  static async open(
    sources: readonly (string | HostSource)[],
    options: OpenOptions = {},
    dependencies: AggregateDependencies = {},
  ): Promise<AggregateDriver> {
    if (!Array.isArray(sources)) throw invalid(`the hosts must be a list of URIs, not ${quote(sources)}`);
    const uris = sources.map(checkSource);
    if (uris.length === 0) throw invalid("there is no URI: name at least one host");
    const twice = uris.find((uri, i) => uris.indexOf(uri) !== i);
    if (twice !== undefined) {
      throw invalid(`${withoutSecrets(twice)} is named twice: name each host once`);
    }
    checkOpenOptions(options);
    options.signal?.throwIfAborted();
    const driver = new AggregateDriver(sources, options, dependencies);
    try {
      await driver.#opened(options);
    } catch (error) {
      await driver.close();
      throw error;
    }
    return driver;
  }

  /** The hosts' URIs without secrets, with spaces between them. */
  get uri(): string {
    return this.#members.map((member) => member.uri).join(" ");
  }

  /** The kinds of hypervisors of the hosts that have been reachable, without repetitions, with commas between them. */
  get hypervisor(): string {
    return [...new Set(this.#members.flatMap(({ driver }) => driver?.hypervisor.split(",") ?? []))].join(",");
  }

  /** The hosts' names with commas between them. A host that was never reachable has its URI in place of a name. */
  get host(): string {
    return this.#hosts.of(this.#members.map((member) => member.name));
  }

  /** The groups that every host permits; undefined if no host has such a limit. */
  get permittedGroups(): readonly string[] | undefined {
    const lists = this.#members.flatMap(({ driver }) => (driver?.permittedGroups && [driver.permittedGroups]) ?? []);
    return lists.length === 0 ? undefined : lists.reduce((a, b) => a.filter((group) => b.includes(group)));
  }

  /** The shortest interval that every host accepts. */
  get minIntervalMs(): number {
    return Math.max(0, ...this.#members.map(({ driver }) => driver?.minIntervalMs ?? 0));
  }

  sweep(query: Query, context: SweepContext): AsyncIterable<readonly DomainStatsRecord[]> {
    const options = {
      members: this.#members.filter((member) => member.isSelected(query)),
      query,
      context,
      ownership: this.#ownership,
      whenClosed: this.#whenClosed,
    };
    return query.domains === undefined ? wholeSweep(options) : new NamedSweep(options).records();
  }

  /**
   * The sink gets events as they come, in each host's own order, with a sync for each host. The watch fails only if
   * every reachable host refuses the query.
   */
  watch(query: Query, cadence: Cadence, sink: WatchSink): () => void {
    // This list also gets the hosts that are added later.
    const members = this.#members;
    const context = { query, cadence, ownership: this.#ownership, clock: this.#clock };
    const named =
      query.domains === undefined ? undefined : new NamedWatch(members, query.domains, this.#ownership, sink);
    const hosts = new Map<Member, HostWatch>();
    const refused = (error: VirstreamError): void => {
      const others = [...hosts].every(
        ([member, watch]) => member.driver === undefined || watch.refuses || !member.isSelected(query),
      );
      if (others) fail(error);
    };
    const running: RunningWatch = {
      hosts,
      add: (member) => {
        if (hosts.has(member)) return;
        const watch = new HostWatch({ ...context, member, sink: named?.sinkOf(member) ?? sink, refused });
        hosts.set(member, watch);
        void watch.run();
      },
      remove: (member) => {
        const watch = hosts.get(member);
        hosts.delete(member);
        watch?.remove();
        named?.forget(member);
      },
    };
    const stop = (): void => {
      this.#underWay.delete(fail);
      this.#watches.delete(running);
      for (const watch of hosts.values()) watch.stop();
    };
    const fail = (error: VirstreamError): void => {
      if (!this.#underWay.has(fail)) return;
      stop();
      sink.end(error);
    };
    this.#underWay.add(fail);
    this.#watches.add(running);
    if (this.#error !== undefined) fail(this.#error);
    else for (const member of [...members]) if (this.#watches.has(running)) running.add(member);
    return stop;
  }

  /** The descriptions of the domains of every host whose driver can read them. */
  describe<T>(reader: DescriptionReader<T>): Descriptions<T> {
    // A host that is opened again has another driver, which needs new descriptions. The descriptions of a driver end
    // with the driver.
    const known = new Map<Driver, Descriptions<T> | undefined>();
    let closed = false;
    const from = (driver: Driver): Descriptions<T> | undefined => {
      if (!known.has(driver)) {
        for (const gone of known.keys())
          if (!this.#members.some((member) => member.driver === gone)) known.delete(gone);
        known.set(driver, driver.describe?.(reader));
      }
      return known.get(driver);
    };
    return {
      of: (domain) => {
        const driver = closed ? undefined : this.#members.find(({ name }) => name === domain.host)?.driver;
        return driver && from(driver)?.of(domain);
      },
      settled: async () => {
        await Promise.all([...known.values()].map((descriptions) => descriptions?.settled()));
      },
      close: () => {
        closed = true;
        for (const descriptions of known.values()) descriptions?.close();
      },
    };
  }

  /** The versions of all connected hosts. */
  get versions(): HostVersions[] {
    return this.#members.flatMap(({ name, driver }) =>
      (driver?.versions ?? []).map((versions) => ({
        ...versions,
        host: driver!.host.includes(",") ? versions.host : name,
      })),
    );
  }

  /**
   * Adds a host. Resolves when the host has answered or failed once. From then on at the latest, sweeps and watches
   * cover it. The driver keeps trying a host that it could not reach.
   *
   * @throws VirstreamError `invalid-argument` for a host that the aggregate already has; `connection-closed` after
   *   close(); an error of the host that retrying cannot cure. In all these cases, the host is not added.
   */
  async add(source: string | HostSource): Promise<void> {
    const uri = checkSource(source, this.#members.length);
    if (this.#error !== undefined) throw this.#error;
    if (this.#members.some(({ given }) => given === uri))
      throw invalid(`the host ${withoutSecrets(uri)} is there already`);
    const member = this.#member(source, (label) => this.#ownership.add(label));
    this.#members.push(member);
    try {
      const { signal, connectTimeoutMs = DEFAULT_CONNECT_TIMEOUT_MS } = typeof source === "string" ? {} : source;
      await withTimeout(startHost(member), connectTimeoutMs, () => {}, { signal, clock: this.#clock });
      if (this.#error !== undefined) throw this.#error;
    } catch (error) {
      await this.#drop(member);
      throw error;
    }
    if (!this.#members.includes(member)) return;
    this.#follow(member);
    this.#listeners.emit(member.status);
    for (const watch of [...this.#watches]) watch.add(member);
  }

  /**
   * Removes a host, and closes its connection. Watches report its domains as `gone`.
   *
   * @param uri as the program gave it, or as `statuses` shows it
   * @throws VirstreamError `invalid-argument` for a host that the aggregate does not have, and for the last host
   */
  async remove(uri: string): Promise<void> {
    if (this.#error !== undefined) throw this.#error;
    const member = this.#members.find((each) => each.given === uri) ?? this.#members.find((each) => each.uri === uri);
    if (member === undefined) throw invalid(`there is no host ${quote(withoutSecrets(String(uri)))} to remove`);
    if (this.#members.length === 1) throw invalid(`${member.uri} is the last host: close the connection instead`);
    const { name: host, uri: known } = member;
    const dropped = this.#drop(member);
    this.#listeners.emit({ state: "removed", host, uri: known, error: undefined });
    if (this.#allGivenUp) void this.#end(this.#noneReachable());
    await dropped;
  }

  async #drop(member: Member): Promise<void> {
    const place = this.#members.indexOf(member);
    if (place < 0) return;
    this.#members.splice(place, 1);
    for (const watch of [...this.#watches]) watch.remove(member);
    await member.close(new VirstreamError("connection-closed", `the host ${member.name} was removed`));
    this.#ownership.remove(member.number);
  }

  /**
   * Each status that a listener gets is of one host and has its `uri`, except the `closed` of the whole connection.
   */
  onStatus(listener: StatusListener): () => void {
    return this.#listeners.add(listener);
  }

  close(): Promise<void> {
    return this.#end(new VirstreamError("connection-closed", `the connection to ${this.uri} was closed`));
  }

  #end(error: VirstreamError): Promise<void> {
    this.#closed ??= this.#close(error);
    return this.#closed;
  }

  async #close(error: VirstreamError): Promise<void> {
    this.#error = error;
    this.#listeners.emit({ state: "closed", host: this.host, error });
    for (const fail of [...this.#underWay]) fail(error);
    await Promise.all(this.#members.map((member) => member.close(error)));
  }

  readonly #whenClosed: WhenClosed = (fail) => {
    if (this.#error === undefined) this.#underWay.add(fail);
    else fail(this.#error);
    return () => void this.#underWay.delete(fail);
  };

  async #opened({
    signal,
    connectTimeoutMs = DEFAULT_CONNECT_TIMEOUT_MS,
    waitForFirstConnection = false,
  }: OpenOptions): Promise<void> {
    const first = this.#members.map(startHost);
    await withTimeout<unknown>(Promise.all(first), connectTimeoutMs, () => {}, { signal, clock: this.#clock });
    const waits = waitForFirstConnection && !this.#allGivenUp;
    if (!waits && this.#members.every(({ driver }) => driver === undefined)) throw this.#noneReachable();
    for (const member of this.#members) this.#follow(member);
  }

  #follow(member: Member): void {
    member.reconnector.onStatus(({ state }) => {
      if (this.#error !== undefined || !this.#members.includes(member)) return;
      this.#listeners.emit(member.status);
      if (state === "closed" && this.#allGivenUp) void this.#end(this.#noneReachable());
    });
  }

  /** True if there will be no further attempt to reach any host. */
  get #allGivenUp(): boolean {
    return this.#members.every(({ reconnector }) => reconnector.failure !== undefined);
  }

  get statuses(): ConnectionStatus[] {
    return this.#members.map(({ status }) => status);
  }

  get unansweredCalls(): number | undefined {
    const known = this.#members.map(({ driver }) => driver?.unansweredCalls).filter((calls) => calls !== undefined);
    return known.length === 0 ? undefined : known.reduce((sum, calls) => sum + calls, 0);
  }

  get absent(): Absent[] {
    return this.#members.flatMap(({ name, error }) => (error === undefined ? [] : [{ host: name, error }]));
  }

  #noneReachable(): VirstreamError {
    const causes = this.#members.map(({ error }) => error!);
    const [first] = causes;
    const code = causes.every((cause) => cause.code === first?.code) ? first!.code : "connection-lost";
    const said = causes.map(({ message }, i) => `${this.#members[i]!.name}: ${message}`);
    const message = said.length === 1 ? said[0]! : `no host can be reached: ${said.join("; ")}`;
    return new VirstreamError(code, message, this.#allGivenUp ? { retryable: false } : {});
  }

  /**
   * Checks that no other member has the same host: with two URIs of one host, each domain of the host would appear
   * twice. But two daemons on one host are allowed if they have different names here, and no domain in common.
   */
  async #check(driver: Driver, { label }: Member, signal: AbortSignal): Promise<void> {
    if (label !== undefined && driver.host.includes(",")) {
      throw invalid(`${driver.uri} stands for several hosts (${driver.host}), so it has no label=`);
    }
    const names = new Set((label ?? driver.host).split(","));
    // With many hosts, each is compared with all others, so the comparison must be cheap when the names differ.
    for (const each of this.#members) {
      const { driver: other } = each;
      if (other === undefined) continue;
      const { name } = each;
      const same = name.includes(",")
        ? name.split(",").find((host) => names.has(host))
        : names.has(name)
          ? name
          : undefined;
      const both = `${driver.uri} and ${other.uri}`;
      if (same !== undefined) {
        throw invalid(
          `${both} are both the host ${same}: name each host once, or give two daemons of one host different names with label=NAME in their URIs`,
        );
      }
      if (driver.host !== other.host) continue;
      const uuids = (each: Driver): Promise<Set<string>> => uuidsOf(each, signal, this.#clock);
      const [ours, theirs] = await Promise.all([uuids(driver), uuids(other)]);
      if ([...ours].some((uuid) => theirs.has(uuid))) {
        throw invalid(`${both} have the same domains: name each daemon once`);
      }
    }
  }
}

/**
 * Begins to open a host. Resolves at the end of the first attempt, even if it failed. Rejects only with an error that
 * retrying cannot cure; the error names the host.
 */
async function startHost(member: Member): Promise<void> {
  const error = await member.start();
  if (error !== undefined && !error.retryable) {
    throw new VirstreamError(error.code, `${member.name}: ${error.message}`, { cause: error });
  }
}

/** Checks one host of a list. Returns its URI. @throws VirstreamError `invalid-argument` */
function checkSource(source: string | HostSource, place: number): string {
  if (typeof source === "string") return source;
  const { uri, ...options } = source ?? {};
  if (typeof uri !== "string") throw invalid(`host ${place + 1} must be a URI, or an object with a member uri`);
  checkOpenOptions(options);
  return uri;
}
