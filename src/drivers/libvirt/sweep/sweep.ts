import { VirstreamError } from "../../../model/error.ts";
import { type Group, groupMask, groupNames } from "../../../model/group.ts";
import { TypedParams } from "../../../model/params.ts";
import { type Query, StatsFlag } from "../../../model/query.ts";
import { Domain, DomainStatsRecord, type RecordReason, type RecordStatus } from "../../../model/record.ts";
import { NIL_UUID } from "../../../model/uuid.ts";
import type { SweepContext } from "../../driver.ts";
import { RecordQueue } from "../../record-queue.ts";
import { type ControlInfo, ControlState, PROCEDURES } from "../rpc/procedures.ts";
import type { RemoteDomain } from "../rpc/remote-domain.ts";
import { refusesRequest } from "../rpc/remote-error.ts";
import type { DomainStats, StatsReply } from "../rpc/stats-reply.ts";
import { Alarm } from "./alarm.ts";
import { Batch, type BatchSize } from "./batch.ts";
import { type Call, Calls, type CallsHost, type CallsOwner, callOf, Late } from "./calls.ts";
import type { Completeness } from "./completeness.ts";
import type { Inquiry } from "./inquiry.ts";
import type { Inventory } from "./inventory.ts";
import { listDomains } from "./listing.ts";
import { Patience } from "./patience.ts";
import { type Ask, type Plan, planOf } from "./plan.ts";
import { lateError, Task } from "./task.ts";

/** What a sweep needs of its session. */
export interface SweepHost extends CallsHost {
  /** The daemon's host name, for the domains. */
  readonly host: string;
  /** Who gives the domains out. */
  readonly driver: object;
  /** Whether its domains have monitors that can hang, QEMU's. Without, all domains are asked in batches. */
  readonly monitors: boolean;
  /** Which domains there are, as far as is known. */
  readonly inventory: Inventory;
  /** Tells answers that lack what the monitor says; undefined where there are no monitors. */
  readonly completeness: Completeness | undefined;
  /** How many domains to ask for in one call that needs no monitor. */
  readonly batchSize: BatchSize;
  /** There are more domains than slots: another connection would be of use. */
  crowded(): void;
}

/**
 * With every slot busy from the start, the first record has to share the host's cores with all the others, and comes
 * half as fast. So one domain goes ahead, and the others follow at its answer, or after so many ms, should it be frozen.
 */
const AHEAD_MS = 20;

/**
 * Listing takes the lock of every domain in turn, and a frozen guest that is being destroyed keeps its own for ten
 * seconds. So when the listing is not there soon (healthy is 1 ms), what is known of before has to do.
 */
const RECALL_MS = 250;

/** A monitor that has been busy for so long with one command is taken to hang. Healthy is 1 to 3 ms. */
const HANGING_MS = 1_000;

/** So many domains are looked at ahead of those that are asked: enough that no slot waits, and no line is held up. */
const CHECKS_AHEAD = 8;

/** So many records may wait to be taken before nothing new is asked. */
const QUEUE_HIGH = 64;
/** So many batches are in line at a time. */
const BATCHES = 4;

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
export class Sweep implements CallsOwner {
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
  readonly #batching: boolean;

  readonly #tasks: Task[] = [];
  /** The named domains by uuid, so that none is answered twice. */
  readonly #named = new Map<string, Task>();
  /** Those who let others go ahead, and until when; nobody has gone ahead while it is undefined. */
  #rest: Task[] = [];
  #restAt: number | undefined;
  /** Those who are to be looked at first, from this position on, and how many of them are between that and being asked. */
  readonly #unchecked: Task[] = [];
  #checked = 0;
  #ahead = 0;
  /** Those who are to be asked in batches, from this position on, and how many batches are under way. */
  readonly #pool: Task[] = [];
  #pooled = 0;
  #batches = 0;
  /** When an earlier listing has to do. */
  #recallAt = Number.POSITIVE_INFINITY;
  #recalled = false;
  /** Whether more domains may come to light. */
  #listing = false;
  #announced = false;
  /** Names not looked up yet, domains that need no record, domains that have none yet. */
  #lookups = 0;
  #dropped = 0;
  #left = 0;
  #anyAnswer = false;
  #failure: VirstreamError | undefined;
  #done = false;

  constructor(host: SweepHost, query: Query, context: SweepContext) {
    this.#host = host;
    this.#query = query;
    this.#context = context;
    this.#plan = planOf(query);
    this.#batching = this.#plan.kind === "free" || !host.monitors;
    this.#patience = new Patience(query.deadlineMs, performance.now());
    this.#calls = new Calls(host, this.#patience, this);
  }

  /** Begins. What comes of it is in the queue. */
  start(): void {
    const { signal } = this.#context;
    this.queue.onReturn = this.#onAbort;
    this.queue.onTaken = () => this.#taken();
    signal.addEventListener("abort", this.#onAbort, { once: true });
    if (signal.aborted) this.#finish();
    else if (this.#query.domains === undefined) this.#list();
    else this.#select();
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
        this.#passed(task);
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
    const tasks = this.#pool.slice(this.#pooled, this.#pooled + batchSize.domains);
    if (tasks.length === 0) {
      this.#batches--;
      return undefined;
    }
    this.#pooled += tasks.length;
    batch.tasks = tasks;
    batch.dueAt = Math.min(batch.dueAt, batch.askedAt + batchSize.patienceMs(tasks.length));
    for (const task of tasks) {
      task.sampledAt = batch.sampledAt;
      task.askedAt = batch.askedAt;
    }
    const uuids = tasks.map(({ uuid }) => uuid);
    return callOf(PROCEDURES.stats, { uuids, ...this.#plan.first }, (reply) => {
      batchSize.measured(tasks.length, performance.now() - batch.askedAt);
      this.#nextBatch();
      const byUuid = new Map(reply.map((stats) => [stats.domain.uuid, stats]));
      for (const task of tasks) this.#answeredWith(task, byUuid.get(task.uuid));
    });
  }

  /** @internal */
  dueBy(at: number): void {
    this.#alarm.by(at);
  }

  // ---- which domains

  #list(): void {
    this.#listing = true;
    this.#recallAt = performance.now() + Math.min(RECALL_MS, this.#query.deadlineMs / 2);
    listDomains(this.#calls, this.#host.inventory, this.#plan.filter, (domains, total) => {
      if (!this.#recalled) this.#found(domains, total);
    }).then(
      () => this.#listed(),
      (error) => this.#listed(error),
    );
  }

  #listed(error?: unknown): void {
    if (this.#done || this.#recalled) return;
    this.#listing = false;
    this.#recallAt = Number.POSITIVE_INFINITY;
    if (error === undefined) {
      this.#finishIfDone();
    } else if (error instanceof Late) {
      const within = `within ${this.#query.deadlineMs} ms`;
      const message = `libvirt did not list its domains ${within}: it waits for one of them, or is overloaded`;
      this.#fall(new VirstreamError("deadline-exceeded", message));
    } else {
      this.#fall(VirstreamError.from(error));
    }
    this.#arm();
  }

  /** The sweep cannot go on as a whole, but the domains that are known get their records. */
  #fall(error: VirstreamError): void {
    if (this.#left === 0) this.#finish(error);
    else this.#failure = error;
  }

  /** Gives up waiting for the listing, if there is an earlier one. */
  #recall(): void {
    this.#recallAt = Number.POSITIVE_INFINITY;
    const domains = this.#announced ? undefined : this.#host.inventory.recall(this.#plan.filter);
    if (domains === undefined) return;
    this.#recalled = true;
    this.#listing = false;
    this.#found(domains, domains.length);
    this.#finishIfDone();
  }

  #found(domains: readonly RemoteDomain[], total: number): void {
    if (this.#done) return;
    if (!this.#announced) {
      this.#announced = true;
      this.#recallAt = Number.POSITIVE_INFINITY;
      this.#patience.begin(performance.now(), total);
      this.#context.expect(total);
    }
    const { kind } = this.#plan;
    const tasks = domains.map(
      ({ uuid, name, id }, i) =>
        new Task(this.#tasks.length + i, "ask", this.#batching ? "free" : kind, uuid, name, id),
    );
    for (const task of tasks) this.#tasks.push(task);
    this.#left += tasks.length;
    this.#enter(tasks);
    this.#arm();
  }

  #select(): void {
    const { kind } = this.#plan;
    const statsKind = this.#batching ? "free" : kind;
    const asking: Task[] = [];
    for (const selector of this.#query.domains ?? []) {
      const index = this.#tasks.length;
      if ("uuid" in selector) {
        const task = new Task(index, "ask", statsKind, selector.uuid, "", 0);
        this.#named.set(selector.uuid, task);
        this.#tasks.push(task);
        asking.push(task);
      } else {
        const task = new Task(index, "lookup", statsKind, NIL_UUID, selector.name);
        this.#tasks.push(task);
        this.#lookups++;
      }
    }
    this.#left = this.#tasks.length;
    this.#patience.begin(performance.now(), this.#left);
    if (this.#lookups === 0) this.#context.expect(this.#left);
    const lookups = this.#tasks.filter(({ stage }) => stage === "lookup");
    this.#enter(asking);
    for (const task of lookups) this.#lookUp(task);
  }

  #lookUp(task: Task): void {
    this.#calls.ask(PROCEDURES.lookupByName, task.name, task.key).then(
      (domain) => this.#identified(task, domain),
      (error) => {
        if (this.#done) return;
        if (error instanceof Late) this.#giveUp(task, "timeout");
        else this.refused(task, VirstreamError.from(error));
        this.#arm();
      },
    );
  }

  #identified(task: Task, domain: RemoteDomain): void {
    if (this.#done || task.stage === "done") return;
    if (this.#named.has(domain.uuid)) {
      this.#drop(task);
    } else {
      this.#named.set(domain.uuid, task);
      task.uuid = domain.uuid;
      task.id = domain.id;
      task.stage = "ask";
      this.#enter([task]);
    }
    this.#resolved();
    this.#finishIfDone();
    this.#arm();
  }

  /** A name has been looked up, one way or the other. */
  #resolved(): void {
    this.#lookups--;
    if (this.#lookups === 0) this.#context.expect(this.#tasks.length - this.#dropped);
  }

  // ---- asking

  /** Lets domains into the line; those that have a frozen call out already do not get as far. */
  #enter(tasks: readonly Task[]): void {
    const { admission, owner } = this.#host;
    const kind = tasks[0]?.kind;
    if (kind === undefined) return;
    const asking: Task[] = [];
    const unchecked: Task[] = [];
    for (const task of tasks) {
      if (admission.isQuarantined(task.uuid, kind)) this.#giveUp(task, "quarantined");
      else if (kind === "monitor" && task.id !== -1 && !admission.isTrusted(task.uuid)) unchecked.push(task);
      else asking.push(task);
    }
    if (kind === "monitor" && asking.length + unchecked.length > admission.slotsOf(owner)) this.#host.crowded();
    if (this.#batching) {
      this.#fill(asking);
    } else {
      this.#ask(asking);
      for (const task of unchecked) this.#unchecked.push(task);
      this.#lookAtNext();
    }
  }

  /** Looks at the next domains, without using their monitors. */
  #lookAtNext(): void {
    while (this.#ahead < CHECKS_AHEAD && this.#checked < this.#unchecked.length) {
      const task = this.#unchecked[this.#checked++]!;
      this.#ahead++;
      task.ahead = true;
      task.stage = "check";
      this.#wait([task]);
    }
  }

  /** A domain that was looked at has been asked, or will not be: there is room for the next. */
  #passed(task: Task): void {
    if (!task.ahead) return;
    task.ahead = false;
    this.#ahead--;
    this.#lookAtNext();
  }

  /** One goes ahead, the rest waits for it. */
  #ask(tasks: readonly Task[]): void {
    if (tasks.length === 0) return;
    if (this.#restAt === undefined && this.#tasks.length > 1 && this.#host.admission.inFlight("monitor") === 0) {
      this.#restAt = performance.now() + AHEAD_MS;
      this.#rest = tasks.slice(1);
      this.#wait(tasks.slice(0, 1));
    } else if (this.#restAt !== undefined && this.#restAt !== Number.POSITIVE_INFINITY) {
      this.#rest.push(...tasks);
    } else {
      this.#restAt = Number.POSITIVE_INFINITY;
      this.#wait(tasks);
    }
  }

  /** The rest follows those who went ahead. */
  #follow(): void {
    this.#restAt = Number.POSITIVE_INFINITY;
    const rest = this.#rest;
    this.#rest = [];
    this.#wait(rest);
  }

  /** Puts domains into the pool that batches take from. */
  #fill(tasks: readonly Task[]): void {
    for (const task of tasks) this.#pool.push(task);
    for (let left = tasks.length; left > 0 && this.#batches < BATCHES; left -= this.#host.batchSize.domains) {
      this.#batches++;
      this.#wait([new Batch()]);
    }
  }

  #nextBatch(): void {
    if (this.#pooled < this.#pool.length) this.#wait([new Batch()]);
    else this.#batches--;
  }

  /** Asks the domains of a batch each for itself, and goes on with the others. */
  #takeApart({ tasks }: Batch): void {
    this.#host.batchSize.failed();
    this.#wait(tasks);
    this.#nextBatch();
  }

  #wait(inquiries: readonly Inquiry[]): void {
    if (this.#done) return;
    this.#calls.wait(inquiries);
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
    this.#ask([task]);
  }

  #answered(task: Task, reply: StatsReply): void {
    this.#answeredWith(
      task,
      reply.find(({ domain }) => domain.uuid === task.uuid),
    );
    if (task.statsKind === "monitor") this.#follow();
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
      this.#drop(task);
      this.#finishIfDone();
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
    else this.#takeApart(batch);
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
    if (stage === "ask") this.#follow();
  }

  // ---- lateness

  /** @internal */
  late(inquiry: Inquiry, reason: RecordReason): void {
    if (inquiry instanceof Batch) {
      if (inquiry.tasks.length > 0) this.#takeApart(inquiry);
      else this.#drain(reason);
      return;
    }
    // Nobody is asked any more in this sweep: neither are those who were not even looked at yet.
    const rest = reason === "timeout" ? [] : this.#unchecked.slice(this.#checked);
    this.#checked += rest.length;
    this.#giveUp(inquiry as Task, reason);
    for (const task of rest) this.#giveUp(task, "busy");
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

  /** No batch can be asked for: nobody in the pool can. */
  #drain(reason: RecordReason): void {
    this.#batches--;
    const tasks = this.#pool.slice(this.#pooled);
    this.#pooled = this.#pool.length;
    for (const task of tasks) this.#giveUp(task, reason);
  }

  /** Asks for what needs no monitor. */
  #rescue(task: Task, reason: RecordReason): void {
    task.reason = reason;
    this.#passed(task);
    if (this.#plan.rescue === undefined) {
      this.#fail(task, reason, task.error ?? lateError(task, this.#query.deadlineMs));
      return;
    }
    task.stage = "rescue";
    this.#wait([task]);
  }

  #check(): void {
    const now = performance.now();
    if (this.#recallAt <= now) this.#recall();
    if (this.#restAt !== undefined && this.#restAt <= now) this.#follow();
    this.#calls.check(now);
    this.#arm();
  }

  /** Sees to it that whatever becomes due next is noticed. */
  #arm(): void {
    if (this.#done) return;
    this.#alarm.by(Math.min(this.#recallAt, this.#restAt ?? Number.POSITIVE_INFINITY, this.#calls.dueAt));
  }

  // ---- records

  #push(
    task: Task,
    status: RecordStatus,
    rest: Partial<Pick<DomainStatsRecord, "params" | "reason" | "missing" | "error">>,
  ): void {
    const now = performance.now();
    const { host, driver } = this.#host;
    if (task.stage === "lookup") this.#resolved();
    this.#passed(task);
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
    if (this.queue.length >= QUEUE_HIGH) this.#calls.hold();
    this.#finishIfDone();
  }

  #fail(task: Task, reason: RecordReason, error: VirstreamError): void {
    this.#push(task, "failed", { reason, missing: this.#plan.groups, error });
  }

  /** Leaves a domain without a record: it does not pass the filters, or was named twice. */
  #drop(task: Task): void {
    task.stage = "done";
    this.#dropped++;
    this.#left--;
  }

  #taken(): void {
    if (this.#done || !this.#patience.held) return;
    this.#calls.go();
    this.#arm();
  }

  #finishIfDone(): void {
    if (this.#left === 0 && !this.#listing) this.#finish(this.#failure);
  }

  #finish(error?: VirstreamError): void {
    if (this.#done) return;
    this.#done = true;
    this.#alarm.clear();
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
