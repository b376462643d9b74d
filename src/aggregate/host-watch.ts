import { Backoff } from "../driver/backoff.ts";
import type { Clock } from "../driver/clock.ts";
import { VirstreamError } from "../model/error.ts";
import type { Query } from "../model/query.ts";
import type { Domain } from "../model/record.ts";
import type { Cadence, StatusEvent, WatchEvent } from "../model/watch.ts";
import { DomainMap } from "../sampling/domain-map.ts";
import { goneEvent } from "../sampling/feed.ts";
import { isFaultOfQuery } from "./absence.ts";
import type { Adoption } from "./adoption.ts";
import { isSignOfLife } from "./guarded-watch.ts";
import type { Member } from "./member.ts";

/** What a host's watch depends on. */
export interface HostWatchOptions {
  readonly member: Member;
  readonly query: Query;
  readonly cadence: Cadence;
  readonly signal: AbortSignal;
  readonly adoption: Adoption;
  readonly clock: Clock;
  /** Called when the host has refused what is asked before it has told anything. */
  readonly refused: (error: VirstreamError) => void;
}

/**
 * One host's part of a watch of several. It never fails: while the host is absent, it is `degraded`, and nothing more is
 * told of it; when it is there again, the watch goes on. Each `degraded` is followed by a `connected` of the same host.
 */
export class HostWatch {
  readonly #options: HostWatchOptions;
  readonly #backoff: Backoff;
  /** Hosts that were told to be degraded: this one, or those behind it. */
  readonly #degraded = new Set<string>();
  /** Those of which the watch that is under way says so. */
  readonly #saysDegraded = new Set<string>();
  /** The domains that were told, as their driver gave them out. */
  readonly #told = new DomainMap<Domain>();
  /** Those that were told by a watch that has ended, and not yet by the one after it. */
  readonly #doubtful = new DomainMap<Domain>();
  #heard = false;

  constructor(options: HostWatchOptions) {
    this.#options = options;
    this.#backoff = new Backoff({ now: () => options.clock.now() });
  }

  async *events(): AsyncGenerator<readonly WatchEvent[], void, void> {
    const { member, query, cadence, signal } = this.#options;
    while (!signal.aborted) {
      if (member.driver === undefined) {
        yield* this.#degrade(member.name, member.absence);
        await member.opened(signal);
        continue;
      }
      try {
        this.#saysDegraded.clear();
        let joined = false;
        for await (const events of member.watch(query, cadence, signal)) {
          const told: WatchEvent[] = [];
          if (!joined && events.some(isSignOfLife)) {
            joined = true;
            this.#join(events, told);
          }
          for (const event of events) this.#translate(event, told);
          if (told.length > 0) yield told;
        }
        if (signal.aborted) return;
      } catch (thrown) {
        if (signal.aborted) return;
        const error = VirstreamError.from(thrown);
        if (isFaultOfQuery(error) && !this.#heard) this.#options.refused(error);
        yield* this.#degrade(member.name, error);
      }
      for (const domain of this.#told) this.#doubtful.set(domain, domain);
      await this.#pause(this.#backoff.next());
    }
  }

  *#degrade(host: string, error: VirstreamError | undefined): Generator<readonly WatchEvent[]> {
    if (this.#degraded.has(host)) return;
    this.#degraded.add(host);
    yield [{ type: "status", state: "degraded", host, error }];
  }

  /** The host shows that it is there. What was degraded is so no more, unless this watch of it says otherwise. */
  #join(events: readonly WatchEvent[], told: WatchEvent[]): void {
    const { member } = this.#options;
    this.#backoff.connected();
    const still = new Set(this.#saysDegraded);
    for (const event of events) {
      if (event.type === "status" && event.state !== "connected") still.add(event.host ?? member.name);
    }
    for (const host of this.#degraded) {
      if (still.has(host)) continue;
      this.#degraded.delete(host);
      told.push({ type: "status", state: "connected", host, error: undefined });
    }
    if (this.#heard) told.push({ type: "gap", reason: "source", skipped: undefined, host: member.name });
    this.#heard = true;
  }

  #translate(event: WatchEvent, told: WatchEvent[]): void {
    const { member, adoption } = this.#options;
    switch (event.type) {
      case "record": {
        const { domain } = event.record;
        if (this.#told.get(domain) !== domain) this.#told.set(domain, domain);
        if (this.#doubtful.size > 0) this.#doubtful.delete(domain);
        told.push({ type: "record", record: adoption.record(event.record, member.number) });
        break;
      }
      case "gone":
        this.#told.delete(event.domain);
        this.#doubtful.delete(event.domain);
        told.push(goneEvent(adoption.domain(event.domain)));
        break;
      case "sync":
        this.#left(event.host, told);
        told.push(event);
        break;
      case "gap":
        told.push({ ...event, host: event.host ?? member.name });
        break;
      case "status":
        this.#status(event, told);
        break;
    }
  }

  /** Each change is told once: that a source that is degraded is so for another reason now is none. */
  #status(event: StatusEvent, told: WatchEvent[]): void {
    const host = event.host ?? this.#options.member.name;
    if (event.state === "connected") {
      this.#saysDegraded.delete(host);
      if (this.#degraded.delete(host)) told.push({ ...event, host });
      return;
    }
    this.#saysDegraded.add(host);
    if (this.#degraded.has(host)) return;
    this.#degraded.add(host);
    told.push({ type: "status", state: "degraded", host, error: event.error });
  }

  /** Who left a host while it was not watched: known since its first whole sweep after that. */
  #left(host: string, told: WatchEvent[]): void {
    if (this.#doubtful.size === 0) return;
    const left = [...this.#doubtful].filter((domain) => domain.host === host);
    for (const domain of left) {
      this.#doubtful.delete(domain);
      this.#told.delete(domain);
      told.push(goneEvent(this.#options.adoption.domain(domain)));
    }
  }

  #pause(ms: number): Promise<void> {
    const { clock, signal } = this.#options;
    if (signal.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      const done = (): void => {
        clock.clearTimeout(timer);
        signal.removeEventListener("abort", done);
        resolve();
      };
      const timer = clock.setTimeout(done, ms);
      signal.addEventListener("abort", done);
    });
  }
}
