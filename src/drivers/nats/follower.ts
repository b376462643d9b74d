import type { ConsumerMessages, JsMsg } from "@nats-io/jetstream";
import type { Subscription } from "@nats-io/transport-node";
import { isLate, sleep } from "../../driver/clock.ts";
import { Backoff } from "../../driver/reconnector.ts";
import type { VirstreamError } from "../../model/error.ts";
import { type NatsSession, readBucket } from "./bucket.ts";
import type { Fleet } from "./fleet.ts";
import { natsError } from "./library.ts";
import { tokenOf } from "./subjects.ts";

/** How often it looks for silent hosts, in ms. */
const CHECK_MS = 500;
/** How long to wait for the rest of a state that its publisher is replacing, in ms. */
const PATIENCE_MS = 2_000;
/** How often the server says that it is there when a stream has no messages, in ms; without it, the client asks again. */
const HEARTBEAT_MS = 1_000;
const EXPIRES_MS = 10_000;

/**
 * Keeps a fleet up to date while somebody watches it: from the subjects of its hosts, or from the stream that retains them if there
 * is one. With a stream, a reader that was cut off gets what it missed. Without one, it reads the newest states from the bucket
 * again.
 */
export class Follower {
  readonly #session: NatsSession;
  readonly #fleet: Fleet;
  readonly #failed: (error: VirstreamError) => void;
  readonly #end = new AbortController();
  readonly #timer: NodeJS.Timeout;
  readonly #subscriptions: Subscription[] = [];
  #stream: ConsumerMessages | undefined;
  #connected = true;
  #loading: AbortController | undefined;
  /** Resolves when the newest states were read once. */
  readonly ready: Promise<void>;

  /** @param failed called when the server refuses what it needs */
  constructor(session: NatsSession, fleet: Fleet, failed: (error: VirstreamError) => void) {
    this.#session = session;
    this.#fleet = fleet;
    this.#failed = failed;
    let due = performance.now() + CHECK_MS;
    this.#timer = setInterval(() => {
      const now = performance.now();
      // After a pause of the process, the socket has not been read yet.
      if (isLate(now - due)) this.#excuse();
      due = now + CHECK_MS;
      if (this.#connected) fleet.check(now);
    }, CHECK_MS);
    this.ready = this.#start();
  }

  /** The connection was lost: that no host is heard says nothing about the hosts. */
  lost(): void {
    this.#connected = false;
  }

  /** The connection is there again. */
  reconnected(): void {
    this.#connected = true;
    this.#excuse();
    if (this.#stream === undefined) void this.#load();
  }

  stop(): void {
    if (this.#end.signal.aborted) return;
    this.#end.abort();
    this.#loading?.abort();
    clearInterval(this.#timer);
    for (const subscription of this.#subscriptions) subscription.unsubscribe();
    this.#stream?.stop();
  }

  async #start(): Promise<void> {
    // First the messages, then the bucket: so none comes between the two.
    if (!(await this.#openStream())) this.#subscribe();
    await this.#load();
  }

  #subscribe(): void {
    const { connection, subjects, named, uri } = this.#session;
    if (this.#end.signal.aborted) return;
    for (const token of named?.map(tokenOf) ?? ["*"]) {
      const subscription = connection.subscribe(subjects.tick(token), {
        callback: (error, message) => {
          if (error !== null) this.#failed(natsError(error, uri));
          else this.#fleet.take(subjects.hostOf(message.subject), message.data, 0, false);
        },
      });
      this.#subscriptions.push(subscription);
    }
  }

  /** Whether there is a stream with the ticks. */
  async #openStream(): Promise<boolean> {
    const { library, connection, subjects, named } = this.#session;
    const { jetstream, DeliverPolicy } = library.jetstream;
    // Servers before 2.10 take one subject; the fleet itself selects the hosts.
    const filter = named?.length === 1 ? subjects.tick(tokenOf(named[0]!)) : subjects.tick("*");
    try {
      const consumer = await jetstream(connection).consumers.get(subjects.stream, {
        deliver_policy: DeliverPolicy.New,
        filter_subjects: filter,
      });
      if (this.#end.signal.aborted) return true;
      const callback = (message: JsMsg): void => {
        const isNewest = message.info.pending === 0;
        const ageMs = isNewest ? 0 : Math.max(0, Date.now() - message.info.timestampNanos / 1e6);
        this.#fleet.take(subjects.hostOf(message.subject), message.data, ageMs, false);
      };
      const messages = await consumer.consume({ callback, idle_heartbeat: HEARTBEAT_MS, expires: EXPIRES_MS });
      this.#stream = messages;
      if (this.#end.signal.aborted) messages.stop();
      void this.#followStream(messages);
      return true;
    } catch {
      // There is none, or the reader may not use it.
      return false;
    }
  }

  /** When the stream was deleted, the subjects go on without it, or with a new one. */
  async #followStream(messages: ConsumerMessages): Promise<void> {
    for await (const { type } of messages.status()) {
      if (type !== "stream_not_found") continue;
      messages.stop();
      this.#stream = undefined;
      if (!this.#end.signal.aborted) await this.#start();
      return;
    }
  }

  /** Reads the bucket, again and again until it succeeds or the connection is lost. */
  async #load(): Promise<void> {
    this.#loading?.abort();
    const loading = new AbortController();
    this.#loading = loading;
    const { signal } = loading;
    const backoff = new Backoff(() => performance.now());
    while (!signal.aborted && this.#connected) {
      try {
        await readBucket(this.#session, this.#fleet, { signal, patienceMs: PATIENCE_MS });
        return;
      } catch (thrown) {
        const error = natsError(thrown, this.#session.uri);
        if (!error.retryable) {
          this.#failed(error);
          return;
        }
        await sleep(backoff.next(), { signal }).catch(() => {});
      }
    }
  }

  #excuse(): void {
    const now = performance.now();
    for (const state of this.#fleet.hosts.values()) state.excuse(now);
  }
}
