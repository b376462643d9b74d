import type { ConnectionStatus, Driver } from "../driver/driver.ts";
import type { VirstreamError } from "../model/error.ts";
import { Stream } from "./stream.ts";

/**
 * The states of a connection, as its driver reports them. It keeps the newest state of each host, for readers that join
 * later.
 */
export class StatusBoard {
  /** The present states, then each change; completes after `closed`. */
  readonly stream: Stream<ConnectionStatus>;
  /** Resolves at the end of the connection: with its error, unless it was closed by `close`. */
  readonly closed: Promise<VirstreamError | undefined>;
  readonly #driver: Driver;
  /** By URI where there are several hosts: the name of a host is known only when it has answered. */
  readonly #states = new Map<string, ConnectionStatus>();
  readonly #readers = new Set<StatusReader>();
  #resolveClosed!: (error: VirstreamError | undefined) => void;
  #closing = false;
  #ended = false;

  constructor(driver: Driver) {
    this.#driver = driver;
    this.closed = new Promise((resolve) => {
      this.#resolveClosed = resolve;
    });
    this.stream = new Stream(() => this.#read(), undefined, true);
    const { host, absent: [absent] = [] } = driver;
    const present: ConnectionStatus = { state: absent ? "reconnecting" : "connected", host, error: absent?.error };
    for (const status of driver.statuses ?? [present]) this.#states.set(keyOf(status), status);
    driver.onStatus?.((status) => this.#take(status));
  }

  /** The program closes the connection; `done` resolves when the driver has released everything. */
  async close(error: VirstreamError, done: () => Promise<void>): Promise<void> {
    this.#closing = true;
    try {
      await done();
    } finally {
      this.#take({ state: "closed", host: this.#driver.host, error });
      this.#resolveClosed(undefined);
    }
  }

  #take(status: ConnectionStatus): void {
    if (this.#ended) return;
    if (status.state === "closed" && status.uri === undefined) {
      this.#ended = true;
      this.#states.clear();
      // After the program's own close, the promise waits until the driver has released everything.
      if (!this.#closing) this.#resolveClosed(status.error);
    }
    if (status.state === "removed") this.#states.delete(keyOf(status));
    else this.#states.set(keyOf(status), status);
    for (const reader of this.#readers) reader.put(status, this.#ended);
    if (this.#ended) this.#readers.clear();
  }

  #read(): StatusReader {
    const reader: StatusReader = new StatusReader(() => this.#readers.delete(reader));
    for (const status of this.#states.values()) reader.put(status, this.#ended);
    if (!this.#ended) this.#readers.add(reader);
    return reader;
  }
}

/** One reader. What it has not read yet of a host is replaced by the host's next state. */
class StatusReader implements AsyncIterableIterator<readonly ConnectionStatus[]> {
  readonly #leave: () => void;
  readonly #unread = new Map<string, ConnectionStatus>();
  /** The hosts that the reader knows: only of these it must learn that they were removed. */
  readonly #known = new Set<string>();
  #ended = false;
  #wake: (() => void) | undefined;

  constructor(leave: () => void) {
    this.#leave = leave;
  }

  /** @param last true if it is about the whole connection, and no other follows */
  put(status: ConnectionStatus, last: boolean): void {
    if (last) this.#unread.clear();
    const key = keyOf(status);
    this.#unread.delete(key);
    if (status.state === "removed" && !this.#known.has(key)) return;
    this.#unread.set(key, status);
    this.#ended = last;
    this.#wake?.();
  }

  async next(): Promise<IteratorResult<readonly ConnectionStatus[]>> {
    while (this.#unread.size === 0 && !this.#ended) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    if (this.#unread.size === 0) return { done: true, value: undefined };
    const value = [...this.#unread.values()];
    this.#unread.clear();
    for (const status of value) {
      if (status.state === "removed") this.#known.delete(keyOf(status));
      else this.#known.add(keyOf(status));
    }
    return { done: false, value };
  }

  async return(): Promise<IteratorResult<readonly ConnectionStatus[]>> {
    this.#ended = true;
    this.#unread.clear();
    this.#wake?.();
    this.#leave();
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}

function keyOf({ uri = "" }: ConnectionStatus): string {
  return uri;
}
