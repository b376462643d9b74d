import { onAbort } from "../driver/clock.ts";
import type { ConnectionStatus, Driver } from "../driver/driver.ts";
import type { VirstreamError } from "../model/error.ts";
import { Stream } from "./stream.ts";

/**
 * The states of a connection, as its driver reports them. The board keeps the newest state of each host for readers
 * that join later.
 */
export class StatusBoard {
  /** The present states, then each change; completes after the state `closed`. */
  readonly stream: Stream<ConnectionStatus>;
  /** Resolves at the end of the connection: with the error that ended it, or with undefined after `close`. */
  readonly closed: Promise<VirstreamError | undefined>;
  readonly #driver: Driver;
  /**
   * The newest state of each host. With several hosts, the keys are URIs, because the name of a host is known only when
   * the host has answered.
   */
  readonly #states = new Map<string, ConnectionStatus>();
  readonly #readers = new Set<(status: ConnectionStatus) => void>();
  #resolveClosed!: (error: VirstreamError | undefined) => void;
  #closing = false;
  #ended = false;

  constructor(driver: Driver) {
    this.#driver = driver;
    this.closed = new Promise((resolve) => {
      this.#resolveClosed = resolve;
    });
    this.stream = new Stream((left) => this.#read(left), undefined, true);
    const { host, absent: [absent] = [] } = driver;
    const present: ConnectionStatus = { state: absent ? "reconnecting" : "connected", host, error: absent?.error };
    for (const status of driver.statuses ?? [present]) this.#states.set(keyOf(status), status);
    driver.onStatus?.((status) => this.#take(status));
  }

  /**
   * Called when the program closes the connection. `done` closes the driver, and resolves when the driver has released
   * everything.
   */
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
      // After the program's own close, `closed` resolves only when the driver has released everything.
      if (!this.#closing) this.#resolveClosed(status.error);
    }
    if (status.state === "removed") this.#states.delete(keyOf(status));
    else this.#states.set(keyOf(status), status);
    for (const put of this.#readers) put(status);
  }

  /**
   * Yields the states for one reader. A state that the reader has not read yet is replaced by the host's next state.
   */
  async *#read(left: AbortSignal): AsyncGenerator<readonly ConnectionStatus[]> {
    const unread = new Map(this.#states);
    /** The hosts that the reader knows. The reader must learn of a removal only if it knows the host. */
    const known = new Set<string>();
    let wake = (): void => {};
    const put = (status: ConnectionStatus): void => {
      const key = keyOf(status);
      if (this.#ended) unread.clear();
      unread.delete(key);
      if (status.state !== "removed" || known.has(key)) unread.set(key, status);
      wake();
    };
    this.#readers.add(put);
    onAbort(left, () => wake());
    try {
      while (unread.size > 0 || !(this.#ended || left.aborted)) {
        const statuses = [...unread.values()];
        unread.clear();
        for (const status of statuses) {
          if (status.state === "removed") known.delete(keyOf(status));
          else known.add(keyOf(status));
        }
        if (statuses.length > 0) yield statuses;
        else
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
      }
    } finally {
      this.#readers.delete(put);
    }
  }
}

function keyOf({ uri = "" }: ConnectionStatus): string {
  return uri;
}
