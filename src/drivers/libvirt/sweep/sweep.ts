import type { SweepContext } from "../../../driver/driver.ts";
import { RecordQueue } from "../../../driver/record-queue.ts";
import { VirstreamError } from "../../../model/error.ts";
import { type Group, groupMask, groupNames } from "../../../model/group.ts";
import { TypedParams } from "../../../model/params.ts";
import { type Query, StatsFlag } from "../../../model/query.ts";
import { Domain, DomainStatsRecord, type RecordReason, type RecordStatus } from "../../../model/record.ts";
import { type ControlInfo, ControlState, PROCEDURES } from "../rpc/procedures.ts";
import type { RemoteDomain } from "../rpc/remote-domain.ts";
import { refusesRequest } from "../rpc/remote-error.ts";
import type { DomainStats, StatsReply } from "../rpc/stats-reply.ts";
import { Alarm } from "./alarm.ts";
import { Batch } from "./batch.ts";
import { type Call, Calls, type CallsOwner, callOf } from "./calls.ts";
import type { Completeness } from "./completeness.ts";
import type { Inquiry } from "./inquiry.ts";
import { Lineup, type LineupHost } from "./lineup.ts";
import { Patience } from "./patience.ts";
import { type Ask, type Plan, planOf } from "./plan.ts";
import { Selection, type SelectionHost, type SelectionOwner } from "./selection.ts";
import { lateError, type Task } from "./task.ts";

/** What a sweep needs of its session. */
export interface SweepHost extends LineupHost, SelectionHost {
  /** The daemon's host name, for the domains. */
  readonly host: string;
  /** Who gives the domains out. */
  readonly driver: object;
  /** Whether its domains have monitors that can hang, QEMU's. Without, all domains are asked in batches. */
  readonly monitors: boolean;
  /** Tells answers that lack what the monitor says; undefined where there are no monitors. */
  readonly completeness: Completeness | undefined;
}

/** A monitor that has been busy for so long with one command is taken to hang. Healthy is 1 to 3 ms. */
const HANGING_MS = 1_000;

/** So many records may wait to be taken before nothing new is asked. */
const QUEUE_HIGH = 64;

/**
 * One sweep: the domains, one call each, as many at a time as admission allows, a record each as its answer comes.
 *
 * A domain whose monitor is not known to answer is looked at first, without using the monitor: should a call of somebody
 * else hang there, ours does not join it. A domain that does not answer in time is late. Its record then comes from the
 * groups that need no monitor, through the lane that frozen guests cannot block, and says what is missing; if even that
 * stays out, it says that. What comes in afterwards is only good for releasing the slot. When each has to have its record
 * is Patience's matter. A domain whose statistics fail (its guest may have died under the call) is asked once more, and
 * then makes do with those groups, too. Where no monitor is needed, domains are asked in batches.
 */
export class Sweep implements CallsOwner, SelectionOwner {
  /** What the consumer pulls. */
  readonly queue = new RecordQueue();
  /** Called once, when the sweep holds nothing any more but bookings. */
  onDone: (() => void) | undefined;

  readonly #host: SweepHost;
  readonly #query: Query;
  readonly #context: SweepContext;
  readonly #plan: Plan;
  readonly #patience: Patience;
  readonly #calls: Calls;
  readonly #onAbort = () => this.#finish();
  readonly #alarm = new Alarm(() => this.#check());
  readonly #selection: Selection;
  readonly #lineup: Lineup;
  readonly #tasks: Task[] = [];
  /** Whether more domains may come to light. */
  #selecting = true;
  /** Domains that have no record yet. */
  #left = 0;
  #anyAnswer = false;
  #failure: VirstreamError | undefined;
  #done = false;

  constructor(host: SweepHost, query: Query, context: SweepContext) {
    this.#host = host;
    this.#query = query;
    this.#context = context;
    this.#plan = planOf(query);
    this.#patience = new Patience(query.deadlineMs, performance.now());
    this.#calls = new Calls(host, this.#patience, this);
    const statsKind = host.monitors ? this.#plan.kind : "free";
    this.#selection = new Selection(host, this.#calls, query, this.#plan, statsKind, this);
    this.#lineup = new Lineup(host, this.#calls, statsKind, (task, reason) => this.#giveUp(task, reason));
  }

  /**
   * Begins. What comes of it is in the queue.
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
    this.#patience.begin(performance.now(), this.#query.domains?.length ?? 0);
    this.#selection.start();
    this.#arm();
  }

  /** The connection is gone: every domain that has no record yet gets one that says so, then the sweep fails. */
  lose(error: VirstreamError): void {
    if (this.#done) return;
    this.#failure = error;
    for (const task of this.#tasks) if (task.stage !== "done") this.#fail(task, "error", error);
    this.#finish(error);
  }

  /** The driver was closed. */
  close(error: VirstreamError): void {
    this.#finish(error);
  }

  // ---- what is asked

  /** @internal */
  callFor(inquiry: Inquiry): Call | undefined {
    if (inquiry instanceof Batch) return this.#batchCall(inquiry);
    const task = inquiry as Task;
    const answered = (reply: StatsReply): void => this.#answered(task, reply);
    switch (task.stage) {
      case "check":
        return callOf(PROCEDURES.controlInfo, task, (info) => this.#looked(task, info));
      case "ask":
        this.#lineup.passed(task);
        return callOf(PROCEDURES.stats, { uuids: [task.uuid], ...hurry(this.#plan.first, task) }, answered);
      case "rescue":
        return callOf(PROCEDURES.stats, { uuids: [task.uuid], ...this.#rescueOf(task) }, answered);
      case "verify":
        return callOf(PROCEDURES.lookupByUuid, task.uuid, (domain) => this.#verified(task, domain));
      default:
        return undefined;
    }
  }

  #rescueOf({ error }: Task): Ask {
    const rescue = this.#plan.rescue ?? this.#plan.first;
    // Before libvirt 11, a counter of perf that cannot be read fails the call: what has failed is asked without it.
    const groups = error === undefined ? rescue.groups : rescue.groups & ~groupMask(["perf"]) || rescue.groups;
    return { ...rescue, groups };
  }

  #batchCall(batch: Batch): Call | undefined {
    const { batchSize } = this.#host;
    const tasks = this.#lineup.take();
    if (tasks.length === 0) return undefined;
    batch.tasks = tasks;
    batch.dueAt = Math.min(batch.dueAt, batch.askedAt + batchSize.patienceMs(tasks.length));
    for (const task of tasks) {
      task.sampledAt = batch.sampledAt;
      task.askedAt = batch.askedAt;
    }
    const uuids = tasks.map(({ uuid }) => uuid);
    return callOf(PROCEDURES.stats, { uuids, ...this.#plan.first }, (reply) => {
      const largest = reply.reduce((most, { params }) => Math.max(most, params.size), 1);
      batchSize.measured(tasks.length, performance.now() - batch.askedAt, largest);
      this.#lineup.next();
      const byUuid = new Map(reply.map((stats) => [stats.domain.uuid, stats]));
      for (const task of tasks) this.#answeredWith(task, byUuid.get(task.uuid));
    });
  }

  /** @internal */
  dueBy(at: number): void {
    this.#alarm.by(at);
  }

  // ---- which domains

  /** @internal */
  expect(domains: number): void {
    this.#patience.begin(performance.now(), domains);
    this.#context.expect(domains);
  }

  /** @internal */
  add(tasks: readonly Task[]): void {
    for (const task of tasks) this.#tasks.push(task);
    this.#left += tasks.length;
  }

  /** @internal */
  enter(tasks: readonly Task[]): void {
    this.#lineup.enter(tasks);
    this.#arm();
  }

  /** @internal */
  drop(task: Task): void {
    task.stage = "done";
    this.#left--;
    this.#finishIfDone();
  }

  /** @internal */
  unknown(task: Task, error: VirstreamError | undefined): void {
    if (error === undefined) this.#giveUp(task, "timeout");
    else this.refused(task, error);
    this.#arm();
  }

  /** @internal The sweep cannot go on as a whole, but the domains that are known get their records. */
  fail(error: VirstreamError): void {
    this.#failure = error;
    this.selected();
  }

  /** @internal */
  selected(): void {
    this.#selecting = false;
    this.#finishIfDone();
    this.#arm();
  }

  // ---- answers

  #looked(task: Task, info: ControlInfo | undefined): void {
    if (info?.state === ControlState.occupied && info.forMs >= HANGING_MS) {
      this.#rescue(task, "busy");
      return;
    }
    task.hurried = info?.state === ControlState.job;
    task.stage = "ask";
    this.#lineup.ask([task]);
    this.#arm();
  }

  #answered(task: Task, reply: StatsReply): void {
    this.#answeredWith(
      task,
      reply.find(({ domain }) => domain.uuid === task.uuid),
    );
    if (task.statsKind === "monitor") this.#lineup.follow();
  }

  #answeredWith(task: Task, stats: DomainStats | undefined): void {
    if (this.#done) return;
    this.#anyAnswer = true;
    if (stats === undefined) {
      task.stage = "verify";
      this.#wait([task]);
      return;
    }
    const { params } = stats;
    task.name = stats.domain.name;
    task.id = stats.domain.id;
    if (task.stage === "rescue") {
      const { reason, error } = task;
      const had = groupNames(this.#rescueOf(task).groups);
      const missing = this.#plan.groups.filter((group) => !had.includes(group));
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

  /** What the daemon has left out without saying so. */
  #missing({ domain, params }: DomainStats): readonly Group[] {
    const { completeness } = this.#host;
    if (completeness === undefined || this.#plan.kind === "free") return [];
    return completeness.missing(domain, this.#plan.first.groups, params);
  }

  /** The daemon answered without this domain: it is gone, or does not pass the filters, or is hidden from us. */
  #verified(task: Task, domain: RemoteDomain): void {
    task.name = domain.name;
    task.id = domain.id;
    if (this.#query.domains !== undefined && this.#plan.filter !== 0) {
      this.drop(task);
    } else {
      const message = `the daemon has domain ${domain.name} (${domain.uuid}) and hides its statistics: permission domain:read`;
      this.#fail(task, "denied", new VirstreamError("denied", message));
    }
  }

  /** @internal */
  refused(inquiry: Inquiry, error: VirstreamError): void {
    if (error.libvirt === undefined) this.lose(error);
    else if (inquiry instanceof Batch) this.#refusedBatch(inquiry, error);
    else this.#refusedTask(inquiry as Task, error);
  }

  #refusedBatch(batch: Batch, error: VirstreamError): void {
    if (refusesRequest(error, this.#anyAnswer)) this.#finish(error);
    else this.#lineup.takeApart(batch);
  }

  #refusedTask(task: Task, error: VirstreamError): void {
    const { stage } = task;
    if (stage === "ask" && refusesRequest(error, this.#anyAnswer)) {
      this.#finish(error);
    } else if (error.code === "unknown-domain") {
      const known = stage !== "lookup" && (this.#query.domains === undefined || task.name !== "");
      this.#push(task, "gone", known ? {} : { reason: "unknown", error });
    } else if (stage === "check") {
      // It does not run, or the daemon cannot tell: then there is no monitor to hang, or no way to know.
      this.#looked(task, undefined);
    } else if (error.code === "denied") {
      this.#fail(task, "denied", error);
    } else if (stage === "ask" && task.error === undefined) {
      task.error = error;
      this.#wait([task]);
    } else if (stage === "ask" && this.#plan.rescue !== undefined) {
      task.error = error;
      this.#rescue(task, "error");
    } else {
      this.#fail(task, "error", error);
    }
    if (stage === "ask") this.#lineup.follow();
  }

  // ---- lateness

  /** @internal */
  late(inquiry: Inquiry, reason: RecordReason): void {
    if (inquiry instanceof Batch) {
      if (inquiry.tasks.length > 0) this.#lineup.takeApart(inquiry);
      else this.#lineup.forgo(reason);
      return;
    }
    // Who waited in vain to be asked tells that nobody is any more in this sweep, least of all who is not in line yet. Who
    // waited to be rescued tells nothing of that.
    const nobodyIs = reason !== "timeout" && inquiry.turn !== "rescue";
    this.#giveUp(inquiry as Task, reason);
    if (nobodyIs) this.#lineup.drain("busy");
  }

  #giveUp(task: Task, reason: RecordReason): void {
    const { stage } = task;
    const rescuable = stage === "ask" || (stage === "check" && reason !== "timeout");
    if (rescuable && this.#plan.rescue !== undefined && !this.#host.admission.isQuarantined(task.uuid, "free")) {
      this.#rescue(task, reason);
    } else {
      this.#fail(task, stage === "ask" ? reason : "timeout", lateError(task, this.#query.deadlineMs));
    }
  }

  /** Asks for what needs no monitor. */
  #rescue(task: Task, reason: RecordReason): void {
    task.reason = reason;
    this.#lineup.passed(task);
    if (this.#plan.rescue === undefined) {
      this.#fail(task, reason, task.error ?? lateError(task, this.#query.deadlineMs));
      return;
    }
    task.stage = "rescue";
    this.#wait([task]);
  }

  #wait(inquiries: readonly Inquiry[]): void {
    this.#calls.wait(inquiries);
    this.#arm();
  }

  #check(): void {
    const now = performance.now();
    this.#selection.check(now);
    this.#lineup.check(now);
    this.#calls.check(now);
    this.#arm();
  }

  /** Sees to it that whatever becomes due next is noticed. */
  #arm(): void {
    if (this.#done) return;
    this.#alarm.by(Math.min(this.#selection.dueAt, this.#lineup.dueAt, this.#calls.dueAt));
  }

  // ---- records

  #push(
    task: Task,
    status: RecordStatus,
    rest: Partial<Pick<DomainStatsRecord, "params" | "reason" | "missing" | "error">>,
  ): void {
    const now = performance.now();
    const { host, driver } = this.#host;
    task.stage = "done";
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
    this.#left--;
    this.#lineup.passed(task);
    if (this.queue.length >= QUEUE_HIGH) this.#calls.hold();
    this.#finishIfDone();
  }

  #fail(task: Task, reason: RecordReason, error: VirstreamError): void {
    this.#push(task, "failed", { reason, missing: this.#plan.groups, error });
  }

  #taken(): void {
    if (this.#done || !this.#patience.held) return;
    this.#calls.go();
    this.#arm();
  }

  #finishIfDone(): void {
    if (this.#left === 0 && !this.#selecting) this.#finish(this.#failure);
  }

  #finish(error?: VirstreamError): void {
    if (this.#done) return;
    this.#done = true;
    this.#alarm.clear();
    this.#selection.close();
    this.#calls.close();
    this.#context.signal.removeEventListener("abort", this.#onAbort);
    if (error === undefined) this.queue.end();
    else this.queue.fail(error);
    this.onDone?.();
  }
}

/** A domain whose monitor is busy with a job is asked without waiting for its end. */
function hurry(ask: Ask, { hurried }: Task): Ask {
  return hurried ? { ...ask, flags: (ask.flags | StatsFlag.nowait) >>> 0 } : ask;
}
