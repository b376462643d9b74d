import type { SweepContext } from "../../../driver/driver.ts";
import { matcherOf, mayHaveHost } from "../../../driver/matcher.ts";
import { Queue } from "../../../driver/queue.ts";
import { VirstreamError } from "../../../model/error.ts";
import { groupNames } from "../../../model/group.ts";
import type { Query } from "../../../model/query.ts";
import { Domain, DomainStatsRecord, type RecordReason, type RecordStatus } from "../../../model/record.ts";
import { TypedParams } from "../../../model/typed-params.ts";
import { NIL_UUID } from "../../../model/uuid.ts";
import { type ControlInfo, ControlState, PROCEDURES } from "../rpc/procedures.ts";
import type { RemoteDomain } from "../rpc/remote-domain.ts";
import { refusesRequest } from "../rpc/remote-error.ts";
import type { DomainStats, StatsReply } from "../rpc/stats-reply.ts";
import { type Call, type CallHandler, Calls, callOf, type SweepHost } from "./calls.ts";
import { Deadlines } from "./deadlines.ts";
import { Dispatcher, type DispatcherOwner } from "./dispatcher.ts";
import { findDomains } from "./domain-search.ts";
import { DomainTask, type Stage, StatsRequests } from "./domain-task.ts";

/** High-water mark of the queue: while this many records wait to be taken, the sweep sends no call. */
const QUEUE_HIGH = 64;

/**
 * One sweep: finds the domains, asks each for its statistics, as many at a time as admission allows, and makes the
 * record of each domain as soon as its answer comes.
 *
 * A domain whose monitor is not known to answer is checked first, without using the monitor. If another client's call
 * hangs in the monitor, a call of the sweep must not hang there, too. A domain that does not answer in time is late
 * (see Deadlines). A second call, through the lane that frozen guests cannot block, then asks for the groups that need
 * no monitor. The record has these groups, and says what is missing. If the second call is late, too, the record says
 * so. An answer that comes even later only releases the permit of its call. A domain whose statistics call fails (its
 * guest may have died during the call) is asked once more. After a second failure, its record also has only the groups
 * that need no monitor. If no monitor is needed, domains are asked in batches.
 */
export class Sweep implements CallHandler<DomainTask>, DispatcherOwner {
  /** The records, for the consumer to pull. */
  readonly queue = new Queue<DomainStatsRecord>();
  /** Called once, when the sweep has ended. Its unanswered calls may still hold permits. */
  onDone: (() => void) | undefined;

  readonly #host: SweepHost;
  readonly #driver: { readonly host: string };
  readonly #query: Query;
  readonly #context: SweepContext;
  readonly #requests: StatsRequests;
  /** Returns true if the query selects a domain with this name. */
  readonly #selects: (name: string) => boolean;
  readonly #deadlines: Deadlines;
  readonly #calls: Calls;
  readonly #dispatcher: Dispatcher;
  readonly #onAbort = () => this.end();
  /** Domains that have no record yet. */
  readonly #open = new Set<DomainTask>();
  /** How many domains the sweep has found, or the query has named. */
  #tasks = 0;
  /**
   * Domains that the query names and that may need no record: another name or uuid in the query may mean the same
   * domain, or the domain may not pass the filters.
   */
  readonly #unsure = new Set<DomainTask>();
  /** The uuids that the query names or a lookup has found, so that no domain gets two records. */
  readonly #uuids = new Set<string>();
  /** True while more domains may be found. */
  #selecting = true;
  #expected = false;
  #anyAnswer = false;
  #failure: VirstreamError | undefined;
  readonly #ended = new AbortController();

  /** @param driver the driver that the domains belong to */
  constructor(host: SweepHost, query: Query, context: SweepContext, driver: { readonly host: string }) {
    this.#host = host;
    this.#driver = driver;
    this.#query = query;
    this.#context = context;
    this.#requests = new StatsRequests(query, host);
    this.#selects = matcherOf(query.names);
    this.#deadlines = new Deadlines(query.deadlineMs, performance.now());
    this.#calls = new Calls(host, this.#deadlines);
    this.#dispatcher = new Dispatcher(host, this.#calls, this.#requests, this, this.#ended.signal);
  }

  /**
   * Begins the sweep. The records come through `queue`.
   *
   * @param ready the sweep sends no call before this promise resolves; the promise must not reject
   */
  start(ready?: Promise<void>): void {
    const { signal } = this.#context;
    this.queue.onReturn = this.#onAbort;
    this.queue.onTaken = () => this.#calls.resume();
    signal.addEventListener("abort", this.#onAbort, { once: true });
    if (signal.aborted) this.end();
    else if (ready === undefined) this.#begin();
    else ready.then(() => this.#begin());
  }

  #begin(): void {
    const refusal = this.#requests.refusal(this.#query, this.#host.facts.hypervisor);
    if (refusal !== undefined) this.end(refusal);
    if (this.#done) return;
    const { domains, hosts } = this.#query;
    this.#deadlines.begin(performance.now(), domains?.length ?? 0);
    if (!mayHaveHost(this.#driver.host, hosts)) this.#selected();
    else if (domains === undefined) this.#findDomains();
    else this.#enterNamed(domains);
  }

  /** The connection is lost: each domain without a record gets a failed record. Then the sweep fails with the error. */
  lose(error: VirstreamError): void {
    if (this.#done) return;
    this.#failure = error;
    for (const task of this.#open) this.#fail(task, "error", error);
    this.end(error);
  }

  /** Ends the sweep. The consumer gets the error, if there is one. Domains that have no record yet get none. */
  end(error?: VirstreamError): void {
    if (this.#done) return;
    this.#ended.abort();
    this.#calls.close();
    this.#context.signal.removeEventListener("abort", this.#onAbort);
    this.queue.end(error);
    this.onDone?.();
  }

  get #done(): boolean {
    return this.#ended.signal.aborted;
  }

  #findDomains(): void {
    const { filter } = this.#requests;
    const search = { filter, deadlineMs: this.#query.deadlineMs, signal: this.#ended.signal };
    let begun = false;
    findDomains(this.#host, this.#calls, search, (found, total) => {
      if (this.#done) return;
      const domains = found.filter(({ name }) => this.#selects(name));
      // The sweep can query domains only from now on, so their deadline starts now. For domains that the query names,
      // the deadline started with the sweep.
      if (!begun) {
        this.#deadlines.begin(performance.now(), total);
        // If the daemon lists its domains in parts, the number of matching domains is known only at the end.
        if (this.#query.names === undefined) this.#expect(total);
        else if (found.length === total) this.#expect(domains.length);
      }
      begun = true;
      this.#dispatcher.enter(domains.map((domain) => this.#task("ask", domain)));
    }).then(
      () => this.#selected(),
      (error) => this.#selected(VirstreamError.from(error)),
    );
  }

  #enterNamed(selectors: NonNullable<Query["domains"]>): void {
    const tasks = selectors.map((selector) => {
      if (!("uuid" in selector)) return this.#task("lookup", { uuid: NIL_UUID, name: selector.name, id: -1 });
      const { uuid, name } = selector;
      const { stateOnly } = this.#requests;
      if (!stateOnly) this.#uuids.add(uuid);
      // The domain may run or not. An id of -1 would say that it does not run, so a domain to ask has the id 0 until
      // the daemon answers.
      const task = this.#task(stateOnly ? "lookup" : "ask", { uuid, name: "", id: stateOnly ? -1 : 0 });
      task.otherName = name ?? uuid;
      return task;
    });
    // A uuid that no domain has is looked up as a name. So if the query names several domains, a task with a uuid is
    // unsure (see `#unsure`), unless the cache has a domain with this uuid.
    const { domainCache } = this.#host;
    const isSure = ({ domain }: DomainTask): boolean => tasks.length === 1 || domainCache.has(domain.uuid);
    for (const task of tasks) if (this.#requests.filter !== 0 || !isSure(task)) this.#unsure.add(task);
    this.#dispatcher.enter(tasks.filter(({ stage }) => stage === "ask"));
    this.#calls.wait(tasks.filter(({ stage }) => stage === "lookup"));
    this.#settle();
  }

  #task(stage: Stage, domain: RemoteDomain): DomainTask {
    const task = new DomainTask(this, this.#tasks++, stage, this.#requests.kind, domain);
    this.#open.add(task);
    return task;
  }

  #lookedUp(task: DomainTask, domain: RemoteDomain): void {
    if (this.#uuids.has(domain.uuid)) {
      this.#drop(task);
    } else {
      this.#uuids.add(domain.uuid);
      task.domain = domain;
      task.stage = "ask";
      if (this.#requests.filter === 0) this.#unsure.delete(task);
      this.#dispatcher.enter([task]);
      this.#settle();
    }
  }

  /** Removes a task that needs no record of its own. */
  #drop(task: DomainTask): void {
    task.stage = "done";
    this.#tasks--;
    this.#unsure.delete(task);
    this.#open.delete(task);
    this.#settle();
  }

  /** No more domains will come. After an error, the domains that are known still get their records. */
  #selected(error?: VirstreamError): void {
    if (this.#done) return;
    this.#failure = error;
    this.#selecting = false;
    if (error === undefined) this.#expect(this.#tasks);
    this.#settle();
  }

  #expect(domains: number): void {
    if (this.#expected) return;
    this.#expected = true;
    this.#context.expect(domains);
  }

  /** @internal */
  callFor(task: DomainTask): Call | undefined {
    const { domain } = task;
    switch (task.stage) {
      case "lookup":
        return (task.lookupName ?? domain.name) === ""
          ? callOf(PROCEDURES.lookupByUuid, domain.uuid, (found) => this.#lookedUp(task, found))
          : callOf(PROCEDURES.lookupByName, task.lookupName ?? domain.name, (found) => this.#lookedUp(task, found));
      case "check":
        return callOf(PROCEDURES.controlInfo, domain, (info) => this.#checked(task, info));
      case "ask":
      case "fallback":
        this.#dispatcher.passed(task);
        return this.#statsCall(task);
      case "verify":
        return callOf(PROCEDURES.lookupByUuid, domain.uuid, (found) => this.#verified(task, found));
      default:
        return undefined;
    }
  }

  #statsCall(task: DomainTask): Call {
    const { domain, statsKind } = task;
    if (this.#requests.stateOnly) {
      return callOf(PROCEDURES.state, domain, (params) => this.answered(task, { domain, params }));
    }
    const { admission, completeness } = this.#host;
    // If several processes ask an untrusted domain at the same time, the first gets the domain's job. All of these
    // calls have NOWAIT, so the calls of the other processes are answered without the job.
    const knocks = task.kind === "monitor" && completeness?.knowsNowait === true && !admission.isTrusted(domain.uuid);
    const request = knocks ? this.#requests.knock : this.#requests.for(task);
    const statsOf = (reply: StatsReply) => reply.find((each) => each.domain.uuid === domain.uuid);
    let collided = false;
    const usedMonitor = (reply: StatsReply): boolean => {
      const stats = statsOf(reply);
      collided = knocks && stats !== undefined && !completeness.hadJob(stats.domain, stats.params);
      // If the check found the state `job`, then for example a migration has the job, and does not hang in the monitor.
      // So the migration is not counted as another client's call.
      if (collided && !task.nowait) admission.collided(domain.uuid);
      return !collided;
    };
    const onAnswer = (reply: StatsReply) => {
      const stats = statsOf(reply);
      if (collided && !task.nowait && !this.#requests.nowait) this.#dispatcher.checkAgain(task);
      else if (knocks && stats !== undefined) this.answered(task, this.#requests.withoutKnock(stats));
      else this.answered(task, stats);
      if (statsKind === "monitor") this.#dispatcher.release();
    };
    return callOf(PROCEDURES.stats, { uuids: [domain.uuid], ...request }, onAnswer, usedMonitor);
  }

  /** @param info undefined if the daemon does not report the monitor's state */
  #checked(task: DomainTask, info: ControlInfo | undefined): void {
    const verdict = this.#host.admission.saw(task.domain.uuid, info);
    if (verdict === "hangs") {
      this.#fallBack(task, "busy");
    } else if (verdict === "unclear") {
      this.#dispatcher.checkAgain(task);
    } else {
      task.nowait = info?.state === ControlState.job;
      task.stage = "ask";
      this.#dispatcher.ask([task]);
    }
  }

  /** @internal */
  answered(task: DomainTask, stats: DomainStats | undefined): void {
    if (this.#done) return;
    this.#anyAnswer = true;
    if (stats === undefined) {
      task.stage = "verify";
      this.#calls.wait([task]);
      return;
    }
    const { domain, params } = stats;
    const { reason, error } = task;
    if (!this.#selects(domain.name)) {
      // The domain was renamed since it was listed. Its record has the name that matched the query.
      this.#push(task, "gone", {});
      return;
    }
    task.domain = domain;
    if (task.stage === "fallback") {
      const had = groupNames(this.#requests.for(task).groups);
      const missing = this.#requests.groups.filter((group) => !had.includes(group));
      this.#push(task, "partial", { params, reason, missing, ...(error && { error }) });
      return;
    }
    const { kind, first, unsupported } = this.#requests;
    // The groups that the hypervisor does not have, or that the daemon left out silently.
    const missing =
      kind === "free" ? unsupported : (this.#host.completeness?.missing(domain, first.groups, params) ?? []);
    if (missing.length === 0) {
      this.#push(task, "ok", { params });
    } else {
      this.#host.admission.distrust(domain.uuid);
      this.#push(task, "partial", { params, reason: unsupported.length > 0 ? "unsupported" : "busy", missing });
    }
  }

  /**
   * The daemon left an existing domain out of its answer: the domain does not pass the filters, or this client may not
   * see it.
   */
  #verified(task: DomainTask, domain: RemoteDomain): void {
    if (!this.#selects(domain.name)) {
      this.#push(task, "gone", {});
      return;
    }
    // Keeps the uuid even if the answer has another uuid. Otherwise the domain with that other uuid would get a second
    // record.
    task.domain = { ...domain, uuid: task.domain.uuid };
    if (this.#query.domains !== undefined && this.#requests.filter !== 0) {
      this.#drop(task);
    } else {
      const message = `the daemon has domain ${domain.name} (${domain.uuid}) and hides its statistics: permission domain:read`;
      this.#fail(task, "denied", new VirstreamError("denied", message));
    }
  }

  /** @internal */
  endsWith(error: VirstreamError): boolean {
    if (error.libvirt === undefined) this.lose(error);
    else if (refusesRequest(error, this.#anyAnswer)) this.end(error);
    return this.#done;
  }

  /** @internal */
  refused(task: DomainTask, error: VirstreamError): void {
    const { stage } = task;
    if (error.libvirt === undefined) {
      this.lose(error);
    } else if (stage === "ask") {
      if (!this.endsWith(error)) this.#failed(task, error);
      this.#dispatcher.release();
    } else if (stage === "check" && error.code !== "unknown-domain") {
      // The domain does not run, so it has no monitor; or this hypervisor does not report whether the monitor is busy.
      this.#checked(task, undefined);
    } else {
      this.#failed(task, error);
    }
  }

  #failed(task: DomainTask, error: VirstreamError): void {
    const { stage } = task;
    if (error.code === "unknown-domain" && task.beginNameLookup()) {
      // The query's text was read as a uuid, and no domain has it. Now the same text is looked up as a name. The check of
      // the monitor, if there was one, was for the uuid, and does not count for the domain with the name.
      this.#dispatcher.passed(task);
      this.#calls.wait([task]);
    } else if (error.code === "unknown-domain") {
      const known = stage !== "lookup" && (this.#query.domains === undefined || task.domain.name !== "");
      this.#push(task, "gone", known ? {} : { reason: "unknown", error });
    } else if (stage !== "ask" || error.code === "denied") {
      this.#fail(task, error.code === "denied" ? "denied" : "error", error);
    } else {
      const first = task.error === undefined;
      task.error = error;
      if (first) this.#calls.wait([task]);
      else this.#fallBack(task, "error");
    }
  }

  /** @internal */
  late(task: DomainTask, reason: RecordReason): void {
    // If a call got no permit by its deadline, no permit will become free in this sweep. But this does not hold for a
    // fallback call.
    const none = reason !== "timeout" && task.waitClass !== "fallback";
    this.giveUp(task, reason);
    if (none) this.#dispatcher.giveUp("busy");
  }

  /** @internal */
  giveUp(task: DomainTask, reason: RecordReason): void {
    const { stage, domain } = task;
    const possible = stage === "ask" || (stage === "check" && reason !== "timeout");
    const useful = this.#requests.fallback !== undefined && !this.#host.admission.isQuarantined(domain.uuid, "free");
    if (possible && useful) this.#fallBack(task, reason);
    else this.#fail(task, stage === "ask" ? reason : "timeout", task.lateError(this.#query.deadlineMs));
  }

  /** Asks for the groups that need no monitor. */
  #fallBack(task: DomainTask, reason: RecordReason): void {
    task.reason = reason;
    this.#dispatcher.passed(task);
    if (this.#requests.fallback !== undefined) {
      task.stage = "fallback";
      this.#calls.wait([task]);
    } else {
      this.#fail(task, reason, task.error ?? task.lateError(this.#query.deadlineMs));
    }
  }

  #push(
    task: DomainTask,
    status: RecordStatus,
    rest: Partial<Pick<DomainStatsRecord, "params" | "reason" | "missing" | "error">>,
  ): void {
    const { uuid, name } = task.domain;
    // A domain that the query names by its uuid, and that the daemon did not describe, has no known id.
    const id = name === "" ? -1 : task.domain.id;
    const { sampledAt, steadyAt, at } = task.sent ?? { sampledAt: Date.now() };
    task.stage = "done";
    this.#unsure.delete(task);
    this.#open.delete(task);
    this.queue.push(
      new DomainStatsRecord({
        domain: new Domain(uuid, name, id, this.#driver.host, this.#driver),
        params: TypedParams.EMPTY,
        status,
        sampledAt,
        steadyAt,
        tookMs: at === undefined ? 0 : Math.round((performance.now() - at) * 1_000) / 1_000,
        index: task.index,
        ...rest,
      }),
    );
    this.#dispatcher.passed(task);
    if (this.queue.length >= QUEUE_HIGH) this.#calls.hold();
    this.#settle();
  }

  #fail(task: DomainTask, reason: RecordReason, error: VirstreamError): void {
    this.#push(task, "failed", { reason, missing: this.#requests.groups, error });
  }

  /**
   * Called when a domain has its record or needs none. Ends the sweep if no domain is left and no more will be found.
   */
  #settle(): void {
    const named = this.#query.domains !== undefined && this.#unsure.size === 0;
    if (named && this.#selecting && this.#failure === undefined) {
      this.#selecting = false;
      this.#expect(this.#tasks);
    }
    if (this.#open.size === 0 && !this.#selecting) this.end(this.#failure);
  }
}
