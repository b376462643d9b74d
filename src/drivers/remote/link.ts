import { Backoff } from "../../driver/backoff.ts";
import { VirstreamError } from "../../model/error.ts";
import type { Welcome } from "../../wire/message-encoder.ts";
import { type Dial, RemoteSession } from "./session.ts";

/**
 * The way to a server: one session at a time, and when that is lost another one, tried for with growing waits. What
 * trying again cannot mend (a token that is refused, a server that breaks the protocol) ends it for good.
 */
export class Link {
  /** Where it leads. */
  readonly dial: Dial;
  /** Called with the reason when the connection is lost, and with undefined when there is one again. */
  onConnection: ((lost: VirstreamError | undefined) => void) | undefined;
  readonly #backoff = new Backoff({ now: () => performance.now() });
  readonly #end = new AbortController();
  readonly #listeners = new Set<() => void>();
  #session: RemoteSession | undefined;
  /** The last session there was, also one that is lost: its socket may not be closed yet. */
  #last: RemoteSession | undefined;
  #welcome: Welcome | undefined;
  #lost: VirstreamError | undefined;
  #over: VirstreamError | undefined;
  #reconnecting: Promise<void> | undefined;
  #closed: Promise<void> | undefined;

  constructor(dial: Dial) {
    this.dial = dial;
  }

  /** The session; undefined while there is none. */
  get session(): RemoteSession | undefined {
    return this.#session;
  }

  /** What the server said of itself at the last connection; undefined before the first. */
  get welcome(): Welcome | undefined {
    return this.#welcome;
  }

  /** Why there is no connection at present; undefined: there is one. */
  get absence(): VirstreamError | undefined {
    return this.#lost;
  }

  /** Why there is no session, as far as the last attempt tells. */
  get lost(): VirstreamError {
    const why = this.#lost?.message ?? "the connection was lost";
    const message = `${this.dial.url} cannot be reached, which is tried again by and by: ${why}`;
    return new VirstreamError("connection-lost", message, { cause: this.#lost });
  }

  /** Why there will be no session any more; undefined while there may be. */
  get over(): VirstreamError | undefined {
    return this.#over;
  }

  /** The first connection. Rejects with why there is none; then nothing is tried again. */
  async open(signal: AbortSignal | undefined): Promise<void> {
    signal?.throwIfAborted();
    await this.#connect(signal);
  }

  /** Calls back whenever the session, or that there will be none, has changed. Gives what ends that. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /**
   * Resolves with the session as soon as there is one, or with undefined when the time is over or the signal aborted.
   *
   * @throws VirstreamError when there will be none any more
   */
  async reached(withinMs: number, signal: AbortSignal): Promise<RemoteSession | undefined> {
    if (this.#session === undefined && this.#over === undefined && !signal.aborted) {
      await new Promise<void>((resolve) => {
        const settle = (): void => {
          clearTimeout(timer);
          signal.removeEventListener("abort", settle);
          unlisten();
          resolve();
        };
        const timer = setTimeout(settle, withinMs);
        signal.addEventListener("abort", settle);
        const unlisten = this.onChange(() => {
          if (this.#session !== undefined || this.#over !== undefined) settle();
        });
      });
    }
    if (this.#over !== undefined) throw this.#over;
    return this.#session;
  }

  /** Ends the session, and the attempts to have one, with `connection-closed`. Safe to call twice. */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    const error = new VirstreamError("connection-closed", `the connection to ${this.dial.url} was closed`);
    this.#session = undefined;
    this.#over = error;
    this.#end.abort(error);
    const closed = this.#last?.close(error);
    this.#tell();
    await closed;
    await this.#reconnecting;
  }

  async #connect(signal: AbortSignal | undefined): Promise<void> {
    const session = new RemoteSession(this.dial, signal);
    this.#last = session;
    const welcome = await session.welcome;
    // It may have been lost or closed since: a promise tells of its beginning a little late.
    if (session.error !== undefined) throw session.error;
    this.#welcome = welcome;
    session.onLost = (error) => this.#onLost(error);
    this.#session = session;
    this.#lost = undefined;
    this.#backoff.connected();
    this.#tell();
  }

  #onLost(error: VirstreamError): void {
    this.#session = undefined;
    this.#lost = error;
    if (error.retryable) this.#reconnecting = this.#reconnect();
    else this.#over = error;
    this.#tell();
    this.onConnection?.(error);
  }

  async #reconnect(): Promise<void> {
    const { signal } = this.#end;
    for (;;) {
      await this.#pause(this.#backoff.next());
      if (signal.aborted) return;
      try {
        await this.#connect(signal);
        break;
      } catch (thrown) {
        if (signal.aborted) return;
        const error = VirstreamError.from(thrown);
        this.#lost = error;
        if (error.retryable) continue;
        this.#over = error;
        this.#tell();
        return;
      }
    }
    this.onConnection?.(undefined);
  }

  /** Resolves after a wait, or sooner when the link is closed or a browser says that it is on line again. */
  #pause(ms: number): Promise<void> {
    const { signal } = this.#end;
    // Only browsers tell of the network, and only there is the global scope a target of events.
    const network: Partial<Pick<EventTarget, "addEventListener" | "removeEventListener">> = globalThis;
    return new Promise((resolve) => {
      const settle = (): void => {
        clearTimeout(timer);
        signal.removeEventListener("abort", settle);
        network.removeEventListener?.("online", settle);
        resolve();
      };
      const timer = setTimeout(settle, ms);
      signal.addEventListener("abort", settle);
      network.addEventListener?.("online", settle);
      if (signal.aborted) settle();
    });
  }

  #tell(): void {
    for (const listener of [...this.#listeners]) listener();
  }
}
