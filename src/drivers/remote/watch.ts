import { Backoff, type Reconnector } from "../../driver/reconnector.ts";
import { VirstreamError } from "../../model/error.ts";
import type { Query } from "../../model/query.ts";
import type { Cadence, WatchSink } from "../../model/watch.ts";
import { ChannelState } from "../../wire/channel-state.ts";
import { ChannelTable } from "../../wire/channel-table.ts";
import type { MessageDecoder } from "../../wire/message-decoder.ts";
import type { RemoteSession, ServerAddress, WatchReceiver } from "./session.ts";
import type { StreamControl } from "./sweep.ts";

/**
 * A watch at a server. The watch continues across connections. It sends its request again over each new connection,
 * with the position where it stopped. The server then resumes there, or sends a snapshot.
 *
 * The session's decoder applies each message to the watch's ChannelState, which calls the sink. So a message is
 * consumed at once, and its credit goes back at once. An outage causes one `status` event with `reconnecting`, however
 * many attempts to connect fail. An error that a retry cannot repair ends the watch.
 */
export class RemoteWatch implements WatchReceiver {
  readonly #reconnector: Reconnector<RemoteSession>;
  readonly #address: ServerAddress;
  readonly #query: Query;
  readonly #cadence: Cadence;
  readonly #sink: WatchSink;
  readonly #state: ChannelState;
  /** The back-off after the server has ended the watch. For connections, the reconnector has its own back-off. */
  readonly #backoff = new Backoff(() => performance.now());
  readonly #unlisten: () => void;
  /** The request that is under way, until its `end` or the loss of its session. */
  #sent: StreamControl | undefined;
  /** True if the server has answered the request. */
  #answered = false;
  #retry: ReturnType<typeof setTimeout> | undefined;
  /**
   * The epoch to which the ticks in `#state` belong: that of the server that answered last. Undefined before the first
   * answer, and after a reconnection to a server with another epoch.
   */
  #epoch: string | undefined;
  /** True if an outage, and not only a slow consumer, interrupted the watch since the server's last answer. */
  #interrupted = false;
  #reported: "connected" | "reconnecting" = "connected";
  #ended = false;

  /** Begins the watch. */
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

  /** Ends the watch without an event. Safe to call twice. */
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
      // No back-off is needed here, because the reconnector has its own back-off.
      clearTimeout(this.#retry);
      this.#retry = undefined;
      this.#cancel();
      this.#report("reconnecting", unreachable);
    }
    this.#send();
  }

  /** Sends the request of the watch, unless the request is under way, waits for the back-off, or has no connection. */
  #send(): void {
    const { session } = this.#reconnector;
    if (this.#ended || this.#sent !== undefined || this.#retry !== undefined || session === undefined) return;
    const { epoch } = session.welcome;
    if (this.#interrupted) {
      const sameEpoch = this.#epoch === epoch;
      this.#state.reconnect(sameEpoch);
      // A tick number of another epoch stays invalid, even if the next connection leads to the earlier server again.
      if (!sameEpoch) this.#epoch = undefined;
    }
    const { since } = this.#state;
    const resume = since === undefined || this.#epoch !== epoch ? undefined : { epoch, ...since };
    this.#answered = false;
    try {
      this.#sent = session.watch(this.#query, this.#cadence, resume, this);
    } catch (refusal) {
      this.ended(VirstreamError.from(refusal));
    }
  }

  begin(id: number, decoder: MessageDecoder): void {
    ChannelTable.of(decoder).adopt(id, this.#state);
  }

  applied(bytes: number): void {
    this.#sent?.consumed(bytes);
    this.#sink.flush();
  }

  ended(error: VirstreamError | undefined): void {
    this.#sent = undefined;
    const reason = error ?? new VirstreamError("server-shutdown", `${this.#address.url} ended the watch`);
    if (!reason.retryable) {
      this.#end(reason);
      return;
    }
    // After `slow-consumer` the request is sent again at once: there was no outage, and a gap reports the skipped
    // sweeps. If the server has not even answered the request, there is a back-off also after `slow-consumer`. It
    // protects a server that ends every watch at once.
    if (reason.code !== "slow-consumer" || !this.#answered) {
      this.#interrupted = true;
      this.#report("reconnecting", reason);
      this.#retry = setTimeout(() => {
        this.#retry = undefined;
        this.#send();
      }, this.#backoff.next());
    }
    this.#send();
  }

  #onAnswer(): void {
    if (this.#answered) return;
    this.#answered = true;
    this.#epoch = this.#reconnector.session?.welcome.epoch;
    this.#interrupted = false;
    this.#backoff.connected();
    this.#report("connected", undefined);
  }

  /** Cancels the watch at the server. */
  #cancel(): void {
    this.#sent?.cancel();
    this.#sent = undefined;
  }

  /** Sends the sink a `status` event, but only if the state has changed. */
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
