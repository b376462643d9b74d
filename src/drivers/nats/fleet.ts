import type { VirstreamError } from "../../model/error.ts";
import { SchemaTable } from "../../model/schema-table.ts";
import { LIMITS } from "../../wire/protocol.ts";
import { MAX_WAITING, type WaitingBytes } from "./chunk.ts";
import { HostState, type Outcome } from "./host-state.ts";

/** How many messages of each kind have come since the connection was opened: see docs/fleet.md. */
export type FleetFigures = Readonly<Record<Outcome, number>>;

/** Gets the changes of a fleet. */
export interface FleetListener {
  /** A host has a newer tick. */
  tick(state: HostState): void;
  /**
   * The present state of a host is no longer fully known, and `error` is the reason. If `error` is undefined, the state
   * is known again.
   */
  status(state: HostState, error: VirstreamError | undefined): void;
  /** A host is no longer known. */
  forgotten(state: HostState): void;
}

/**
 * The newest state of each host of a fleet, from the messages that the hosts' publishers sent. The Fleet has no
 * connection and no timer: its users call `take` with each message, and `check` at intervals.
 */
export class Fleet {
  readonly hosts = new Map<string, HostState>();
  readonly listeners = new Set<FleetListener>();
  /** The hosts whose present state is unknown or only partly known, each with the error that the listeners got last. */
  readonly degraded = new Map<HostState, VirstreamError>();
  readonly #context: { readonly owner: object; readonly schemas: SchemaTable };
  readonly #selects: (host: string) => boolean;
  readonly #waiting: WaitingBytes = { total: 0 };
  readonly #figures: Record<Outcome, number> = {
    ...{ tick: 0, waiting: 0, duplicate: 0, late: 0, stale: 0, incomplete: 0, refused: 0 },
  };
  #numbers = 0;

  /**
   * @param owner the driver that the domains belong to
   * @param selects returns true for a host that is to be read
   */
  constructor(owner: object, selects: (host: string) => boolean) {
    this.#context = { owner, schemas: new SchemaTable() };
    this.#selects = selects;
  }

  get figures(): FleetFigures {
    return { ...this.#figures };
  }

  /**
   * Takes a message that a host published.
   *
   * @param host the host that the message's subject names; undefined: the subject names no host
   * @param ageMs how long ago the message was published, in ms
   * @param stored true if the message comes from the bucket, which also has messages that have come before. Such a
   *   message is counted in `figures` only if it is refused.
   * @returns the host's state; undefined: the message was ignored
   */
  take(host: string | undefined, bytes: Uint8Array, ageMs: number, stored: boolean): HostState | undefined {
    if (host !== undefined && !this.#selects(host)) return undefined;
    const state = host === undefined ? undefined : this.#stateOf(host);
    const outcome = state?.take(bytes, ageMs) ?? "refused";
    if (!stored || outcome === "refused") this.#figures[outcome]++;
    if (state === undefined) return undefined;
    if (!stored || outcome === "tick") this.#assess(state, performance.now());
    if (outcome === "tick") for (const listener of this.listeners) listener.tick(state);
    return state;
  }

  /** Checks which hosts are silent at the time `now`, and reports each change. */
  check(now: number): void {
    for (const state of this.hosts.values()) this.#assess(state, now);
  }

  /** Forgets the hosts that the bucket no longer has, but only those whose present state is not known. */
  forgetOthers(stored: ReadonlySet<HostState>): void {
    const now = performance.now();
    for (const state of [...this.hosts.values()]) {
      if (!stored.has(state) && state.errorAt(now) !== undefined) this.#forget(state);
    }
  }

  #forget(state: HostState): void {
    this.hosts.delete(state.host);
    this.degraded.delete(state);
    for (const listener of this.listeners) listener.forgotten(state);
  }

  /** Reports a host whose state becomes unknown, is known again, or is unknown for another kind of reason. */
  #assess(state: HostState, now: number): void {
    const error = state.errorAt(now) ?? state.conflictAt(now);
    if (this.degraded.get(state)?.code === error?.code) return;
    if (error === undefined) this.degraded.delete(state);
    else this.degraded.set(state, error);
    for (const listener of this.listeners) listener.status(state, error);
  }

  #stateOf(host: string): HostState | undefined {
    let state = this.hosts.get(host);
    if (state === undefined && this.hosts.size < LIMITS.hosts && this.#waiting.total <= MAX_WAITING) {
      state = new HostState(host, this.#numbers++, this.#context, this.#waiting);
      this.hosts.set(host, state);
    }
    return state;
  }
}
