import type { VirstreamError } from "../model/error.ts";
import type { WatchState } from "../model/watch.ts";

/**
 * How a connection is doing: a WatchState, or `closed`: there will be no connection any more, because it was closed, or
 * because of an error that trying again cannot repair.
 */
export type ConnectionState = WatchState | "closed";

/** A change of a connection's state. States and members may be added: ignore those that you do not know. */
export interface ConnectionStatus {
  readonly state: ConnectionState;
  /** The host that this is about: of a driver of several hosts, one of them, unless all are closed. */
  readonly host: string;
  /** Why it is not connected. Undefined when it is. */
  readonly error: VirstreamError | undefined;
}

/** Hears each change of state, and not the state at the time when it is added. */
export type StatusListener = (status: ConnectionStatus) => void;

/** The listeners of one connection, which hear its changes of state. */
export class StatusListeners {
  // Each call adds a listener of its own, also of a function that listens already: so each has its own end.
  readonly #listeners = new Set<{ readonly listener: StatusListener }>();

  /** Returns a function that removes the listener. */
  add(listener: StatusListener): () => void {
    const added = { listener };
    this.#listeners.add(added);
    return () => {
      this.#listeners.delete(added);
    };
  }

  /**
   * Calls every listener. An exception in a listener affects neither the caller nor the other listeners. It is thrown again
   * from the event loop as an uncaught exception, as with listeners of an EventTarget and RxJS subscribers.
   */
  emit(status: ConnectionStatus): void {
    for (const { listener } of [...this.#listeners]) {
      try {
        listener(status);
      } catch (error) {
        setTimeout(() => {
          throw error;
        });
      }
    }
  }
}
