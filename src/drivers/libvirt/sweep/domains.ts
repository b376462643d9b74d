import { VirstreamError } from "../../../model/error.ts";
import type { Query } from "../../../model/query.ts";
import { NIL_UUID } from "../../../model/uuid.ts";
import { PROCEDURES } from "../rpc/procedures.ts";
import type { RemoteDomain } from "../rpc/remote-domain.ts";
import type { Admission } from "./admission.ts";
import { type CallHandler, type Calls, Late } from "./calls.ts";
import type { DomainCache } from "./domain-cache.ts";
import { LISTING_KEYS, listDomains } from "./domain-search.ts";
import { DomainTask, type Stage, type StatsRequests } from "./domain-task.ts";

/**
 * Listing takes the lock of every domain in turn, and a frozen guest that is being destroyed keeps its lock for ten
 * seconds. A healthy listing takes 1 ms. When it takes this many ms, the sweep uses the domains that it knows from
 * before.
 */
const RECALL_MS = 250;

/** The parts of the session that are used here. */
export interface DomainsHost {
  readonly admission: Admission;
  readonly domainCache: DomainCache;
}

/** The sweep's callbacks for its domains. */
export interface DomainsOwner extends CallHandler<DomainTask> {
  /** How many domains there will be. Called once, unless they cannot be found out. */
  expect(domains: number): void;
  /** Each of these gets a record. */
  add(tasks: readonly DomainTask[]): void;
  /** Each of these gets a record, and can be asked now. */
  enter(tasks: readonly DomainTask[]): void;
  /** This one gets no record after all: the same domain was named twice. */
  drop(task: DomainTask): void;
  /**
   * No more domains will come.
   *
   * @param error why it is not known which domains there are, or which more
   */
  selected(error?: VirstreamError): void;
}

/** The domains of a sweep: all that pass the filter, or those that the query names. */
export class Domains {
  readonly #host: DomainsHost;
  readonly #calls: Calls;
  readonly #query: Query;
  readonly #requests: StatsRequests;
  readonly #owner: DomainsOwner;
  #tasks = 0;
  #recallAt = Number.POSITIVE_INFINITY;
  #announced = false;
  #closed = false;

  constructor(host: DomainsHost, calls: Calls, query: Query, requests: StatsRequests, owner: DomainsOwner) {
    this.#host = host;
    this.#calls = calls;
    this.#query = query;
    this.#requests = requests;
    this.#owner = owner;
  }

  /** Begins to look for them. */
  start(): void {
    if (this.#query.domains === undefined) this.#list();
    else this.#lookUp(this.#query.domains);
  }

  /** When `check` has to be called next. */
  get dueAt(): number {
    return this.#recallAt;
  }

  /** Stops waiting for the listing if there is an earlier one. */
  check(now: number): void {
    if (this.#recallAt > now) return;
    this.#recallAt = Number.POSITIVE_INFINITY;
    const domains = this.#host.domainCache.recall(this.#requests.filter);
    if (domains === undefined) return;
    this.#found(domains, domains.length);
    this.close();
    this.#owner.selected();
  }

  /** Calls the owner no more. */
  close(): void {
    this.#closed = true;
  }

  #list(): void {
    const { admission, domainCache } = this.#host;
    // If another sweep's listing hangs, the daemon answers this one no earlier than that one.
    const hangs = LISTING_KEYS.some((key) => admission.unansweredFor(key, "free") >= RECALL_MS);
    this.#recallAt = performance.now() + (hangs ? 0 : Math.min(RECALL_MS, this.#query.deadlineMs / 2));
    listDomains(this.#calls, domainCache, this.#requests.filter, (domains, total) => this.#found(domains, total)).then(
      () => {
        if (!this.#closed) this.#owner.selected();
      },
      (error) => {
        this.#recallAt = Number.POSITIVE_INFINITY;
        if (!this.#closed) this.#owner.selected(error instanceof Late ? this.#lateError() : VirstreamError.from(error));
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
    this.#owner.enter(domains.map((domain) => this.#task("ask", domain)));
  }

  #lookUp(selectors: NonNullable<Query["domains"]>): void {
    const asking: DomainTask[] = [];
    const lookups: DomainTask[] = [];
    /** So that no domain gets two records. */
    const uuids = new Set<string>();
    for (const selector of selectors) {
      if ("uuid" in selector) {
        // Whether it runs is not known; an id of -1 would say that it does not.
        asking.push(this.#task("ask", { uuid: selector.uuid, name: "", id: 0 }));
        uuids.add(selector.uuid);
      } else {
        lookups.push(this.#task("lookup", { uuid: NIL_UUID, name: selector.name, id: -1 }));
      }
    }
    let expected = this.#tasks;
    let left = lookups.length;
    const finished = (): void => {
      if (left > 0 || this.#closed) return;
      this.#owner.expect(expected);
      this.#owner.selected();
    };
    const identified = (task: DomainTask, { uuid, id }: RemoteDomain): void => {
      if (uuids.has(uuid)) {
        expected--;
        this.#owner.drop(task);
        return;
      }
      uuids.add(uuid);
      task.uuid = uuid;
      task.id = id;
      task.stage = "ask";
      this.#owner.enter([task]);
    };
    this.#owner.add([...asking, ...lookups]);
    this.#owner.enter(asking);
    finished();
    for (const task of lookups) {
      const settle = (act: () => void): void => {
        if (this.#closed) return;
        left--;
        act();
        finished();
      };
      this.#calls.ask(PROCEDURES.lookupByName, task.name, task.key).then(
        (domain) => settle(() => identified(task, domain)),
        (error) =>
          settle(() => {
            if (error instanceof Late) this.#owner.late(task, "timeout");
            else this.#owner.refused(task, VirstreamError.from(error));
          }),
      );
    }
  }

  #task(stage: Stage, domain: RemoteDomain): DomainTask {
    return new DomainTask(this.#owner, this.#tasks++, stage, this.#requests.kind, domain);
  }
}
