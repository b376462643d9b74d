import type { Consumer, ConsumerMessages } from "@nats-io/jetstream";
import type { NatsConnection } from "@nats-io/transport-node";
import { onAbort } from "../../driver/clock.ts";
import { VirstreamError } from "../../model/error.ts";
import type { Fleet } from "./fleet.ts";
import type { HostState } from "./host-state.ts";
import { type NatsLibrary, natsError } from "./library.ts";
import { type Subjects, tokenOf } from "./subjects.ts";

/** A connection to a fleet. */
export interface NatsSession {
  readonly library: NatsLibrary;
  readonly connection: NatsConnection;
  /** The URI that error messages name. */
  readonly uri: string;
  readonly subjects: Subjects;
  /** The beginning of the subjects of replies; undefined: `_INBOX`. */
  readonly inbox: string | undefined;
  /** False while the connection is lost. */
  isConnected: boolean;
  /** Requests to delete JetStream consumers; each request stays here until the server has answered it. */
  readonly deletions: Set<Promise<unknown>>;
  /**
   * The hosts to read, if the URI names hosts and uses no wildcards. Undefined: the messages of all hosts are read, and
   * the Fleet ignores hosts that do not match the URI's patterns.
   */
  readonly named: readonly string[] | undefined;
}

/** How long the server may send nothing while the bucket is read, in ms. */
const SILENCE_MS = 10_000;

/** How to read a bucket. */
export interface BucketReading {
  readonly signal: AbortSignal;
  /** After this many ms, the reading no longer waits for hosts whose publisher is replacing their state. */
  readonly patienceMs: number;
  /** Called with each host whose state was read, maybe more than once for the same host. */
  readonly read?: (state: HostState) => void;
}

/**
 * Reads the newest state of each host from the bucket into a fleet.
 *
 * @throws VirstreamError if the bucket cannot be read; `connection-refused` if there is no bucket
 */
export async function readBucket(session: NatsSession, fleet: Fleet, reading: BucketReading): Promise<void> {
  const tokens = session.named === undefined ? ["*"] : session.named.map(tokenOf);
  const stored = new Set<HostState>();
  const read = (state: HostState): void => {
    stored.add(state);
    reading.read?.(state);
  };
  await Promise.all(tokens.map((token) => readStates(session, fleet, token, { ...reading, read })));
  if (!reading.signal.aborted) fleet.forgetOthers(stored);
}

/**
 * Reads the messages of one subject pattern, because NATS servers before 2.10 accept only one pattern for each
 * JetStream consumer.
 */
async function readStates(
  session: NatsSession,
  fleet: Fleet,
  token: string,
  { signal, patienceMs, read }: BucketReading,
): Promise<void> {
  const { library, connection, uri, subjects, inbox } = session;
  const { jetstream, DeliverPolicy } = library.jetstream;
  const stream = subjects.bucketStream;
  const opening = jetstream(connection).consumers.getPushConsumer(stream, {
    deliver_policy: DeliverPolicy.LastPerSubject,
    filter_subjects: subjects.state(token, "*"),
    deliver_prefix: library.transport.createInbox(inbox),
  });
  const consumer = await opening.catch((thrown) => {
    throw bucketError(thrown, uri, stream);
  });
  let messages: ConsumerMessages | undefined;
  let isOver = false;
  let unlisten = (): void => {};
  let timer: NodeJS.Timeout | undefined;
  try {
    const { num_pending: stored } = await consumer.info(true);
    if (stored === 0 || signal.aborted) return;
    await new Promise<void>((resolve, reject) => {
      unlisten = onAbort(signal, resolve);
      /**
       * The keys that were read. A key whose value is replaced during the reading comes twice, or only with the new
       * value.
       */
      const keys = new Set<string>();
      let isRead = false;
      /** Hosts of whose newest tick some chunks were read and other chunks were not. */
      const torn = new Set<HostState>();
      const began = performance.now();
      const expect = (): void => {
        clearTimeout(timer);
        const ms = isRead ? Math.max(0, patienceMs - (performance.now() - began)) : SILENCE_MS;
        timer = setTimeout(() => {
          if (isRead) resolve();
          else reject(new VirstreamError("connection-lost", `${uri}: the server stopped sending the bucket ${stream}`));
        }, ms);
      };
      expect();
      const opened = consumer.consume({
        callback: (message) => {
          if (isOver) return;
          keys.add(message.subject);
          isRead ||= keys.size >= stored || message.info.pending === 0;
          const ageMs = Math.max(0, Date.now() - message.info.timestampNanos / 1e6);
          // A key that was deleted has an entry without a value.
          const isDeleted = message.data.length === 0;
          const host = subjects.hostOf(message.subject);
          const state = isDeleted ? undefined : fleet.take(host, message.data, ageMs, true);
          if (state?.isWaiting) torn.add(state);
          else if (state !== undefined) {
            torn.delete(state);
            if (state.tick !== undefined || state.refusal !== undefined) read?.(state);
          }
          if (isRead && torn.size === 0) resolve();
          else expect();
        },
      });
      opened.then((each) => {
        messages = each;
        if (isOver) each.stop();
      }, reject);
    });
  } catch (thrown) {
    throw bucketError(thrown, uri, stream);
  } finally {
    // Messages may still come after this; they are ignored.
    isOver = true;
    unlisten();
    clearTimeout(timer);
    messages?.stop();
    discard(session, consumer);
  }
}

/**
 * Deletes a JetStream consumer that is no longer read, because the server would keep it for a while. Sends nothing
 * while the connection is lost, because the request would only wait for its timeout.
 */
export function discard({ isConnected, deletions }: NatsSession, consumer: Pick<Consumer, "delete">): void {
  if (!isConnected) return;
  const deletion: Promise<unknown> = consumer
    .delete()
    .catch(() => {})
    .finally(() => deletions.delete(deletion));
  deletions.add(deletion);
}

function bucketError(thrown: unknown, uri: string, stream: string): VirstreamError {
  if (!(thrown instanceof Error) || thrown.message !== "stream not found") return natsError(thrown, uri);
  const start = 'start a publisher with "virstream serve URI --nats URL", or give the prefix that publishers have';
  return new VirstreamError("connection-refused", `${uri}: there is no bucket ${stream.slice(3)} yet: ${start}`, {
    cause: thrown,
  });
}
