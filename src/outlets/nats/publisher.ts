/// <reference lib="esnext.disposable" preserve="true" />

import "../../client/watching.ts";
import { randomBytes } from "node:crypto";
import type { JetStreamClient } from "@nats-io/jetstream";
import type { NatsConnection } from "@nats-io/transport-node";
import type { Connection } from "../../client/connection.ts";
import { withTimeout } from "../../driver/clock.ts";
import type { ReconnectOptions } from "../../driver/driver.ts";
import { entryOf } from "../../driver/memo.ts";
import { type NatsAddress, parseNatsUri } from "../../drivers/nats/address.ts";
import { cut } from "../../drivers/nats/chunk.ts";
import { connectNats, followStatus, loadNats, type NatsLibrary, natsError } from "../../drivers/nats/library.ts";
import { tokenOf } from "../../drivers/nats/subjects.ts";
import { type Tick, TickEncoder } from "../../drivers/nats/tick.ts";
import type { VirstreamError } from "../../model/error.ts";
import { checkOptions, type Members, OBJECT, SECRET, SIGNAL, TEXT, whole } from "../../model/options.ts";
import { checkQuery } from "../../model/query.ts";
import type { Domain, DomainStatsRecord } from "../../model/record.ts";
import {
  checkCadence,
  type GapEvent,
  MAX_INTERVAL_MS,
  MIN_INTERVAL_MS,
  type StatusEvent,
  type SyncEvent,
  type WatchSink,
} from "../../model/watch.ts";
import { VERSION } from "../../version.ts";
import { HostOutlet, type Sender } from "./host-outlet.ts";
import { createStores, type StoreOptions } from "./stores.ts";

/** The default interval of publishers, in ms. */
export const DEFAULT_PUBLISH_INTERVAL_MS = 10_000;

/** How long the server may take to store a message, in ms. */
const STORE_TIMEOUT_MS = 5_000;
/** The most bytes of ticks that wait until a stream has stored them. */
const MAX_WAITING = 67_108_864;
/** The most bytes of a message in a server's default configuration. */
const DEFAULT_MAX_PAYLOAD = 1_048_576;
/** How long closing may take, in ms. */
const CLOSE_TIMEOUT_MS = 2_000;
/** The longest time for which the publisher asks NATS to keep something, in ms: ten years. */
export const MAX_AGE_MS = 315_360_000_000;

/** How to publish to NATS. */
export interface PublishOptions {
  /** `nats://HOST:PORT`, with every parameter that docs/fleet.md lists for the URI of a fleet. */
  readonly url: string;
  /** A file with NATS credentials (a JWT and its key). Default: the file that the URL names. */
  readonly creds?: string;
  /** The beginning of the subjects, and the name of the bucket. Default: the prefix in the URL, or `virstream`. */
  readonly prefix?: string;
  /** The time from one sweep to the next, in ms, 10 to 3,600,000. Default 10,000. */
  readonly intervalMs?: number;
  /**
   * The number of servers of a cluster on which NATS keeps the bucket and the stream that this publisher creates, 1 to
   * 5. Default 1.
   */
  readonly replicas?: number;
  /**
   * In a bucket that this publisher creates, a host disappears after this many ms without a publication; 0: never.
   * Default 0.
   */
  readonly maxAgeMs?: number;
  /**
   * How long a stream retains every tick, in ms, so that readers that were cut off miss nothing. The server then
   * acknowledges each tick, and up to 64 MiB of ticks wait while the server cannot be reached. 0: no stream. Default 0.
   */
  readonly retainMs?: number;
  /** How long the first attempt to connect may take, in ms. Default 10,000. */
  readonly connectTimeoutMs?: number;
  /** How the publisher opens a lost connection again. Default: it tries for ever. */
  readonly reconnect?: ReconnectOptions;
  /** Aborts the opening of the publisher. Default: none. */
  readonly signal?: AbortSignal;
}

const PUBLISH_MEMBERS = {
  url: SECRET,
  creds: TEXT,
  prefix: TEXT,
  intervalMs: whole(MIN_INTERVAL_MS, MAX_INTERVAL_MS),
  replicas: whole(1, 5),
  maxAgeMs: whole(0, MAX_AGE_MS),
  retainMs: whole(0, MAX_AGE_MS),
  connectTimeoutMs: whole(1, 2_147_483_647),
  reconnect: OBJECT,
  signal: SIGNAL,
} satisfies Members;

/** The state of a publisher. `failing`: the server can be reached, but does not store the messages. */
export interface PublisherStatus {
  readonly state: "connected" | "reconnecting" | "failing" | "closed";
  /** The reason for the state; undefined for `connected`. */
  readonly error: VirstreamError | undefined;
}

/** Counts since the start of a publisher. They only increase. */
export interface PublisherFigures {
  /** Ticks of all hosts, including the ticks that were not published. */
  readonly ticks: number;
  /** Ticks that were not published: there was no connection or no room for them, or they were too big for NATS. */
  readonly dropped: number;
  /** The compressed bytes of all `ticks`, as a sum. */
  readonly bytes: number;
  /** How many times the server has stored the state of a host in the bucket. */
  readonly saved: number;
  /** Failed attempts to store a state in the bucket, or a tick in the stream. */
  readonly failed: number;
}

/** Publishes a connection's hosts to NATS. Closing the publisher does not close the connection. */
export class NatsPublisher implements AsyncDisposable {
  /** The URI with which readers connect, without credentials. */
  readonly url: string;
  readonly #library: NatsLibrary;
  readonly #nats: NatsConnection;
  readonly #jetstream: JetStreamClient;
  readonly #address: NatsAddress;
  readonly #stores: StoreOptions;
  readonly #intervalMs: number;
  readonly #epoch = randomBytes(12).toString("base64url");
  readonly #encoder: TickEncoder;
  readonly #source: Connection;
  readonly #outlets = new Map<string, HostOutlet>();
  readonly #figures = { ticks: 0, dropped: 0, bytes: 0, saved: 0, failed: 0 };
  readonly #listeners = new Set<(status: PublisherStatus) => void>();
  readonly #timer: NodeJS.Timeout;
  #state: PublisherStatus["state"] = "connected";
  #isConnected = true;
  #waiting = 0;
  #maxPayload = DEFAULT_MAX_PAYLOAD;
  #creating: Promise<void> | undefined;
  #stop: () => void = () => {};
  #closed: Promise<void> | undefined;

  private constructor(
    source: Connection,
    library: NatsLibrary,
    nats: NatsConnection,
    address: NatsAddress,
    { intervalMs = DEFAULT_PUBLISH_INTERVAL_MS, replicas = 1, maxAgeMs = 0, retainMs = 0 }: PublishOptions,
  ) {
    this.url = address.fleetUri;
    this.#source = source;
    this.#library = library;
    this.#nats = nats;
    this.#jetstream = library.jetstream.jetstream(nats);
    this.#address = address;
    this.#stores = { replicas, maxAgeMs, retainMs };
    this.#intervalMs = intervalMs;
    this.#encoder = new TickEncoder(this.#epoch, `virstream/${VERSION}`);
    this.#timer = setInterval(() => {
      for (const outlet of this.#outlets.values()) outlet.repeat();
    }, intervalMs);
    void followStatus(
      nats,
      address.uri,
      ({ state, error }) => this.#changed(state, error),
      // While the bucket and the stream are being created, errors that the server sends are not failures. If this client
      // lacks the permission to create them, it uses those that an administrator has created.
      (error) => this.#creating === undefined && this.#fail(error),
    );
  }

  /** @see publish */
  static async open(source: Connection, options: PublishOptions): Promise<NatsPublisher> {
    checkOptions("publish's options object", options, PUBLISH_MEMBERS);
    const { url, prefix, creds, intervalMs = DEFAULT_PUBLISH_INTERVAL_MS } = options;
    const address = parseNatsUri(url, { prefix, creds });
    const library = await loadNats();
    const nats = await connectNats(library, address, `virstream ${source.host}`, options);
    const publisher = new NatsPublisher(source, library, nats, address, options);
    try {
      await publisher.#create();
      const { sampling } = source;
      publisher.#stop = sampling.push(checkQuery({}), checkCadence({ intervalMs }), publisher.#sink);
      return publisher;
    } catch (error) {
      await publisher.close();
      throw error;
    }
  }

  /** The counts so far. */
  get figures(): PublisherFigures {
    return { ...this.#figures };
  }

  /** Calls the listener at each change of the state. Returns a function that removes the listener. */
  onStatus(listener: (status: PublisherStatus) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Stops publishing, waits for the messages on their way, and disconnects. Safe to call twice. */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  /** Closes the publisher at the end of an `await using` block. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    this.#stop();
    clearInterval(this.#timer);
    if (this.#isConnected) await withTimeout(this.#nats.flush(), CLOSE_TIMEOUT_MS, () => {}).catch(() => {});
    this.#isConnected = false;
    await this.#nats.close();
  }

  readonly #sink: WatchSink = {
    record: (record: DomainStatsRecord) => this.#outletOf(record.domain.host).record(record),
    gone: (domain: Domain) => this.#outletOf(domain.host).gone(domain),
    event: (event: SyncEvent | GapEvent | StatusEvent) => {
      // The publisher did not get the sweeps of a gap, so they are missing for every reader. It does not pass the gap
      // on: the sequence counts only the sweeps that it got.
      if (event.type === "gap") return;
      if (event.type === "sync") for (const host of event.host.split(",")) this.#outletOf(host).sync(event);
      else this.#sourceChanged(event);
    },
    flush: () => {},
    end: (error: VirstreamError) => {
      for (const outlet of this.#outlets.values()) outlet.status(error);
    },
  };

  #sourceChanged({ state, host, error }: StatusEvent): void {
    const names = host === undefined ? [...this.#outlets.keys()] : host.split(",");
    for (const name of names) {
      if (state === "removed") this.#outlets.delete(name);
      // A host that has never answered has its URI as its name, and is not published.
      else if (!name.includes("://")) this.#outletOf(name).status(error);
    }
  }

  #outletOf(host: string): HostOutlet {
    return entryOf(this.#outlets, host, () => new HostOutlet(host, this.#sender));
  }

  readonly #sender: Sender = this.#makeSender();

  #makeSender(): Sender {
    const publisher = this;
    return {
      get isConnected() {
        return publisher.#isConnected;
      },
      get retains() {
        return publisher.#stores.retainMs > 0;
      },
      encode: (tick, sequence) => this.#encode(tick, sequence),
      publish: (host, chunks) => {
        for (const chunk of chunks) this.#nats.publish(this.#address.subjects.tick(tokenOf(host)), chunk);
      },
      retain: (host, chunks, sequence) => {
        const subject = this.#address.subjects.tick(tokenOf(host));
        return this.#store(
          chunks,
          () => subject,
          (chunk) => `${this.#epoch}.${sequence}.${chunk}`,
        );
      },
      save: async (host, chunks) => {
        const token = tokenOf(host);
        await this.#store(chunks, (chunk) => this.#address.subjects.state(token, chunk));
        this.#figures.saved++;
      },
      reserve: (bytes) => {
        if (bytes > 0 && this.#waiting + bytes > MAX_WAITING) return false;
        this.#waiting += bytes;
        return true;
      },
      dropped: () => void this.#figures.dropped++,
    };
  }

  #encode(tick: Omit<Tick, "hypervisor" | "intervalMs">, sequence: number): Uint8Array[] {
    const whole = { ...tick, hypervisor: this.#source.hypervisor, intervalMs: this.#intervalMs };
    const bytes = this.#encoder.encode(whole, performance.now());
    this.#figures.ticks++;
    this.#figures.bytes += bytes.length;
    // While there is no connection, this is the limit of the last connection.
    this.#maxPayload = this.#nats.info?.max_payload ?? this.#maxPayload;
    return cut(this.#epoch, sequence, bytes, this.#maxPayload);
  }

  /** Publishes chunks one after the other. It publishes the next chunk when the server has stored the chunk before. */
  async #store(
    chunks: readonly Uint8Array[],
    subject: (chunk: number) => string,
    idOf?: (chunk: number) => string,
  ): Promise<void> {
    try {
      for (const [chunk, bytes] of chunks.entries()) {
        const msgID = idOf?.(chunk);
        await this.#jetstream.publish(subject(chunk), bytes, {
          timeout: STORE_TIMEOUT_MS,
          ...(msgID !== undefined && { msgID }),
        });
      }
    } catch (thrown) {
      this.#figures.failed++;
      const error = natsError(thrown, this.url);
      if (this.#isConnected) {
        this.#fail(error);
        // A server that lost its data has neither bucket nor stream, so they are created again.
        if (error.code === "unsupported") void this.#create().catch(() => {});
      }
      throw error;
    }
    if (this.#state === "failing") this.#report("connected", undefined);
  }

  #create(): Promise<void> {
    this.#creating ??= createStores(this.#library, this.#nats, this.url, this.#address.subjects, this.#stores).finally(
      () => {
        this.#creating = undefined;
      },
    );
    return this.#creating;
  }

  #changed(state: "connected" | "reconnecting" | "closed", error: VirstreamError | undefined): void {
    this.#isConnected = state === "connected";
    this.#report(state, error);
    if (state === "connected") for (const outlet of this.#outlets.values()) outlet.resume();
  }

  #fail(error: VirstreamError): void {
    if (this.#isConnected) this.#report("failing", error);
  }

  #report(state: PublisherStatus["state"], error: VirstreamError | undefined): void {
    if (this.#state === state || this.#closed !== undefined) return;
    this.#state = state;
    for (const listener of this.#listeners) listener({ state, error });
  }
}

/**
 * Publishes the hosts of a connection to NATS: each sweep of each host to a subject, and the newest state of each host
 * to a bucket, until the publisher is closed. `connect("nats://HOST:PORT/PREFIX")` reads them.
 *
 * @throws VirstreamError `invalid-argument`, `invalid-uri`; `unsupported` without NATS's client, and for a server
 *   without JetStream; `connection-refused`, `connect-timeout`, `unauthenticated`
 */
export function publish(connection: Connection, options: PublishOptions): Promise<NatsPublisher> {
  return NatsPublisher.open(connection, options);
}
