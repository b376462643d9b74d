import { VirstreamError } from "../../../model/error.ts";
import type { Query } from "../../../model/query.ts";
import { NIL_UUID } from "../../../model/uuid.ts";
import { PROCEDURES } from "../rpc/procedures.ts";
import type { RemoteDomain } from "../rpc/remote-domain.ts";
import type { Admission } from "./admission.ts";
import { type Calls, Late } from "./calls.ts";
import type { Inventory } from "./inventory.ts";
import type { CallKind } from "./line.ts";
import { LISTING_KEYS, listDomains } from "./listing.ts";
import type { Plan } from "./plan.ts";
import { Task } from "./task.ts";

/**
 * Listing takes the lock of every domain in turn, and a frozen guest that is being destroyed keeps its own for ten
 * seconds. So when the listing is not there soon (healthy is 1 ms), what is known of before has to do.
 */
const RECALL_MS = 250;

/** What a selection needs of its session. */
export interface SelectionHost {
  readonly admission: Admission;
  /** Which domains there are, as far as is known. */
  readonly inventory: Inventory;
}

/** What the sweep does about the domains that it is about. */
export interface SelectionOwner {
  /** How many there will be. Called once, unless the selection fails before. */
  expect(domains: number): void;
  /** Each of these gets a record. */
  add(tasks: readonly Task[]): void;
  /** These can be asked. */
  enter(tasks: readonly Task[]): void;
  /** This one gets no record after all: it has one by another name. */
  drop(task: Task): void;
  /** A name could not be looked up: the daemon's error, or undefined when it did not answer in time. */
  unknown(task: Task, error: VirstreamError | undefined): void;
  /** It cannot be found out which domains there are, or which more. */
  fail(error: VirstreamError): void;
  /** No domain comes to light any more. */
  selected(): void;
}

/** Which domains a sweep is about: all that pass the filter, or those that are named. */
export class Selection {
  readonly #admission: Admission;
  readonly #calls: Calls;
  readonly #inventory: Inventory;
  readonly #query: Query;
  readonly #plan: Plan;
  readonly #statsKind: CallKind;
  readonly #owner: SelectionOwner;
  /** The named domains by uuid, so that none is answered twice. */
  readonly #named = new Map<string, Task>();
  #tasks = 0;
  /** Names not looked up yet, and those that turned out to be named already. */
  #lookups = 0;
  #dropped = 0;
  #recallAt = Number.POSITIVE_INFINITY;
  #announced = false;
  #closed = false;

  /** @param statsKind how the domains will be asked */
  constructor(
    { admission, inventory }: SelectionHost,
    calls: Calls,
    query: Query,
    plan: Plan,
    statsKind: CallKind,
    owner: SelectionOwner,
  ) {
    this.#admission = admission;
    this.#calls = calls;
    this.#inventory = inventory;
    this.#query = query;
    this.#plan = plan;
    this.#statsKind = statsKind;
    this.#owner = owner;
  }

  /** Begins. */
  start(): void {
    if (this.#query.domains === undefined) this.#list();
    else this.#select(this.#query.domains);
  }

  /** When `check` has to be called next. */
  get dueAt(): number {
    return this.#recallAt;
  }

  /** Gives up waiting for the listing, if there is an earlier one. */
  check(now: number): void {
    if (this.#recallAt > now) return;
    this.#recallAt = Number.POSITIVE_INFINITY;
    const domains = this.#inventory.recall(this.#plan.filter);
    if (domains === undefined) return;
    this.#found(domains, domains.length);
    this.close();
    this.#owner.selected();
  }

  /** Nobody wants to know any more. */
  close(): void {
    this.#closed = true;
  }

  #list(): void {
    // A listing of another sweep that hangs will be answered when its lock is free, and this one not before it.
    const hangs = LISTING_KEYS.some((key) => this.#admission.unansweredFor(key, "free") >= RECALL_MS);
    this.#recallAt = performance.now() + (hangs ? 0 : Math.min(RECALL_MS, this.#query.deadlineMs / 2));
    const found = (domains: readonly RemoteDomain[], total: number): void => this.#found(domains, total);
    listDomains(this.#calls, this.#inventory, this.#plan.filter, found).then(
      () => {
        if (!this.#closed) this.#owner.selected();
      },
      (error) => {
        this.#recallAt = Number.POSITIVE_INFINITY;
        if (!this.#closed) this.#owner.fail(error instanceof Late ? this.#lateError() : VirstreamError.from(error));
      },
    );
  }

  #lateError(): VirstreamError {
    const within = `within ${this.#query.deadlineMs} ms`;
    const message = `libvirt did not list its domains ${within}: it waits for one of them, hangs, or is overloaded`;
    return new VirstreamError("deadline-exceeded", message);
  }

  #found(domains: readonly RemoteDomain[], total: number): void {
    if (this.#closed) return;
    this.#recallAt = Number.POSITIVE_INFINITY;
    if (!this.#announced) this.#owner.expect(total);
    this.#announced = true;
    const tasks = domains.map(({ uuid, name, id }) => this.#task("ask", uuid, name, id));
    this.#owner.add(tasks);
    this.#owner.enter(tasks);
  }

  #select(selectors: NonNullable<Query["domains"]>): void {
    const asking: Task[] = [];
    const lookups: Task[] = [];
    for (const selector of selectors) {
      if ("uuid" in selector) {
        // Whether it runs is not known: -1 would say that it does not.
        const task = this.#task("ask", selector.uuid, "", 0);
        this.#named.set(selector.uuid, task);
        asking.push(task);
      } else {
        lookups.push(this.#task("lookup", NIL_UUID, selector.name, -1));
      }
    }
    this.#lookups = lookups.length;
    this.#owner.add([...asking, ...lookups]);
    if (this.#lookups === 0) this.#announce();
    this.#owner.enter(asking);
    for (const task of lookups) this.#lookUp(task);
  }

  #lookUp(task: Task): void {
    this.#calls.ask(PROCEDURES.lookupByName, task.name, task.key).then(
      (domain) => this.#identified(task, domain),
      (error) => {
        if (this.#closed) return;
        this.#lookups--;
        this.#owner.unknown(task, error instanceof Late ? undefined : VirstreamError.from(error));
        if (this.#lookups === 0) this.#announce();
      },
    );
  }

  #identified(task: Task, domain: RemoteDomain): void {
    if (this.#closed) return;
    this.#lookups--;
    if (this.#named.has(domain.uuid)) {
      this.#dropped++;
      this.#owner.drop(task);
    } else {
      this.#named.set(domain.uuid, task);
      task.uuid = domain.uuid;
      task.id = domain.id;
      task.stage = "ask";
      this.#owner.enter([task]);
    }
    if (this.#lookups === 0) this.#announce();
  }

  #announce(): void {
    if (this.#closed) return;
    this.#owner.expect(this.#tasks - this.#dropped);
    this.#owner.selected();
  }

  #task(stage: "ask" | "lookup", uuid: string, name: string, id: number): Task {
    return new Task(this.#tasks++, stage, this.#statsKind, uuid, name, id);
  }
}
