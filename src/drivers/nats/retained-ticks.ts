import { randomUUID } from "node:crypto";
import type { Consumer, ConsumerMessages, JsMsg } from "@nats-io/jetstream";
import { onAbort, sleep } from "../../driver/clock.ts";
import { eventLoopTurn } from "../../driver/event-loop.ts";
import { Backoff } from "../../driver/reconnector.ts";
import { discard, type NatsSession } from "./bucket.ts";
import { tokenOf } from "./subjects.ts";

/** While a stream has no new messages, the server sends a heartbeat each time that this many ms have passed. */
const HEARTBEAT_MS = 1_000;
/** How long the server keeps a request for messages, in ms. */
const EXPIRES_MS = 10_000;
/** After this many ns without a request, the server forgets the JetStream consumer. */
const INACTIVE_NS = 30e9;
/** The longest wait between two attempts to read the stream, in ms. */
const MAX_WAIT_MS = 1_000;
/**
 * After one of these notices of NATS's client, no more messages come. For example, a server of a cluster is gone, and
 * the JetStream consumer on it, too.
 */
const LOST: readonly string[] = ["heartbeats_missed", "consumer_not_found", "consumer_deleted", "no_responders"];

/**
 * Reads the stream that retains the ticks of all hosts, but only the messages that come after the reading has begun. If
 * the connection or the JetStream consumer is lost, the reading continues after the last message that came. So it
 * misses nothing that the stream retains.
 */
export class RetainedTicks {
  readonly #session: NatsSession;
  readonly #take: (message: JsMsg) => void;
  readonly #deleted: () => void;
  readonly #end = new AbortController();
  #sequence: number;
  readonly #ended: Promise<void>;
  /** Aborting this ends the present JetStream consumer. The reading then continues with a new JetStream consumer. */
  #restart = new AbortController();

  private constructor(session: NatsSession, sequence: number, take: (message: JsMsg) => void, deleted: () => void) {
    this.#session = session;
    this.#sequence = sequence;
    this.#take = take;
    this.#deleted = deleted;
    this.#ended = this.#run();
  }

  /**
   * Begins to read the stream. Returns undefined if there is no stream, or this client may not use it.
   *
   * @param deleted called when there is no stream any more
   */
  static async open(
    session: NatsSession,
    take: (message: JsMsg) => void,
    deleted: () => void,
  ): Promise<RetainedTicks | undefined> {
    const sequence = await lastSequence(session).catch(() => undefined);
    return sequence === undefined ? undefined : new RetainedTicks(session, sequence, take, deleted);
  }

  /**
   * Called when the connection is there again. Begins with a new JetStream consumer, because the server may have
   * forgotten the present one.
   */
  reconnected(): void {
    this.#restart.abort();
  }

  /** Stops. Resolves when nothing is read any more. */
  stop(): Promise<void> {
    this.#end.abort();
    this.#restart.abort();
    return this.#ended;
  }

  async #run(): Promise<void> {
    const backoff = new Backoff(() => performance.now(), { maxMs: MAX_WAIT_MS });
    while (!this.#end.signal.aborted) {
      this.#restart = new AbortController();
      try {
        // A stream that was deleted and created again numbers its messages from the beginning again.
        this.#sequence = Math.min(this.#sequence, await lastSequence(this.#session));
        await this.#read(this.#restart.signal);
      } catch (thrown) {
        if (thrown instanceof Error && thrown.message === "stream not found") {
          if (!this.#end.signal.aborted) this.#deleted();
          return;
        }
      }
      await sleep(backoff.next(), { signal: this.#end.signal }).catch(() => {});
    }
  }

  /** Reads until the JetStream consumer is lost or the signal is aborted. */
  async #read(signal: AbortSignal): Promise<void> {
    const { library, connection, subjects, named } = this.#session;
    let consumer: Consumer | undefined;
    let messages: ConsumerMessages | undefined;
    const stop = (): void => messages?.stop();
    const unlisten = onAbort(signal, stop);
    try {
      // Does not use the ordered consumer of NATS's client 3.4: if such a consumer is stopped while it recovers, it
      // keeps a timer for ever.
      const { jetstream, jetstreamManager, AckPolicy, DeliverPolicy } = library.jetstream;
      const { consumers } = await jetstreamManager(connection, { checkAPI: false });
      const info = await consumers.add(subjects.stream, {
        ...{ name: `virstream-${randomUUID()}`, mem_storage: true, num_replicas: 1, inactive_threshold: INACTIVE_NS },
        ...{ ack_policy: AckPolicy.None, deliver_policy: DeliverPolicy.StartSequence },
        opt_start_seq: this.#sequence + 1,
        // NATS servers before 2.10 accept one subject only. With several named hosts, all ticks come, and the fleet
        // selects the hosts.
        filter_subject: subjects.tick(named?.length === 1 ? tokenOf(named[0]!) : "*"),
      });
      consumer = jetstream(connection).consumers.getConsumerFromInfo(info);
      messages = await consumer.consume({ idle_heartbeat: HEARTBEAT_MS, expires: EXPIRES_MS });
      if (signal.aborted) return;
      void stopWhenLost(messages);
      let delivered = 0;
      for await (const message of messages) {
        // If a delivery sequence is left out, messages were lost on their way. Then a new JetStream consumer reads
        // again from the first lost message.
        if (signal.aborted || message.info.deliverySequence !== ++delivered) return;
        if (message.seq <= this.#sequence) continue;
        this.#sequence = message.seq;
        this.#take(message);
        // Lets the consumers of virstream's watches run between two ticks. Otherwise they would count as slow in a
        // burst of ticks, and miss sweeps.
        await eventLoopTurn();
      }
    } finally {
      unlisten();
      stop();
      if (consumer !== undefined) discard(this.#session, consumer);
    }
  }
}

async function stopWhenLost(messages: ConsumerMessages): Promise<void> {
  for await (const { type } of messages.status()) if (LOST.includes(type)) messages.stop();
}

/** The number of the last message of the stream. */
async function lastSequence({ library, connection, subjects }: NatsSession): Promise<number> {
  const { streams } = await library.jetstream.jetstreamManager(connection, { checkAPI: false });
  return (await streams.info(subjects.stream)).state.last_seq;
}
