import { VirstreamError } from "../../../model/error.ts";
import { TypedParams } from "../../../model/params.ts";
import type { Query } from "../../../model/query.ts";
import { Domain, DomainStatsRecord, type RecordReason, type RecordStatus } from "../../../model/record.ts";
import { NIL_UUID } from "../../../model/uuid.ts";
import type { SweepContext } from "../../driver.ts";
import { RecordQueue } from "../../record-queue.ts";
import { PROCEDURES, type Procedure } from "../rpc/procedures.ts";
import type { RemoteDomain } from "../rpc/remote-domain.ts";
import { refusesRequest } from "../rpc/remote-error.ts";
import type { DomainStats, StatsReply } from "../rpc/stats-reply.ts";
import type { Admission, Booking, Grantee, Line, Ticket } from "./admission.ts";
import { Alarm } from "./alarm.ts";
import type { Listings } from "./listings.ts";
import { Patience } from "./patience.ts";
import { type Plan, planOf } from "./plan.ts";
import { lateError, Task } from "./task.ts";

/** What a sweep needs of its driver. */
export interface SweepHost {
  readonly admission: Admission;
  /** The daemon's host name, for the domains. */
  readonly host: string;
  /** Who gives the domains out. */
  readonly driver: object;
  /** @param connection by admission's number */
  call<Args, Result>(procedure: Procedure<Args, Result>, args: Args, connection: number): Promise<Result>;
  /** There are more domains than slots: another connection would be of use. */
  crowded(): void;
  /** Where listings are kept for the time when libvirt cannot list. */
  readonly listings: Listings;
}

/**
 * With every slot busy from the start, the first record has to share the host's cores with all the others, and comes
 * half as fast. So one domain goes ahead, and the others follow at its answer, or after so many ms, should it be frozen.
 */
const AHEAD_MS = 20;

/**
 * Listing takes the lock of every domain in turn, and a frozen guest that is being destroyed keeps its own for ten
 * seconds. So when the listing is not there soon (healthy is 1 ms), the one before has to do, if it is recent.
 */
const RECALL_MS = 250;

/** So many records may wait to be taken before nothing new is asked. */
const QUEUE_HIGH = 64;

/**
 * One sweep: the domains, one call each, as many at a time as admission allows, a record each as its answer comes.
 *
 * A domain that does not answer in time is late. Its record then comes from the groups that need no monitor, through the
 * lane that frozen guests cannot block, and says what is missing; if even that stays out, it says that. What comes in
 * afterwards is only good for releasing the slot. When each has to have its record is Patience's matter.
 */
export class Sweep implements Grantee {
  /** What the consumer pulls. */
  readonly queue = new RecordQueue();
  /** Called once, when the sweep holds nothing any more but bookings. */
  onDone: (() => void) | undefined;

  readonly #host: SweepHost;
  readonly #query: Query;
  readonly #context: SweepContext;
  readonly #line: Line;
  readonly #patience: Patience;
  readonly #onAbort = () => this.#finish();
  readonly #plan: Plan;
  readonly #alarm = new Alarm(() => this.#check());

  readonly #tasks: Task[] = [];
  readonly #flying = new Set<Task>();
  /** Those who let others go ahead, and until when. */
  #rest: readonly Task[] = [];
  #restAt = Number.POSITIVE_INFINITY;
  /** The named domains by uuid, so that none is answered twice. */
  readonly #named = new Map<string, Task>();
  readonly #listing = new Task(-1, "list", "free", NIL_UUID, "");
  /** When an earlier listing has to do. */
  #recallAt = Number.POSITIVE_INFINITY;
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
    this.#line = host.admission.join(this);
    this.#patience = new Patience(query.deadlineMs, performance.now());
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

  // ---- admission's side

  dueAt(ticket: Ticket): number {
    return this.#patience.callDueAt((ticket as Task).turn, performance.now());
  }

  granted(ticket: Ticket, booking: Booking): void {
    const task = ticket as Task;
    const now = performance.now();
    this.#patience.left(task.turn);
    this.#patience.moved(task.turn, now);
    task.dueAt = booking.dueAt;
    task.sampledAt = Date.now();
    task.askedAt = now;
    switch (task.stage) {
      case "list":
        this.#send(task, booking, PROCEDURES.listDomains, this.#plan.filter, this.#listed);
        break;
      case "lookup":
        this.#send(task, booking, PROCEDURES.lookupByName, task.name, this.#found);
        break;
      case "ask":
      case "rescue": {
        const ask = (task.stage === "rescue" && this.#plan.rescue) || this.#plan.first;
        this.#send(task, booking, PROCEDURES.stats, { uuids: [task.uuid], ...ask }, this.#answered);
        break;
      }
      case "verify":
        this.#send(task, booking, PROCEDURES.lookupByUuid, task.uuid, this.#verified);
        break;
      case "done":
        booking.release();
    }
  }

  #send<Args, Result>(
    task: Task,
    booking: Booking,
    procedure: Procedure<Args, Result>,
    args: Args,
    onAnswer: (task: Task, result: Result) => void,
  ): void {
    const attempt = ++task.attempt;
    const { turn } = task;
    this.#flying.add(task);
    const settle = (act: () => void) => {
      // First of all the next call goes out, then the record.
      booking.release();
      if (this.#done || task.attempt !== attempt) return;
      this.#flying.delete(task);
      this.#patience.moved(turn, performance.now());
      act();
      if (turn === "slot") this.#follow();
    };
    this.#host.call(procedure, args, booking.connection).then(
      (result) => settle(() => onAnswer.call(this, task, result)),
      (error) => settle(() => this.#refused(task, VirstreamError.from(error))),
    );
    this.#alarm.by(task.dueAt);
  }

  // ---- which domains

  #list(): void {
    this.#recallAt = performance.now() + Math.min(RECALL_MS, this.#query.deadlineMs / 2);
    this.#wait([this.#listing]);
  }

  #listed(_: Task, domains: readonly RemoteDomain[]): void {
    this.#host.listings.remember(this.#plan.filter, domains);
    this.#begin(domains);
  }

  /** Gives up waiting for the listing, if there is an earlier one. */
  #recall(): void {
    this.#recallAt = Number.POSITIVE_INFINITY;
    const domains = this.#host.listings.recall(this.#plan.filter);
    if (domains === undefined) return;
    if (this.#listing.waiting) this.#patience.left("lane");
    this.#line.cancel(this.#listing);
    this.#listing.attempt++;
    this.#flying.delete(this.#listing);
    this.#begin(domains);
  }

  #begin(domains: readonly RemoteDomain[]): void {
    this.#recallAt = Number.POSITIVE_INFINITY;
    this.#patience.begin(performance.now(), domains.length);
    this.#context.expect(domains.length);
    for (const { uuid, name, id } of domains) {
      this.#tasks.push(new Task(this.#tasks.length, "ask", this.#plan.kind, uuid, name, id));
    }
    this.#left = domains.length;
    this.#enter(this.#tasks);
    this.#finishIfDone();
  }

  #select(): void {
    const selectors = this.#query.domains ?? [];
    for (const selector of selectors) {
      const index = this.#tasks.length;
      if ("uuid" in selector) {
        const task = new Task(index, "ask", this.#plan.kind, selector.uuid, "");
        this.#tasks.push(task);
        this.#named.set(selector.uuid, task);
      } else {
        this.#tasks.push(new Task(index, "lookup", "free", NIL_UUID, selector.name));
        this.#lookups++;
      }
    }
    this.#left = this.#tasks.length;
    this.#patience.begin(performance.now(), this.#left);
    if (this.#lookups === 0) this.#context.expect(this.#left);
    const lookups = this.#tasks.filter((task) => task.stage === "lookup");
    this.#enter(this.#tasks.filter((task) => task.stage === "ask"));
    this.#wait(lookups);
  }

  #found(task: Task, domain: RemoteDomain): void {
    if (this.#named.has(domain.uuid)) {
      this.#drop(task);
    } else {
      this.#named.set(domain.uuid, task);
      task.uuid = domain.uuid;
      task.id = domain.id;
      task.stage = "ask";
      task.kind = this.#plan.kind;
      this.#enter([task]);
    }
    this.#looked();
    this.#finishIfDone();
  }

  /** A name has been looked up, one way or the other. */
  #looked(): void {
    this.#lookups--;
    if (this.#lookups === 0) this.#context.expect(this.#tasks.length - this.#dropped);
  }

  // ---- asking

  /** Lets domains into the line; those that have a frozen call out already do not get as far. */
  #enter(tasks: readonly Task[]): void {
    const { admission } = this.#host;
    const idle = admission.inFlight(this.#plan.kind) === 0;
    const late = idle ? [] : tasks.filter((task) => admission.isQuarantined(task.uuid, this.#plan.kind));
    for (const task of late) this.#late(task, "quarantined");
    const asking = late.length > 0 ? tasks.filter((task) => task.stage === "ask") : tasks;
    if (this.#plan.kind === "monitor" && asking.length > admission.slots) this.#host.crowded();
    if (this.#plan.kind === "monitor" && asking.length > 1 && idle) {
      this.#rest = asking.slice(1);
      this.#restAt = performance.now() + AHEAD_MS;
      this.#wait(asking.slice(0, 1));
    } else {
      this.#wait(asking);
    }
  }

  /** The rest follows those who went ahead. */
  #follow(): void {
    const rest = this.#rest;
    if (rest.length === 0) return;
    this.#rest = [];
    this.#restAt = Number.POSITIVE_INFINITY;
    this.#wait(rest);
  }

  #wait(tasks: readonly Task[]): void {
    if (tasks.length === 0 || this.#done) return;
    this.#patience.joined(tasks[0]!.turn, tasks.length, performance.now());
    this.#line.wait(tasks);
    this.#arm();
  }

  #answered(task: Task, reply: StatsReply): void {
    this.#anyAnswer = true;
    const stats = reply.find(({ domain }) => domain.uuid === task.uuid);
    if (stats === undefined) {
      task.stage = "verify";
      task.kind = "free";
      this.#wait([task]);
      return;
    }
    this.#record(task, stats);
  }

  #record(task: Task, { domain, params }: DomainStats): void {
    task.name = domain.name;
    task.id = domain.id;
    if (task.stage === "rescue") {
      this.#push(task, "partial", { params, reason: task.reason, missing: this.#plan.missing });
    } else {
      // The daemon leaves groups out, and does not say so, when the domain's job could not be had. Telling such an answer
      // by what is missing from it belongs here.
      this.#push(task, "ok", { params });
    }
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

  #refused(task: Task, error: VirstreamError): void {
    if (error.libvirt === undefined) {
      this.lose(error);
    } else if (task.stage === "list" || (task.stage === "ask" && refusesRequest(error, this.#anyAnswer))) {
      this.#finish(error);
    } else if (error.code === "unknown-domain") {
      const known = task.stage !== "lookup" && (this.#query.domains === undefined || task.name !== "");
      this.#push(task, "gone", known ? {} : { reason: "unknown", error });
    } else {
      this.#fail(task, error.code === "denied" ? "denied" : "error", error);
    }
  }

  // ---- lateness

  #late(task: Task, reason: RecordReason): void {
    task.reason = reason;
    task.attempt++;
    this.#flying.delete(task);
    const { admission } = this.#host;
    if (task.stage === "ask" && this.#plan.rescue !== undefined && !admission.isQuarantined(task.uuid, "free")) {
      task.stage = "rescue";
      task.kind = "free";
      this.#wait([task]);
      return;
    }
    const error = lateError(task, this.#query.deadlineMs);
    if (task === this.#listing) this.#finish(error);
    else this.#fail(task, task.stage === "ask" ? reason : "timeout", error);
  }

  #check(): void {
    const now = performance.now();
    if (this.#recallAt <= now) this.#recall();
    if (this.#restAt <= now) this.#follow();
    for (const task of [...this.#flying]) {
      if (task.dueAt > now) continue;
      this.#late(task, "timeout");
      if (this.#done) return;
    }
    for (const turn of ["slot", "lane", "rescue"] as const) {
      const exhausted = turn === "slot" && this.#exhaustedAt() <= now;
      if (this.#patience.dueAt(turn) > now && !exhausted) continue;
      for (const task of this.#listing.waiting ? [this.#listing] : this.#tasks) {
        if (!task.waiting || task.turn !== turn) continue;
        this.#line.cancel(task);
        this.#patience.left(turn);
        this.#late(task, this.#host.admission.isBooked(task.uuid, task.kind) ? "quarantined" : "busy");
        if (this.#done) return;
      }
    }
    this.#arm();
  }

  /** From when on the domains that wait for a slot wait for frozen guests only. */
  #exhaustedAt(): number {
    if (this.#patience.waiting("slot") === 0 || this.#patience.held) return Number.POSITIVE_INFINITY;
    return this.#host.admission.exhaustedAt;
  }

  /** Sees to it that whatever becomes due next is noticed. */
  #arm(): void {
    if (this.#done) return;
    let at = Math.min(this.#recallAt, this.#restAt, this.#exhaustedAt());
    for (const turn of ["slot", "lane", "rescue"] as const) at = Math.min(at, this.#patience.dueAt(turn));
    for (const task of this.#flying) at = Math.min(at, task.dueAt);
    this.#alarm.by(at);
  }

  // ---- records

  #push(
    task: Task,
    status: RecordStatus,
    rest: Partial<Pick<DomainStatsRecord, "params" | "reason" | "missing" | "error">>,
  ): void {
    const now = performance.now();
    const { host, driver } = this.#host;
    if (task.stage === "lookup") this.#looked();
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
    if (this.queue.length >= QUEUE_HIGH) {
      this.#line.hold();
      this.#patience.hold(now);
    }
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
    this.#patience.go(performance.now());
    this.#line.go();
    this.#arm();
  }

  #finishIfDone(): void {
    if (this.#left === 0) this.#finish(this.#failure);
  }

  #finish(error?: VirstreamError): void {
    if (this.#done) return;
    this.#done = true;
    this.#alarm.clear();
    this.#line.close();
    this.#flying.clear();
    this.#context.signal.removeEventListener("abort", this.#onAbort);
    if (error === undefined) this.queue.end();
    else this.queue.fail(error);
    this.onDone?.();
  }
}
