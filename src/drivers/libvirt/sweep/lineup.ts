import type { RecordReason } from "../../../model/record.ts";
import { Batch, type BatchSize } from "./batch.ts";
import type { Calls, CallsHost } from "./calls.ts";
import type { CallKind } from "./line.ts";
import type { Task } from "./task.ts";

/**
 * With every slot busy from the start, the first record has to share the host's cores with all the others, and comes
 * half as fast. So one domain goes ahead, and the others follow at its answer, or after so many ms, should it be frozen.
 */
const AHEAD_MS = 20;

/** So many domains are looked at ahead of those that are asked: enough that no slot waits, and no line is held up. */
const LOOKED_AT_MAX = 8;

/** So many batches are in line at a time. */
const BATCHES = 4;

/** What a line-up needs of its session. */
export interface LineupHost extends CallsHost {
  /** How many domains to ask for in one call that needs no monitor. */
  readonly batchSize: BatchSize;
  /** There are more domains than slots: another connection would be of use. */
  crowded(): void;
}

/**
 * In which order domains get in line. Those with a frozen call out already do not get as far; of the others, those whose
 * monitor is not known to answer are looked at first; one is asked ahead of all; and where no monitor is needed, they are
 * asked in batches.
 */
export class Lineup {
  readonly #host: LineupHost;
  readonly #calls: Calls;
  readonly #kind: CallKind;
  readonly #giveUp: (task: Task, reason: RecordReason) => void;
  /** Those who let one go ahead, and until when; undefined until there is one. */
  #rest: Task[] = [];
  #restAt: number | undefined;
  /** Those who are to be looked at, from this position on, and how many are between that and being asked. */
  readonly #unknown: Task[] = [];
  #lookedAt = 0;
  #ahead = 0;
  /** Those who are to be asked in batches, from this position on, and how many batches are under way. */
  readonly #pool: Task[] = [];
  #pooled = 0;
  #batches = 0;
  #entered = 0;

  /**
   * @param kind how domains are asked; `free` in batches
   * @param giveUp called for each that will not be asked
   */
  constructor(host: LineupHost, calls: Calls, kind: CallKind, giveUp: (task: Task, reason: RecordReason) => void) {
    this.#host = host;
    this.#calls = calls;
    this.#kind = kind;
    this.#giveUp = giveUp;
  }

  /** Domains to be asked. */
  enter(tasks: readonly Task[]): void {
    const { admission, owner } = this.#host;
    const trusted: Task[] = [];
    const unknown: Task[] = [];
    this.#entered += tasks.length;
    for (const task of tasks) {
      if (admission.isQuarantined(task.uuid, this.#kind)) this.#giveUp(task, "quarantined");
      else if (this.#kind === "monitor" && task.id !== -1 && !admission.isTrusted(task.uuid)) unknown.push(task);
      else trusted.push(task);
    }
    if (this.#kind === "free") {
      this.#fill(trusted);
      return;
    }
    if (trusted.length + unknown.length > admission.slotsOf(owner)) this.#host.crowded();
    this.ask(trusted);
    for (const task of unknown) this.#unknown.push(task);
    this.#lookAtNext();
  }

  /** Domains that nothing speaks against asking. One goes ahead, the rest waits for it. */
  ask(tasks: readonly Task[]): void {
    if (tasks.length === 0) return;
    if (this.#restAt === undefined && this.#entered > 1 && this.#host.admission.inFlight("monitor") === 0) {
      this.#restAt = performance.now() + AHEAD_MS;
      this.#rest = tasks.slice(1);
      this.#calls.wait(tasks.slice(0, 1));
    } else if (this.#restAt !== undefined && this.#restAt !== Number.POSITIVE_INFINITY) {
      for (const task of tasks) this.#rest.push(task);
    } else {
      this.#restAt = Number.POSITIVE_INFINITY;
      this.#calls.wait(tasks);
    }
  }

  /** One was answered: the rest follows. */
  follow(): void {
    this.#restAt = Number.POSITIVE_INFINITY;
    const rest = this.#rest;
    this.#rest = [];
    this.#calls.wait(rest);
  }

  /** A domain that was looked at has been asked, or will not be: there is room for the next. */
  passed(task: Task): void {
    if (!task.ahead) return;
    task.ahead = false;
    this.#ahead--;
    this.#lookAtNext();
  }

  /** The next domains of a batch, whose turn has come; at most as many as are worth it. */
  take(): readonly Task[] {
    const tasks = this.#pool.slice(this.#pooled, this.#pooled + this.#host.batchSize.domains);
    this.#pooled += tasks.length;
    if (tasks.length === 0) this.#batches--;
    return tasks;
  }

  /** A batch was answered: the next gets in line. */
  next(): void {
    if (this.#pooled < this.#pool.length) this.#calls.wait([new Batch()]);
    else this.#batches--;
  }

  /** Asks the domains of a batch each for itself, and goes on with the others. */
  takeApart({ tasks }: Batch): void {
    this.#host.batchSize.failed();
    this.#calls.wait(tasks);
    this.next();
  }

  /** A batch waited in vain: neither it nor any other will be asked. */
  forgo(reason: RecordReason): void {
    this.#batches--;
    this.drain(reason);
  }

  /** Nobody is asked any more: gives up all who are not in line yet. */
  drain(reason: RecordReason): void {
    const rest = [...this.#unknown.slice(this.#lookedAt), ...this.#pool.slice(this.#pooled)];
    this.#lookedAt = this.#unknown.length;
    this.#pooled = this.#pool.length;
    for (const task of rest) this.#giveUp(task, reason);
  }

  /** When `check` has to be called next. */
  get dueAt(): number {
    return this.#restAt ?? Number.POSITIVE_INFINITY;
  }

  /** Lets the rest follow when the one that went ahead takes too long. */
  check(now: number): void {
    if (this.dueAt <= now) this.follow();
  }

  #lookAtNext(): void {
    while (this.#ahead < LOOKED_AT_MAX && this.#lookedAt < this.#unknown.length) {
      const task = this.#unknown[this.#lookedAt++]!;
      this.#ahead++;
      task.ahead = true;
      task.stage = "check";
      this.#calls.wait([task]);
    }
  }

  #fill(tasks: readonly Task[]): void {
    for (const task of tasks) this.#pool.push(task);
    for (let left = tasks.length; left > 0 && this.#batches < BATCHES; left -= this.#host.batchSize.domains) {
      this.#batches++;
      this.#calls.wait([new Batch()]);
    }
  }
}
