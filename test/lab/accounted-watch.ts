import { setTimeout as sleep } from "node:timers/promises";
import type { Connection } from "../../src/client/connection.ts";
import type { StatsQuery } from "../../src/model/query.ts";
import type { WatchEvent, WatchOptions } from "../../src/model/watch.ts";
import type { TickLedger } from "./tick-ledger.ts";

const PATIENCE_MS = 60_000;

/** A watch whose every event goes into an account, as its user would see it. It owns its connection. */
export class AccountedWatch implements AsyncDisposable {
  readonly ledger: TickLedger;
  /** What the watch ended with; undefined while it goes on. */
  end: unknown;
  /** When it was first told that the server cannot be reached, on performance.now()'s clock. */
  interruptedAt: number | undefined;
  readonly #connection: Connection;
  readonly #watching: Promise<void>;

  constructor(connection: Connection, ledger: TickLedger, query: StatsQuery, watch: WatchOptions) {
    this.#connection = connection;
    this.ledger = ledger;
    this.#watching = connection
      .watch(query, watch)
      .events.forEach(this.#take)
      .then(
        () => this.#ended("no error"),
        (error) => this.#ended(error),
      );
  }

  /** Waits until something has come of the watch; rejects when that takes a minute, or the watch has ended. */
  async until(come: (ledger: TickLedger) => boolean): Promise<void> {
    const deadline = performance.now() + PATIENCE_MS;
    while (!come(this.ledger)) {
      if (this.end !== undefined) throw new Error(`the watch has ended: ${String(this.end)}`);
      if (performance.now() > deadline) throw new Error(`after a minute: ${this.ledger.summary()}`);
      await sleep(2);
    }
  }

  /** Waits until so many further sweeps were delivered. */
  async sweeps(count: number): Promise<void> {
    const through = this.ledger.syncs + count;
    await this.until(({ syncs }) => syncs >= through);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#connection.close();
    await this.#watching;
  }

  readonly #take = (event: WatchEvent): void => {
    this.ledger.take(event);
    if (event.type === "status" && event.state === "reconnecting") this.interruptedAt ??= performance.now();
  };

  #ended(how: unknown): void {
    this.end = how;
  }
}
