import { invalid, quote, VirstreamError } from "../model/error.ts";
import type { Query } from "../model/query.ts";
import type { DomainStatsRecord } from "../model/record.ts";
import { type Clock, onAbort, STEADY_CLOCK, sleep, type WaitOptions, withTimeout } from "./clock.ts";
import {
  type Driver,
  type ReconnectOptions,
  type StatusListener,
  StatusListeners,
  type SweepContext,
} from "./driver.ts";

/** How long an attempt to connect may take by default, in ms. */
export const DEFAULT_CONNECT_TIMEOUT_MS = 10_000;

/** The options of a Reconnector. */
export interface ReconnectorOptions<Session> {
  /** The name of the source in error messages: a URI without secrets, or a host. */
  readonly name: () => string;
  /** The host that status events name. */
  readonly host: () => string;
  /** Makes one attempt. Rejects with the reason if it fails. The signal is aborted when the reconnector is closed. */
  readonly open: (signal: AbortSignal) => Promise<Session>;
  /**
   * Called for a session that still works when the reconnector is closed, to end the session. Default: nothing is
   * called, and the owner of the session ends it.
   */
  readonly release?: (session: Session, error: VirstreamError) => Promise<void>;
  /**
   * True if an error ends all attempts. The program's `shouldRetry` has precedence. Default: true for an error that is
   * not `retryable`.
   */
  readonly isPermanent?: (error: VirstreamError) => boolean;
  /** The program's options for attempts to connect. */
  readonly reconnect?: ReconnectOptions | undefined;
  /**
   * True if the first attempt after a loss is made without a wait. Only for a source that is not shared by many
   * clients.
   */
  readonly retryAtOnce?: boolean;
  /**
   * Calls `hint` when the next attempt should not wait any longer, for example because the browser is online again.
   * Returns a function that removes the callback.
   */
  readonly onHint?: (hint: () => void) => () => void;
  /** A steady clock. */
  readonly clock?: Clock;
}

/**
 * Keeps one session with a peer. When the session is lost, it tries to open another one, one attempt at a time, with
 * growing random waits. The attempts end with close(), or with an error that a retry cannot repair.
 *
 * It has no sockets: its owner opens sessions, and reports when one is lost.
 */
export class Reconnector<Session> {
  readonly #options: ReconnectorOptions<Session>;
  readonly #clock: Clock;
  readonly #backoff: Backoff;
  readonly #listeners = new StatusListeners();
  readonly #end = new AbortController();
  #session: Session | undefined;
  #error: VirstreamError | undefined = new VirstreamError("connect-timeout", "it has not answered yet");
  #unreachable: VirstreamError | undefined;
  #failure: VirstreamError | undefined;
  /** How many attempts have failed since the last session. */
  #failures = 0;
  #attempting = false;
  #attempts: Promise<unknown> | undefined;
  #hint: (() => void) | undefined;
  #closed: Promise<void> | undefined;

  constructor(options: ReconnectorOptions<Session>) {
    this.#options = options;
    this.#clock = options.clock ?? STEADY_CLOCK;
    this.#backoff = new Backoff(() => this.#clock.now(), options.reconnect);
  }

  /** The session; undefined while there is none. */
  get session(): Session | undefined {
    return this.#session;
  }

  /**
   * The error of the last loss or the last failed attempt; `connect-timeout` until the first attempt has ended.
   * Undefined while there is a session.
   */
  get error(): VirstreamError | undefined {
    return this.#error;
  }

  /**
   * Why there will be no session any more: `connection-closed`, or the error that ended all attempts. This error is
   * never retryable. Undefined while a session is still possible.
   */
  get failure(): VirstreamError | undefined {
    return this.#failure;
  }

  /**
   * The error for requests that need a session: `failure`, or else `connection-lost` with `error` as its cause.
   * Undefined while there is a session.
   */
  get unreachable(): VirstreamError | undefined {
    if (this.#error !== undefined && this.#failure === undefined) {
      this.#unreachable ??= unreachableError(this.#options.name(), this.#error);
    }
    return this.#failure ?? this.#unreachable;
  }

  /** Adds a listener; see StatusListeners. */
  onStatus(listener: StatusListener): () => void {
    return this.#listeners.add(listener);
  }

  /**
   * Makes the first attempt. If the attempt fails, rejects with its error; then only retry() makes further attempts.
   */
  async connect(signal?: AbortSignal): Promise<Session> {
    signal?.throwIfAborted();
    const unlisten = onAbort(signal, () => this.#end.abort(signal?.reason));
    const attempt = this.#attempt();
    this.#attempts = Promise.allSettled([attempt]);
    try {
      return await attempt;
    } catch (error) {
      this.#setError(VirstreamError.from(error));
      throw error;
    } finally {
      unlisten();
    }
  }

  /** After a failed `connect`: makes further attempts until there is a session, the first one after a wait. */
  retry(): void {
    const error = this.#error;
    if (error === undefined || this.#end.signal.aborted) return;
    this.#failures++;
    this.#endIfFinal(error);
    this.#start(false);
  }

  /** Reports that a session is lost. Ignored unless `session` is the current session. */
  lost(error: VirstreamError, session: Session): void {
    if (session !== this.#session) return;
    this.#session = undefined;
    this.#setError(error);
    this.#endIfFinal(error);
    if (this.#failure === undefined) this.#emit("reconnecting");
    this.#start(this.#options.retryAtOnce ?? false);
  }

  /**
   * Reports that the lost session works again, when its owner noticed this without an attempt. Only for an owner whose
   * attempts would return the same session. Ignored while there is a session.
   */
  restored(session: Session): void {
    if (this.#end.signal.aborted || this.#failure !== undefined || this.#session !== undefined) return;
    this.#session = session;
    this.#error = undefined;
    this.#unreachable = undefined;
    this.#failures = 0;
    this.#backoff.connected();
    this.#hint?.();
    this.#emit("connected");
  }

  /**
   * Resolves with the session as soon as there is one, or with undefined when this many ms are over or the signal is
   * aborted.
   *
   * @throws the failure, if there will be no session any more
   */
  async reached(ms: number, signal: AbortSignal): Promise<Session | undefined> {
    let session = this.#session;
    if (session === undefined && this.#failure === undefined) {
      let unlisten = (): void => {};
      const settled = new Promise<Session | undefined>((resolve) => {
        unlisten = this.onStatus(({ state }) => {
          if (state !== "reconnecting") resolve(this.#session);
        });
      });
      const wait = withTimeout(settled, ms, () => undefined, { signal, clock: this.#clock });
      session = await wait.catch(() => undefined);
      unlisten();
    }
    if (signal.aborted) return undefined;
    if (this.#failure !== undefined) throw this.#failure;
    return session;
  }

  /** Ends the session and all attempts with this error. Safe to call twice. */
  close(error: VirstreamError): Promise<void> {
    this.#closed ??= this.#close(error);
    return this.#closed;
  }

  async #close(error: VirstreamError): Promise<void> {
    const session = this.#session;
    this.#session = undefined;
    this.#end.abort(error);
    this.#hint?.();
    const released = session === undefined ? undefined : this.#options.release?.(session, error);
    this.#fail(error);
    await released;
    await this.#attempts;
  }

  #start(atOnce: boolean): void {
    if (this.#failure !== undefined || this.#attempting || this.#end.signal.aborted) return;
    this.#attempting = true;
    this.#attempts = this.#makeAttempts(atOnce);
  }

  async #makeAttempts(atOnce: boolean): Promise<void> {
    const { signal } = this.#end;
    let waits = !atOnce;
    while (!signal.aborted && this.#session === undefined && this.#failure === undefined) {
      // Even without a wait, the attempt begins after the function that reports the loss has returned.
      await (waits ? this.#wait() : undefined);
      waits = true;
      if (signal.aborted || this.#session !== undefined) continue;
      try {
        await this.#attempt();
      } catch (thrown) {
        if (signal.aborted || this.#session !== undefined) continue;
        const error = VirstreamError.from(thrown);
        const known = this.#error?.code;
        this.#failures++;
        this.#setError(error);
        this.#endIfFinal(error);
        // If the error is new and waiting does not cure it, a person must learn of it, although the attempts continue.
        if (this.#failure === undefined && !error.retryable && error.code !== known) this.#emit("reconnecting");
      }
    }
    this.#attempting = false;
  }

  async #attempt(): Promise<Session> {
    const { signal } = this.#end;
    const session = await this.#options.open(signal);
    if (signal.aborted) {
      await this.#options.release?.(session, signal.reason);
      throw signal.reason;
    }
    this.restored(session);
    return session;
  }

  /** Waits until the next attempt is due. A hint, a restored session or close() ends the wait early. */
  async #wait(): Promise<void> {
    const early = new AbortController();
    this.#hint = () => early.abort();
    const unlisten = this.#options.onHint?.(this.#hint);
    await sleep(this.#backoff.next(), { signal: early.signal, clock: this.#clock }).catch(() => {});
    unlisten?.();
  }

  #setError(error: VirstreamError): void {
    this.#error = error;
    this.#unreachable = undefined;
  }

  /** Ends all attempts if this error is permanent, or the number of failed attempts has reached its limit. */
  #endIfFinal(error: VirstreamError): void {
    const { isPermanent, reconnect: { attempts = Number.POSITIVE_INFINITY, shouldRetry } = {} } = this.#options;
    try {
      const again = shouldRetry === undefined ? !(isPermanent?.(error) ?? !error.retryable) : shouldRetry(error);
      if (typeof again !== "boolean") throw invalid(`shouldRetry must return true or false, not ${quote(again)}`);
      if (!again || this.#failures >= attempts) this.#fail(error);
    } catch (thrown) {
      this.#fail(VirstreamError.from(thrown));
    }
  }

  #fail(error: VirstreamError): void {
    const failed = this.#failure !== undefined;
    this.#error = error;
    // There are no further attempts, so no request can succeed later: the failure must not be retryable.
    this.#failure = error.retryable
      ? new VirstreamError(error.code, error.message, { cause: error, retryable: false })
      : error;
    if (!failed) this.#emit("closed");
  }

  #emit(state: "connected" | "reconnecting" | "closed"): void {
    this.#listeners.emit({ state, host: this.#options.host(), error: this.#failure ?? this.#error });
  }
}

/**
 * The defaults of `initialMs`, the upper limit of the first random wait, and of `maxMs`, the greatest upper limit. Each
 * limit is twice the limit before it, up to `maxMs`.
 */
const INITIAL_MS = 250;
const MAX_MS = 30_000;
/** After a connection that lasted this long, in ms, the waits begin with the shortest limit again. */
const HEALTHY_MS = 30_000;

/**
 * How long to wait before connecting again. The waits grow, so that a server that is down gets few attempts. Each wait
 * is random between 0 and its limit ("full jitter"), so that the clients of a server that comes back do not all connect
 * at the same time. Backoff has no clock of its own: its owner passes one.
 */
export class Backoff {
  readonly #now: () => number;
  readonly #initialMs: number;
  readonly #maxMs: number;
  #attempts = 0;
  #connectedAt: number | undefined;

  /** @param now milliseconds on a clock that does not jump */
  constructor(now: () => number, { initialMs = INITIAL_MS, maxMs = MAX_MS }: ReconnectOptions = {}) {
    this.#now = now;
    this.#initialMs = initialMs;
    this.#maxMs = Math.max(initialMs, maxMs);
  }

  /** Notes that a connection was made. */
  connected(): void {
    this.#connectedAt = this.#now();
  }

  /** How long to wait before the next attempt, in ms. */
  next(): number {
    if (this.#connectedAt !== undefined && this.#now() - this.#connectedAt >= HEALTHY_MS) this.#attempts = 0;
    this.#connectedAt = undefined;
    const limit = Math.min(this.#maxMs, this.#initialMs * 2 ** this.#attempts);
    if (limit < this.#maxMs) this.#attempts++;
    return Math.random() * limit;
  }
}

/**
 * Resolves at the next change of the source's state, or when this many ms are over. Rejects with the signal's reason
 * when the signal is aborted.
 */
export function nextStatus(
  source: Required<Pick<Driver, "onStatus">>,
  ms: number,
  options: WaitOptions,
): Promise<void> {
  let unlisten!: () => void;
  const change = new Promise<void>((resolve) => {
    unlisten = source.onStatus(() => resolve());
  });
  return withTimeout(change, ms, () => {}, options).finally(unlisten);
}

/** The error for a host that cannot be reached now. */
export function unreachableError(name: string, cause: VirstreamError): VirstreamError {
  const message = `${name} cannot be reached: ${cause.message}`;
  return new VirstreamError("connection-lost", message, { cause });
}

/**
 * A sweep that first waits for a session if there is none. The wait and the sweep together have the query's deadline.
 */
export async function* sweepWhenReached<Session>(
  reconnector: Reconnector<Session>,
  query: Query,
  context: SweepContext,
  sweep: (session: Session, query: Query) => AsyncIterable<readonly DomainStatsRecord[]>,
): AsyncGenerator<readonly DomainStatsRecord[], void, void> {
  const began = performance.now();
  const session = await reconnector.reached(query.deadlineMs, context.signal);
  if (context.signal.aborted) return;
  if (session === undefined) throw reconnector.unreachable;
  const deadlineMs = Math.max(1, Math.round(query.deadlineMs - (performance.now() - began)));
  yield* sweep(session, { ...query, deadlineMs });
}
