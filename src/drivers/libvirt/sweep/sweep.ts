import type { SweepContext } from "../../../driver/driver.ts";
import { Queue } from "../../../driver/queue.ts";
import { VirstreamError } from "../../../model/error.ts";
import { type Group, groupNames } from "../../../model/group.ts";
import { TypedParams } from "../../../model/params.ts";
import type { Query } from "../../../model/query.ts";
import { Domain, DomainStatsRecord, type RecordReason, type RecordStatus } from "../../../model/record.ts";
import { type ControlInfo, ControlState, PROCEDURES } from "../rpc/procedures.ts";
import type { RemoteDomain } from "../rpc/remote-domain.ts";
import { refusesRequest } from "../rpc/remote-error.ts";
import type { DomainStats, StatsReply } from "../rpc/stats-reply.ts";
import { type Call, Calls, callOf } from "./calls.ts";
import type { Completeness } from "./completeness.ts";
import { Deadlines, EarliestTimer } from "./deadlines.ts";
import { Dispatcher, type DispatcherHost, type DispatcherOwner } from "./dispatcher.ts";
import { type DomainTask, StatsRequests } from "./domain-task.ts";
import { Domains, type DomainsHost, type DomainsOwner } from "./domains.ts";

/** The parts of the session that a sweep uses. */
export interface SweepHost extends DispatcherHost, DomainsHost {
  /** The daemon's host name, for the domains. */
  readonly host: string;
  /** The driver that the domains belong to. */
  readonly driver: object;
  /** Whether the domains have monitors that can hang, as QEMU's do. If not, all domains are asked in batches. */
  readonly monitors: boolean;
  /** Finds out what an answer lacks; undefined where there are no monitors. */
  readonly completeness: Completeness | undefined;
}

/** A monitor that has been busy with one command for this many ms is taken to hang. A healthy one takes 1 to 3 ms. */
const HANGING_MS = 1_000;

/** High-water mark of the queue: while this many records wait to be taken, nothing new is asked. */
const QUEUE_HIGH = 64;

/**
 * One sweep: finds the domains, asks each for its statistics, as many at a time as admission allows, and makes one
 * record of each answer as it comes.
 *
 * A domain whose monitor is not known to answer is checked first, without using the monitor. If another client's call
 * hangs there, ours must not join it. A domain that does not answer in time is late: see Deadlines. Its record then
 * comes from the groups that need no monitor, by a call through the lane that frozen guests cannot block, and says what
 * is missing. If that call is late, too, the record says so. An answer that comes later only releases its permit. A
 * domain whose statistics fail (its guest may have died under the call) is asked once more; after a second failure its
 * record comes from those groups, too. Where no monitor is needed, domains are asked in batches.
 */
export class Sweep implements DomainsOwner, DispatcherOwner {
  /** The records, for the consumer to pull. */
  readonly queue = new Queue<DomainStatsRecord>();
  /** Called once, when the sweep has ended. Its unanswered calls may still hold permits. */
  onDone: (() => void) | undefined;

  readonly #host: SweepHost;
  readonly #query: Query;
  readonly #context: SweepContext;
  readonly #requests: StatsRequests;
  readonly #deadlines: Deadlines;
  readonly #calls: Calls;
  readonly #domains: Domains;
  readonly #dispatcher: Dispatcher;
  readonly #timer = new EarliestTimer(() => this.#check());
  readonly #onAbort = () => this.#finish();
  /** Domains that have no record yet. */
  readonly #open = new Set<DomainTask>();
  /** Whether more domains may be found. */
  #selecting = true;
  #anyAnswer = false;
  #failure: VirstreamError | undefined;
  #done = false;

  constructor(host: SweepHost, query: Query, context: SweepContext) {
    this.#host = host;
    this.#query = query;
    this.#context = context;
    this.#requests = new StatsRequests(query, host.monitors);
    this.#deadlines = new Deadlines(query.deadlineMs, performance.now());
    this.#calls = new Calls(host, this.#deadlines, (at) => this.#timer.by(at));
    this.#domains = new Domains(host, this.#calls, query, this.#requests, this);
    this.#dispatcher = new Dispatcher(host, this.#calls, this.#requests, this);
  }

  /**
   * Begins. The records come through the queue.
   *
   * @param ready what to wait for before anything is asked; it must not reject
   */
  start(ready?: Promise<void>): void {
    const { signal } = this.#context;
    this.queue.onReturn = this.#onAbort;
    this.queue.onTaken = () => this.#taken();
    signal.addEventListener("abort", this.#onAbort, { once: true });
    if (signal.aborted) this.#finish();
    else if (ready === undefined) this.#begin();
    else ready.then(() => this.#begin());
  }

  #begin(): void {
    if (this.#done) return;
    this.#deadlines.begin(performance.now(), this.#query.domains?.length ?? 0);
    this.#domains.start();
    this.#arm();
  }

  /** The connection is lost: every domain that has no record yet gets one that says so, then the sweep fails. */
  lose(error: VirstreamError): void {
    if (this.#done) return;
    this.#failure = error;
    for (const task of this.#open) this.#fail(task, "error", error);
    this.#finish(error);
  }

  /** The driver was closed. */
  close(error: VirstreamError): void {
    this.#finish(error);
  }

  // ---- which domains

  /** @internal */
  expect(domains: number): void {
    this.#deadlines.begin(performance.now(), domains);
    this.#context.expect(domains);
  }

  /** @internal */
  add(tasks: readonly DomainTask[]): void {
    for (const task of tasks) this.#open.add(task);
  }

  /** @internal */
  enter(tasks: readonly DomainTask[]): void {
    this.add(tasks);
    this.#dispatcher.enter(tasks);
    this.#arm();
  }

  /** @internal */
  drop(task: DomainTask): void {
    task.stage = "done";
    this.#open.delete(task);
    this.#finishIfDone();
  }

  /** @internal After an error, the domains that are known still get their records. */
  selected(error?: VirstreamError): void {
    this.#failure = error;
    this.#selecting = false;
    this.#finishIfDone();
    this.#arm();
  }

  // ---- calls and answers

  /** @internal */
  callFor(task: DomainTask): Call | undefined {
    const { uuid } = task;
    switch (task.stage) {
      case "check":
        return callOf(PROCEDURES.controlInfo, task, (info) => this.#checked(task, info));
      case "ask":
        this.#dispatcher.passed(task);
        return this.#statsCall(task);
      case "fallback":
        return this.#statsCall(task);
      case "verify":
        return callOf(PROCEDURES.lookupByUuid, uuid, (domain) => this.#verified(task, domain));
      default:
        return undefined;
    }
  }

  #statsCall(task: DomainTask): Call {
    const { uuid, statsKind } = task;
    return callOf(PROCEDURES.stats, { uuids: [uuid], ...this.#requests.for(task) }, (reply: StatsReply) => {
      this.answered(
        task,
        reply.find(({ domain }) => domain.uuid === uuid),
      );
      if (statsKind === "monitor") this.#dispatcher.release();
    });
  }

  /** @param info undefined where the daemon does not say */
  #checked(task: DomainTask, info: ControlInfo | undefined): void {
    if (info?.state === ControlState.occupied && info.forMs >= HANGING_MS) {
      this.#fallBack(task, "busy");
      return;
    }
    task.nowait = info?.state === ControlState.job;
    task.stage = "ask";
    this.#dispatcher.ask([task]);
    this.#arm();
  }

  /** @internal */
  answered(task: DomainTask, stats: DomainStats | undefined): void {
    if (this.#done) return;
    this.#anyAnswer = true;
    if (stats === undefined) {
      task.stage = "verify";
      this.#wait(task);
      return;
    }
    const { domain, params } = stats;
    const { reason, error } = task;
    task.name = domain.name;
    task.id = domain.id;
    if (task.stage === "fallback") {
      const had = groupNames(this.#requests.for(task).groups);
      const missing = this.#requests.groups.filter((group) => !had.includes(group));
      this.#push(task, "partial", { params, reason, missing, ...(error && { error }) });
      return;
    }
    const missing = this.#missing(stats);
    if (missing.length === 0) {
      this.#push(task, "ok", { params });
    } else {
      this.#host.admission.distrust(task.uuid);
      this.#push(task, "partial", { params, reason: "busy", missing });
    }
  }

  /** The groups that the daemon has omitted without saying so. */
  #missing({ domain, params }: DomainStats): readonly Group[] {
    const { completeness } = this.#host;
    const { kind, first } = this.#requests;
    return completeness === undefined || kind === "free" ? [] : completeness.missing(domain, first.groups, params);
  }

  /** The daemon left an existing domain out of its answer: it does not pass the filters, or is hidden from us. */
  #verified(task: DomainTask, domain: RemoteDomain): void {
    task.name = domain.name;
    task.id = domain.id;
    if (this.#query.domains !== undefined && this.#requests.filter !== 0) {
      this.drop(task);
    } else {
      const message = `the daemon has domain ${domain.name} (${domain.uuid}) and hides its statistics: permission domain:read`;
      this.#fail(task, "denied", new VirstreamError("denied", message));
    }
  }

  /** @internal */
  endsWith(error: VirstreamError): boolean {
    if (error.libvirt === undefined) this.lose(error);
    else if (refusesRequest(error, this.#anyAnswer)) this.#finish(error);
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
      // It does not run, or the daemon cannot tell: then there is no monitor to hang, or no way to know.
      this.#checked(task, undefined);
    } else {
      this.#failed(task, error);
    }
  }

  #failed(task: DomainTask, error: VirstreamError): void {
    const { stage } = task;
    if (error.code === "unknown-domain") {
      const known = stage !== "lookup" && (this.#query.domains === undefined || task.name !== "");
      this.#push(task, "gone", known ? {} : { reason: "unknown", error });
    } else if (stage !== "ask" || error.code === "denied") {
      this.#fail(task, error.code === "denied" ? "denied" : "error", error);
    } else if (task.error === undefined) {
      task.error = error;
      this.#wait(task);
    } else {
      task.error = error;
      this.#fallBack(task, "error");
    }
  }

  // ---- lateness

  /** @internal */
  late(task: DomainTask, reason: RecordReason): void {
    // A call that timed out waiting for a permit means that no permit will free up in this sweep. Only the wait for a
    // fallback says nothing about the others.
    const none = reason !== "timeout" && task.waitClass !== "fallback";
    this.giveUp(task, reason);
    if (none) this.#dispatcher.giveUp("busy");
  }

  /** @internal */
  giveUp(task: DomainTask, reason: RecordReason): void {
    const { stage, uuid } = task;
    const possible = stage === "ask" || (stage === "check" && reason !== "timeout");
    const worthwhile = this.#requests.fallback !== undefined && !this.#host.admission.isQuarantined(uuid, "free");
    if (possible && worthwhile) this.#fallBack(task, reason);
    else this.#fail(task, stage === "ask" ? reason : "timeout", task.lateError(this.#query.deadlineMs));
  }

  /** Asks for the groups that need no monitor. */
  #fallBack(task: DomainTask, reason: RecordReason): void {
    task.reason = reason;
    this.#dispatcher.passed(task);
    if (this.#requests.fallback === undefined) {
      this.#fail(task, reason, task.error ?? task.lateError(this.#query.deadlineMs));
      return;
    }
    task.stage = "fallback";
    this.#wait(task);
  }

  #wait(task: DomainTask): void {
    this.#calls.wait([task]);
    this.#arm();
  }

  #check(): void {
    const now = performance.now();
    this.#domains.check(now);
    this.#dispatcher.check(now);
    this.#calls.check(now);
    this.#arm();
  }

  /** Sets the timer for the next deadline. */
  #arm(): void {
    if (!this.#done) this.#timer.by(Math.min(this.#domains.dueAt, this.#dispatcher.dueAt, this.#calls.dueAt));
  }

  // ---- records

  #push(
    task: DomainTask,
    status: RecordStatus,
    rest: Partial<Pick<DomainStatsRecord, "params" | "reason" | "missing" | "error">>,
  ): void {
    const now = performance.now();
    const { host, driver } = this.#host;
    task.stage = "done";
    this.#open.delete(task);
    this.queue.push(
      new DomainStatsRecord({
        domain: new Domain(task.uuid, task.name, task.id, host, driver),
        params: TypedParams.EMPTY,
        status,
        sampledAt: task.sampledAt || Date.now(),
        tookMs: task.askedAt === 0 ? 0 : Math.round((now - task.askedAt) * 1_000) / 1_000,
        index: task.index,
        ...rest,
      }),
    );
    this.#dispatcher.passed(task);
    if (this.queue.length >= QUEUE_HIGH) this.#calls.hold();
    this.#finishIfDone();
  }

  #fail(task: DomainTask, reason: RecordReason, error: VirstreamError): void {
    this.#push(task, "failed", { reason, missing: this.#requests.groups, error });
  }

  #taken(): void {
    if (this.#done || !this.#deadlines.held) return;
    this.#calls.resume();
    this.#arm();
  }

  #finishIfDone(): void {
    if (this.#open.size === 0 && !this.#selecting) this.#finish(this.#failure);
  }

  #finish(error?: VirstreamError): void {
    if (this.#done) return;
    this.#done = true;
    this.#timer.clear();
    this.#domains.close();
    this.#calls.close();
    this.#context.signal.removeEventListener("abort", this.#onAbort);
    this.queue.end(error);
    this.onDone?.();
  }
}
