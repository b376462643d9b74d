import { Backoff } from "../../driver/backoff.ts";
import type { Reconnector } from "../../driver/reconnector.ts";
import { VirstreamError } from "../../model/error.ts";
import type { Query } from "../../model/query.ts";
import type { Cadence, WatchSink } from "../../model/watch.ts";
import { ChannelState } from "../../wire/channel-state.ts";
import { CreditMeter } from "../../wire/flow-control.ts";
import type { RemoteSession, ServerAddress, Since, WatchReceiver } from "./session.ts";
import type { StreamControl } from "./sweep.ts";

/** One WATCH that was sent: from its request to its END, or to the loss of its session. */
interface Sent extends WatchReceiver {
  control: StreamControl | undefined;
  /** Whether the server has answered. */
  answered: boolean;
}

/**
 * A watch at a server, which outlives connections: it is sent again over each new one, with where it stopped, and the
 * server goes on from there or sends a snapshot.
 *
 * The session's decoder applies each message to the state, and the state calls the sink; so what a server sent is consumed
 * at once, and its credit goes back at once. An outage is one `status` event, however many attempts to connect it takes;
 * an error that waiting does not cure ends the watch.
 */
export class RemoteWatch {
  readonly #reconnector: Reconnector<RemoteSession>;
  readonly #address: ServerAddress;
  readonly #query: Query;
  readonly #cadence: Cadence;
  readonly #sink: WatchSink;
  readonly #state: ChannelState;
  /** For the waits after an END; those for a connection are the reconnector's. */
  readonly #backoff = new Backoff({ now: () => performance.now() });
  readonly #unlisten: () => void;
  #sent: Sent | undefined;
  #retry: ReturnType<typeof setTimeout> | undefined;
  /** The epoch that the state is of: that of the last server that answered. Undefined before the first, and once void. */
  #epoch: string | undefined;
  /** Whether the watch was interrupted, by more than its reader being slow, since the server last answered. */
  #interrupted = false;
  #reported: "connected" | "reconnecting" = "connected";
  #ended = false;

  /** Begins it. */
  constructor(
    reconnector: Reconnector<RemoteSession>,
    address: ServerAddress,
    query: Query,
    cadence: Cadence,
    sink: WatchSink,
  ) {
    this.#reconnector = reconnector;
    this.#address = address;
    this.#query = query;
    this.#cadence = cadence;
    this.#sink = sink;
    this.#state = new ChannelState(address.owner, sink, () => this.#onAnswer());
    this.#unlisten = reconnector.onStatus(() => this.#onStatus());
    this.#onStatus();
  }

  /** Ends it without a word. Safe to call twice. */
  stop(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#state.close();
    this.#unlisten();
    clearTimeout(this.#retry);
    this.#cancel();
  }

  #onStatus(): void {
    const { session, failure, unreachable } = this.#reconnector;
    if (failure !== undefined) {
      this.#end(failure);
      return;
    }
    if (session === undefined) {
      this.#interrupted = true;
      // The reconnector has waits of its own.
      clearTimeout(this.#retry);
      this.#retry = undefined;
      this.#cancel();
      this.#report("reconnecting", unreachable);
    }
    this.#send();
  }

  /** Sends the watch, unless it is under way, waits, or has no connection. */
  #send(): void {
    const { session } = this.#reconnector;
    if (this.#ended || this.#sent !== undefined || this.#retry !== undefined || session === undefined) return;
    this.#sendOver(session, session.welcome.epoch);
  }

  #sendOver(session: RemoteSession, epoch: string): void {
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
    const credit = new CreditMeter(this.#address.credit);
    const sent: Sent = {
      control: undefined,
      answered: false,
      applied: (bytes) => {
        if (sent !== this.#sent) return;
        const grant = credit.consume(bytes);
        if (grant > 0) sent.control?.grant(grant);
        this.#sink.flush();
      },
      ended: (error) => this.#onEnd(sent, error),
    };
    this.#sent = sent;
    sent.control = session.watch(this.#query, this.#cadence, this.#state, resume, sent);
  }

  #onAnswer(): void {
    if (this.#sent === undefined || this.#sent.answered) return;
    this.#sent.answered = true;
    this.#epoch = this.#reconnector.session?.welcome.epoch;
    this.#interrupted = false;
    this.#backoff.connected();
    this.#report("connected", undefined);
  }

  #onEnd(sent: Sent, error: VirstreamError | undefined): void {
    if (sent !== this.#sent) return;
    this.#sent = undefined;
    const why = error ?? new VirstreamError("server-shutdown", `${this.#address.url} ended the watch`);
    if (!why.retryable) {
      this.#end(why);
      return;
    }
    // A client that was too slow learns it from the gap. But a server that ends every watch at once is given time.
    if (why.code !== "slow-consumer" || !sent.answered) {
      this.#interrupted = true;
      this.#report("reconnecting", why);
      this.#retry = setTimeout(() => {
        this.#retry = undefined;
        this.#send();
      }, this.#backoff.next());
    }
    this.#send();
  }

  /** Releases the server's side. */
  #cancel(): void {
    const sent = this.#sent;
    this.#sent = undefined;
    sent?.control?.cancel();
  }

  /** Each change is one event. */
  #report(state: "connected" | "reconnecting", error: VirstreamError | undefined): void {
    if (this.#reported === state || this.#ended) return;
    this.#reported = state;
    this.#sink.event({ type: "status", state, host: undefined, error });
    this.#sink.flush();
  }

  #end(error: VirstreamError): void {
    if (this.#ended) return;
    this.stop();
    this.#sink.end(error);
  }
}
