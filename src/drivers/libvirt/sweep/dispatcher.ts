import { sleep } from "../../../driver/clock.ts";
import type { VirstreamError } from "../../../model/error.ts";
import type { RecordReason } from "../../../model/record.ts";
import { PROCEDURES } from "../rpc/procedures.ts";
import type { DomainStats } from "../rpc/stats-reply.ts";
import { type Call, type CallHandler, type Calls, callOf, FreeCall, type SweepHost } from "./calls.ts";
import type { DomainTask, StatsRequests } from "./domain-task.ts";

/**
 * If the sweep used every slot from the start, its calls would share the host's cores, and the first record would take
 * twice as long. So the sweep asks one domain first. It asks the other domains when the first one has answered, or
 * after this many ms, because the first domain may be frozen.
 */
const AHEAD_MS = 20;

/**
 * Maximum number of domains whose monitor check has begun and whose stats call was not sent yet. The number is large
 * enough to keep every slot busy, and small enough that each check is still recent when the stats call is sent.
 */
const CHECKED_MAX = 8;

/**
 * Maximum number of monitor checks under way. When the sweep asks a domain, it has counted other clients' calls in all
 * earlier domains, except in the domains whose check is still under way. This maximum keeps these exceptions few.
 */
const CHECKING_MAX = 5;

/** A monitor that is busy is checked again after this many ms. */
const CHECK_AGAIN_MS = 50;

/** The first stats calls wait at most this many ms for the checks of the first domains' monitors. */
const HOLD_MS = 250;

/** Maximum number of batches that are queued or in flight at a time. */
const BATCHES = 4;

/** The functions of the sweep that a dispatcher calls. */
export interface DispatcherOwner {
  /** The domain's batch was answered. `stats` is undefined when the answer leaves the domain out. */
  answered(task: DomainTask, stats: DomainStats | undefined): void;
  /** The dispatcher will not queue the domain's statistics call, for this reason. */
  giveUp(task: DomainTask, reason: RecordReason): void;
  /** Ends the sweep if the error concerns all of its domains. Returns whether the sweep has ended. */
  endsWith(error: VirstreamError): boolean;
}

/**
 * Decides in which order the domains of a sweep are queued.
 *
 * A domain whose earlier call is overdue is not queued. If the requested statistics need the monitor, each domain is
 * asked by a call of its own: first the domains that do not run or whose monitor is known to answer, and each of the
 * other domains once its monitor was checked. One domain is asked before all others (see AHEAD_MS).
 *
 * If no monitor is needed, the daemon's work for a domain takes some microseconds, and a call for each domain would
 * cost more than this work. So domains are then asked in batches. But the domains of a batch wait for each other,
 * because libvirt takes the locks of these domains in turn. So the size of a batch depends on how long earlier batches
 * took. A batch that is not answered soon is divided: each of its domains is then asked by a call of its own.
 */
export class Dispatcher implements CallHandler<Batch> {
  readonly #host: SweepHost;
  readonly #calls: Calls;
  readonly #requests: StatsRequests;
  readonly #owner: DispatcherOwner;
  readonly #ended: AbortSignal;
  /** The domains from the position `#taken` on are still to be checked, or to be asked in batches. */
  readonly #pending: DomainTask[] = [];
  #taken = 0;
  /**
   * `#checked`: the number of domains whose monitor check has begun and whose stats call was not sent yet. `#batches`:
   * the number of batches that are queued or in flight.
   */
  #checked = 0;
  #batches = 0;
  /** The domains whose check is queued or unanswered. */
  readonly #checking = new Set<DomainTask>();
  /** True while stats calls wait for the checks in `#checking`; undefined before that, and false afterwards. */
  #holding: boolean | undefined;
  /**
   * The domains that wait for the first domain's answer, or for the checks of the first monitors; undefined when no
   * domain has to wait.
   */
  #rest: DomainTask[] | undefined;
  #mayGoAhead = true;
  #entered = 0;

  /** @param ended aborted when the sweep has ended */
  constructor(host: SweepHost, calls: Calls, requests: StatsRequests, owner: DispatcherOwner, ended: AbortSignal) {
    this.#host = host;
    this.#calls = calls;
    this.#requests = requests;
    this.#owner = owner;
    this.#ended = ended;
  }

  /** Adds domains that became known. */
  enter(tasks: readonly DomainTask[]): void {
    const { admission } = this.#host;
    const { kind, stateOnly } = this.#requests;
    const trusted: DomainTask[] = [];
    const before = this.#pending.length;
    this.#entered += tasks.length;
    for (const task of tasks) {
      if (admission.isQuarantined(task.domain.uuid, kind)) this.#owner.giveUp(task, "quarantined");
      else if (stateOnly) trusted.push(task);
      else if (kind === "monitor" && (task.domain.id === -1 || admission.isTrusted(task.domain.uuid)))
        trusted.push(task);
      else this.#pending.push(task);
    }
    const pending = this.#pending.length - before;
    if (stateOnly) {
      this.#calls.wait(trusted);
    } else if (kind === "free") {
      this.#queueBatches();
    } else {
      if (trusted.length + pending > admission.slotsOf(this.#host)) this.#host.crowded();
      // If other clients' calls leave no room for a monitor call, the checks come first, because they may show that
      // these clients' calls have ended.
      if (pending > 0 && admission.isFull) this.#hold();
      this.ask(trusted);
      if (pending > 0) this.#hold();
      this.#checkNext();
    }
  }

  /**
   * Queues domains whose monitor may be asked. One domain is asked first, and the other domains wait for its answer.
   */
  ask(tasks: readonly DomainTask[]): void {
    if (tasks.length === 0) return;
    for (const task of tasks) this.#checking.delete(task);
    if (this.#rest !== undefined) {
      for (const task of tasks) this.#rest.push(task);
    } else if (this.#mayGoAhead && this.#entered > 1 && this.#host.admission.inFlight("monitor") === 0) {
      this.#rest = tasks.slice(1);
      this.#after(AHEAD_MS, () => this.release());
      this.#calls.wait(tasks.slice(0, 1));
    } else {
      this.#mayGoAhead = false;
      this.#calls.wait(tasks);
    }
    this.#checkNext();
  }

  /** A monitor has answered, or the first domain takes too long: queues the domains that wait for the first domain. */
  release(): void {
    if (this.#holding) return;
    const rest = this.#rest ?? [];
    this.#rest = undefined;
    this.#mayGoAhead = false;
    this.#calls.wait(rest);
  }

  /**
   * The domain's stats call was sent, or will not be sent. If the domain's monitor was checked, another domain can be
   * checked now.
   */
  passed(task: DomainTask): void {
    if (!task.monitorChecked) return;
    task.monitorChecked = false;
    this.#checked--;
    this.#checking.delete(task);
    this.#checkNext();
  }

  /**
   * Holds back the stats calls that are not queued yet, until the first domains have been checked or HOLD_MS have
   * passed. Each monitor that another client's call occupies counts against the budget of monitor calls (BUDGET), so
   * these calls must be known first. For each check that finds such a call, one more domain is checked.
   */
  #hold(): void {
    if (this.#holding !== undefined) return;
    this.#holding = true;
    this.#rest ??= [];
    this.#after(HOLD_MS, () => this.#endHold());
  }

  #endHold(): void {
    if (!this.#holding) return;
    this.#holding = false;
    const tasks = this.#rest ?? [];
    this.#rest = undefined;
    this.ask(tasks);
  }

  /** The domain's monitor is busy, maybe with a healthy call of another client: checks it again soon. */
  checkAgain(task: DomainTask): void {
    task.stage = "check";
    this.passed(task);
    this.#after(CHECK_AGAIN_MS, () => this.#calls.wait([task]));
  }

  /** Calls `act` after a time in ms, unless the sweep has ended by then. */
  #after(ms: number, act: () => void): void {
    sleep(ms, { signal: this.#ended }).then(act, () => {});
  }

  /** No permit will become free in this sweep: gives up all domains that are not queued yet. */
  giveUp(reason: RecordReason): void {
    const rest = this.#pending.slice(this.#taken);
    this.#taken = this.#pending.length;
    for (const task of rest) this.#owner.giveUp(task, reason);
    this.#checkNext();
  }

  #checkNext(): void {
    while (this.#checked < CHECKED_MAX && this.#checking.size < CHECKING_MAX && this.#taken < this.#pending.length) {
      const task = this.#pending[this.#taken++]!;
      this.#checked++;
      this.#checking.add(task);
      task.monitorChecked = true;
      task.stage = "check";
      this.#calls.wait([task]);
    }
    if (this.#checking.size === 0) this.#endHold();
  }

  // ---- batches

  /** @internal A batch chooses its domains only when it gets its permit. */
  callFor(batch: Batch): Call | undefined {
    const { batchSize } = this.#host;
    const tasks = this.#pending.slice(this.#taken, this.#taken + batchSize.domains);
    if (tasks.length === 0) {
      this.#batches--;
      return undefined;
    }
    this.#taken += tasks.length;
    const sent = batch.sent!;
    batch.tasks = tasks;
    batch.dueAt = Math.min(batch.dueAt, sent.at + batchSize.timeoutMs(tasks.length));
    for (const task of tasks) task.sent = sent;
    const uuids = tasks.map(({ domain }) => domain.uuid);
    return callOf(PROCEDURES.stats, { uuids, ...this.#requests.first }, (reply) => {
      const largest = reply.reduce((most, { params }) => Math.max(most, params.size), 1);
      batchSize.measured(tasks.length, performance.now() - sent.at, largest);
      this.#batches--;
      this.#queueBatches();
      const byUuid = new Map(reply.map((stats) => [stats.domain.uuid, stats]));
      for (const task of tasks) this.#owner.answered(task, byUuid.get(task.domain.uuid));
    });
  }

  /** @internal */
  refused(batch: Batch, error: VirstreamError): void {
    if (!this.#owner.endsWith(error)) this.#takeApart(batch);
  }

  /** @internal */
  late(batch: Batch, reason: RecordReason): void {
    if (batch.tasks.length > 0) {
      this.#takeApart(batch);
    } else {
      this.#batches--;
      this.giveUp(reason);
    }
  }

  #queueBatches(): void {
    let left = this.#pending.length - this.#taken;
    for (; left > 0 && this.#batches < BATCHES; left -= this.#host.batchSize.domains) {
      this.#batches++;
      this.#calls.wait([new Batch(`batch ${batches++}`, this)]);
    }
  }

  #takeApart({ tasks }: Batch): void {
    this.#host.batchSize.failed();
    this.#calls.wait(tasks);
    this.#batches--;
    this.#queueBatches();
  }
}

/** Counts the batches of this process, so that each batch has a key of its own. */
let batches = 0;

/** A call for several domains. */
class Batch extends FreeCall {
  tasks: readonly DomainTask[] = [];
}
