import { Backoff } from "../../driver/backoff.ts";
import { VirstreamError } from "../../model/error.ts";
import type { Query } from "../../model/query.ts";
import type { Cadence, WatchEvent } from "../../model/watch.ts";
import { ChannelState } from "../../wire/channel-state.ts";
import { ChunkQueue, CreditReturn } from "./chunk-queue.ts";
import type { Link } from "./link.ts";
import type { RemoteSession, Since, WatchReceiver } from "./session.ts";
import type { StreamControl } from "./sweep.ts";

/**
 * So many chunks may wait for the consumer. Credit bounds records only; the ends of ticks in which nothing changed take
 * none of it, and would pile up without end for a consumer that does not pull.
 */
const MAX_QUEUED = 4_096;

/** One sending of the watch: from its request to its END, or to the loss of its session. */
interface Subscription extends WatchReceiver {
  control: StreamControl | undefined;
  readonly credit: CreditReturn;
  /** Whether the server has answered. */
  heard: boolean;
  /** Whether it was cancelled because its consumer does not keep up. */
  overrun: boolean;
}

/**
 * A watch at a server, which outlives connections: it is sent again over each new one, with where it stood, and the
 * server goes on from there or sends a snapshot.
 *
 * It is sent again only when its consumer has pulled everything that was queued: then a connection that comes and goes
 * cannot pile up more than the credit of one. What can be mended by waiting is a `status`, told once and not per attempt;
 * anything else is an error of the iteration, after what was queued. It begins with the first pull.
 */
export class RemoteWatch implements AsyncIterableIterator<readonly WatchEvent[]> {
  readonly #link: Link;
  readonly #query: Query;
  readonly #cadence: Cadence;
  readonly #signal: AbortSignal;
  readonly #state: ChannelState;
  readonly #queue = new ChunkQueue<WatchEvent>();
  /** For the waits after an END; those for a connection are the link's. */
  readonly #backoff = new Backoff({ now: () => performance.now() });
  #started = false;
  #unlisten: (() => void) | undefined;
  #subscription: Subscription | undefined;
  #retry: ReturnType<typeof setTimeout> | undefined;
  /** The epoch that the state is of: that of the last server that answered. Undefined before the first, and once void. */
  #epoch: string | undefined;
  /** Whether the watch was interrupted, by more than its reader being slow, since the server last answered. */
  #interrupted = false;
  #told: "connected" | "reconnecting" = "connected";

  /** @param signal aborted when nobody wants the watch any more: the iteration then ends, without an error */
  constructor(link: Link, query: Query, cadence: Cadence, signal: AbortSignal) {
    this.#link = link;
    this.#query = query;
    this.#cadence = cadence;
    this.#signal = signal;
    this.#state = new ChannelState(link.dial.owner);
  }

  next(): Promise<IteratorResult<readonly WatchEvent[]>> {
    if (!this.#started) this.#start();
    const next = this.#queue.next();
    this.#advance();
    return next;
  }

  async return(): Promise<IteratorResult<readonly WatchEvent[]>> {
    this.#leave();
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  #start(): void {
    this.#started = true;
    if (this.#signal.aborted) {
      this.#leave();
      return;
    }
    this.#signal.addEventListener("abort", this.#leave);
    this.#unlisten = this.#link.onChange(() => this.#onLink());
    this.#onLink();
  }

  #onLink(): void {
    const { session, over } = this.#link;
    if (over !== undefined) {
      this.#end(over);
      return;
    }
    if (session === undefined) {
      this.#interrupted = true;
      // The link has waits of its own.
      clearTimeout(this.#retry);
      this.#retry = undefined;
      this.#unsubscribe();
      this.#tellReconnecting(this.#link.lost);
    }
    this.#advance();
  }

  /** Sends the watch, if nothing stands against it. */
  #advance(): void {
    const { session, welcome } = this.#link;
    const idle = this.#subscription === undefined && this.#retry === undefined && !this.#queue.ended;
    if (!idle || session === undefined || this.#queue.size > 0) return;
    this.#subscribe(session, welcome!.epoch);
  }

  #subscribe(session: RemoteSession, epoch: string): void {
    if (this.#interrupted) {
      const sameEpoch = this.#epoch === epoch;
      this.#state.reconnect(sameEpoch);
      // Once its ticks are void they stay so, even if the next server is again the one before.
      if (!sameEpoch) this.#epoch = undefined;
    }
    const { since } = this.#state;
    const resume: Since | undefined =
      since === undefined || this.#epoch !== epoch
        ? undefined
        : { epoch, channel: since.channel, sequence: since.sequence };
    const subscription: Subscription = {
      control: undefined,
      credit: new CreditReturn(this.#link.dial.credit, (bytes) => subscription.control?.grant(bytes)),
      heard: false,
      overrun: false,
      events: (events, bytes) => this.#onEvents(subscription, epoch, events, bytes),
      ended: (error) => this.#onEnd(subscription, error),
    };
    this.#subscription = subscription;
    subscription.control = session.watch(this.#query, this.#cadence, this.#state, resume, subscription);
  }

  #onEvents(subscription: Subscription, epoch: string, events: readonly WatchEvent[], bytes: number): void {
    if (subscription !== this.#subscription) return;
    if (!subscription.heard) {
      subscription.heard = true;
      this.#epoch = epoch;
      this.#interrupted = false;
      this.#backoff.connected();
      this.#tellConnected();
    }
    if (events.length === 0) subscription.credit.consumed(bytes);
    else this.#queue.push(events, bytes, subscription.credit);
    if (this.#queue.size > MAX_QUEUED) {
      // What a server does with a slow reader. Its END follows, and then the watch goes on from where it stands.
      subscription.overrun = true;
      subscription.control?.cancel();
    }
  }

  #onEnd(subscription: Subscription, error: VirstreamError | undefined): void {
    if (subscription !== this.#subscription) return;
    this.#subscription = undefined;
    subscription.credit.end();
    const code = subscription.overrun ? "slow-consumer" : "server-shutdown";
    const why = error ?? new VirstreamError(code, `${this.#link.dial.url} ended the watch`);
    if (!why.retryable) {
      this.#end(why);
      return;
    }
    // A reader that was too slow learns it from the gap. But a server that ends every watch at once is given time.
    if (why.code !== "slow-consumer" || !subscription.heard) {
      this.#interrupted = true;
      this.#tellReconnecting(why);
      this.#retry = setTimeout(() => {
        this.#retry = undefined;
        this.#advance();
      }, this.#backoff.next());
    }
    this.#advance();
  }

  /** Lets the server's side go; what is queued stays. */
  #unsubscribe(): void {
    const subscription = this.#subscription;
    this.#subscription = undefined;
    subscription?.credit.end();
    subscription?.control?.cancel();
  }

  #tellReconnecting(error: VirstreamError): void {
    if (this.#told === "reconnecting") return;
    this.#told = "reconnecting";
    this.#queue.push([{ type: "status", state: "reconnecting", host: undefined, error }]);
  }

  #tellConnected(): void {
    if (this.#told === "connected") return;
    this.#told = "connected";
    this.#queue.push([{ type: "status", state: "connected", host: undefined, error: undefined }]);
  }

  readonly #leave = (): void => {
    this.#started = true;
    this.#end(undefined);
    this.#queue.discard();
  };

  #end(error: VirstreamError | undefined): void {
    this.#signal.removeEventListener("abort", this.#leave);
    this.#unlisten?.();
    clearTimeout(this.#retry);
    this.#retry = undefined;
    this.#unsubscribe();
    this.#queue.end(error);
  }
}
