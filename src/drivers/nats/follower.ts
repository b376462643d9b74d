import type { Subscription } from "@nats-io/transport-node";
import { isLate, sleep } from "../../driver/clock.ts";
import { Backoff } from "../../driver/reconnector.ts";
import type { VirstreamError } from "../../model/error.ts";
import { type NatsSession, readBucket } from "./bucket.ts";
import type { Fleet } from "./fleet.ts";
import { natsError } from "./library.ts";
import { RetainedTicks } from "./retained-ticks.ts";
import { tokenOf } from "./subjects.ts";

/** The time between two checks for silent hosts, in ms. */
const CHECK_MS = 500;
/** How long to wait for the rest of a state that its publisher is replacing, in ms. */
const PATIENCE_MS = 2_000;

/**
 * Keeps a fleet up to date while somebody watches it. It reads the ticks from the stream that retains them, or, if
 * there is no such stream, from the subjects of the hosts. After a lost connection, the stream still has the ticks that
 * the follower missed. Without a stream, the follower reads the newest states from the bucket again.
 */
export class Follower {
  readonly #session: NatsSession;
  readonly #fleet: Fleet;
  readonly #failed: (error: VirstreamError) => void;
  readonly #end = new AbortController();
  readonly #timer: NodeJS.Timeout;
  readonly #subscriptions: Subscription[] = [];
  #retained: RetainedTicks | undefined;
  #connected = true;
  #loading: AbortController | undefined;
  /** Resolves when the newest states were read once. */
  readonly ready: Promise<void>;

  /** @param failed called when the server refuses something that the follower needs */
  constructor(session: NatsSession, fleet: Fleet, failed: (error: VirstreamError) => void) {
    this.#session = session;
    this.#fleet = fleet;
    this.#failed = failed;
    let due = performance.now() + CHECK_MS;
    this.#timer = setInterval(() => {
      const now = performance.now();
      // After a pause of the process, messages may still wait in the socket, so no host counts as silent yet.
      if (isLate(now - due)) this.#excuse();
      due = now + CHECK_MS;
      if (this.#connected) fleet.check(now);
    }, CHECK_MS);
    this.ready = this.#start();
  }

  /** The driver calls this when the connection is lost. The hosts' silence then says nothing about the hosts. */
  lost(): void {
    this.#connected = false;
  }

  /** The driver calls this when the connection is there again. */
  reconnected(): void {
    this.#connected = true;
    this.#excuse();
    if (this.#retained === undefined) void this.#load();
    else this.#retained.reconnected();
  }

  /** Stops. Resolves when the follower no longer reads anything. */
  async stop(): Promise<void> {
    this.#end.abort();
    this.#loading?.abort();
    clearInterval(this.#timer);
    for (const subscription of this.#subscriptions) subscription.unsubscribe();
    await this.#retained?.stop();
  }

  async #start(): Promise<void> {
    const { subjects } = this.#session;
    // Begins to receive messages before it reads the bucket, so that it misses no message between the two steps.
    this.#retained = await RetainedTicks.open(
      this.#session,
      ({ subject, data, info }) => {
        const ageMs = info.pending === 0 ? 0 : Math.max(0, Date.now() - info.timestampNanos / 1e6);
        this.#fleet.take(subjects.hostOf(subject), data, ageMs, false);
      },
      () => void this.#start(),
    );
    if (this.#end.signal.aborted) void this.#retained?.stop();
    else if (this.#retained === undefined) this.#subscribe();
    await this.#load();
  }

  #subscribe(): void {
    const { connection, subjects, named, uri } = this.#session;
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

  /** Reads the bucket. Tries again after each error that a retry may repair, until the connection is lost. */
  async #load(): Promise<void> {
    this.#loading?.abort();
    const loading = new AbortController();
    this.#loading = loading;
    const { signal } = loading;
    const backoff = new Backoff(() => performance.now());
    while (!signal.aborted && !this.#end.signal.aborted && this.#connected) {
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
