import { setTimeout as sleep } from "node:timers/promises";
import { WebSocket } from "ws";
import type { Connection } from "../../src/client/connection.ts";
import { VirstreamError } from "../../src/model/error.ts";
import type { WatchEvent, WatchOptions } from "../../src/model/watch.ts";
import { TickLedger } from "./tick-ledger.ts";

/** So many broken promises are kept; more say no more. */
const MOST_TOLD = 5;
/** How long a client waits that connects again by itself, or that asks for the next sweep, in ms. */
const PAUSE_MS = 100;

/** What a client whose server is killed again and again must know of that server. */
export interface Killed {
  readonly url: string;
  readonly domains: number;
  /** When it was last killed, in ms since 1970; 0: never. */
  readonly killedAt: number;
}

/** A client that keeps the account of what it gets while its server is killed again and again. */
export abstract class KillWitness implements AsyncDisposable {
  readonly name: string;
  /** Promises that were broken, in words. */
  readonly broken: string[] = [];
  /** Times that it lost the server, and times that it was told so before the next sweep. */
  outages = 0;
  told = 0;
  /** Sweeps that it got whole. */
  sweeps = 0;
  records = 0;
  /** When the last of them ended, on performance.now()'s clock. */
  sweptAt = 0;
  protected readonly killed: Killed;
  /** Records of each domain since the last end of a sweep. */
  readonly #since = new Map<string, number>();
  /** Ends of sweeps since it lost the server, or skipped something. */
  #steady = 0;
  #oldest = 0;

  constructor(name: string, killed: Killed) {
    this.name = name;
    this.killed = killed;
  }

  /** Resolves when it has had a sweep that ended after this time, with when that was. */
  async sweptSince(at: number, patienceMs: number): Promise<number> {
    const deadline = performance.now() + patienceMs;
    while (this.sweptAt <= at) {
      if (performance.now() > deadline) throw new Error(`${this.name} hangs: no sweep for ${patienceMs} ms`);
      await sleep(2);
    }
    return this.sweptAt;
  }

  abstract [Symbol.asyncDispose](): Promise<void>;

  protected lost(): void {
    this.outages++;
    this.#oldest = this.killed.killedAt;
    this.skipped();
  }

  protected skipped(): void {
    this.#steady = 0;
    this.#since.clear();
  }

  protected record(uuid: string, sampledAt: number): void {
    this.records++;
    this.#since.set(uuid, (this.#since.get(uuid) ?? 0) + 1);
    // What the server read before it was killed belongs to the epoch before.
    if (sampledAt < this.#oldest) this.break(`a record of ${sampledAt} came after the kill at ${this.#oldest}`);
  }

  /**
   * The end of a sweep.
   *
   * @param all false: it has what has changed only
   */
  protected swept(all: boolean): void {
    const counts = [...this.#since.values()];
    const twice = counts.filter((count) => count > 1).length;
    if (twice > 0) this.break(`${twice} domains came twice in a sweep`);
    // The first sweep comes as the state, and the second may have begun before that.
    const isWhole = this.#steady === 0 || (all && this.#steady > 1);
    if (isWhole && counts.length !== this.killed.domains) {
      this.break(`sweep ${this.#steady + 1} since it lost the server has ${counts.length} domains`);
    }
    this.#steady++;
    this.sweeps++;
    this.sweptAt = performance.now();
    this.#since.clear();
  }

  protected break(what: string): void {
    if (this.broken.length < MOST_TOLD) this.broken.push(`${this.name}: ${what}`);
  }
}

/** A watch of this library. */
export class WatchWitness extends KillWitness {
  readonly #connection: Connection;
  readonly #ledger = new TickLedger();
  readonly #all: boolean;
  readonly #watching: Promise<void>;
  #mustTell = false;
  #hasSwept = false;

  constructor(name: string, killed: Killed, connection: Connection, watch: WatchOptions) {
    super(name, killed);
    this.#connection = connection;
    this.#all = watch.mode !== "on-change";
    this.#watching = connection
      .watch({}, watch)
      .events.forEach(this.#take)
      .catch((error) => this.break(`ended with ${error}`));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#connection.close();
    await this.#watching;
    this.broken.push(...this.#ledger.broken.slice(0, MOST_TOLD).map((what) => `${this.name}: ${what}`));
  }

  readonly #take = (event: WatchEvent): void => {
    this.#ledger.take(event);
    if (event.type === "record") this.record(event.record.domain.uuid, event.record.sampledAt);
    if (event.type === "status" && event.state === "reconnecting") {
      // Before its first sweep it has nothing that could be lost.
      if (this.#mustTell || !this.#hasSwept) this.told++;
      this.#mustTell = this.#hasSwept;
      this.lost();
    }
    if (event.type === "gap") {
      if (this.#mustTell) this.told++;
      this.#mustTell = false;
      if (event.reason !== "reconnected") this.skipped();
    }
    if (event.type !== "sync") return;
    if (this.#mustTell) this.break(`sweep ${event.tick} came after an outage, and no gap`);
    this.#mustTell = false;
    this.#hasSwept = true;
    this.swept(this.#all);
    const { domains } = this.#ledger;
    if (domains !== this.killed.domains) this.break(`it knows ${domains} domains`);
  };
}

/** A client of the JSON profile, with no code of this library, which connects again at once. */
export class JsonWitness extends KillWitness {
  readonly #intervalMs: number;
  readonly #running: Promise<void>;
  readonly #epochs = new Map<string, number>();
  #socket: WebSocket | undefined;
  #isOver = false;

  constructor(name: string, killed: Killed, intervalMs: number) {
    super(name, killed);
    this.#intervalMs = intervalMs;
    this.#running = this.#run();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isOver = true;
    this.#socket?.terminate();
    await this.#running;
  }

  async #run(): Promise<void> {
    while (!this.#isOver) {
      const socket = new WebSocket(this.killed.url, "virstream.v1.json");
      this.#socket = socket;
      socket.on("error", () => {});
      socket.on("open", () => {
        socket.send('{"type":"hello"}');
        socket.send(JSON.stringify({ type: "watch", id: 1, intervalMs: this.#intervalMs }));
      });
      let isWelcome = false;
      let awaited = 0;
      let tick = 0;
      socket.on("message", (data: Buffer) => {
        const message = JSON.parse(data.toString());
        if (message.type === "welcome") {
          isWelcome = true;
          const killedAt = this.#epochs.get(message.epoch);
          if (killedAt !== undefined && killedAt !== this.killed.killedAt)
            this.break("an epoch came again after a kill");
          this.#epochs.set(message.epoch, this.killed.killedAt);
        } else if (message.type === "begin") {
          this.skipped();
          awaited = message.domains;
          tick = message.sync?.tick ?? 0;
          if (message.resumed) this.break("a new server resumes a watch");
        } else if (message.type === "record") {
          this.record(message.record.domain.uuid, message.record.sampledAt);
          if (message.id !== undefined && --awaited === 0 && tick > 0) this.swept(true);
        } else if (message.type === "sync") {
          if (message.tick !== ++tick) this.break(`tick ${message.tick} in place of ${tick}`);
          this.swept(true);
        } else if (message.type === "end") this.break(`the watch ended: ${JSON.stringify(message.error)}`);
      });
      await new Promise((resolve) => socket.on("close", resolve));
      if (isWelcome) {
        // The closed socket tells it, and a server that it can reach again has another epoch.
        this.lost();
        this.told++;
      }
      if (!this.#isOver) await sleep(PAUSE_MS);
    }
  }
}

/** A client that asks for sweep after sweep. */
export class SweepWitness extends KillWitness {
  readonly #connection: Connection;
  readonly #running: Promise<void>;
  #isOver = false;

  constructor(name: string, killed: Killed, connection: Connection) {
    super(name, killed);
    this.#connection = connection;
    this.#running = this.#run();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isOver = true;
    await this.#connection.close();
    await this.#running;
  }

  async #run(): Promise<void> {
    while (!this.#isOver) {
      this.skipped();
      try {
        const records = await this.#connection.getAllDomainStats();
        for (const { domain, sampledAt } of records) this.record(domain.uuid, sampledAt);
        this.swept(true);
        await sleep(PAUSE_MS);
      } catch (error) {
        if (this.#isOver) return;
        this.lost();
        if (error instanceof VirstreamError && error.retryable) this.told++;
        else this.break(`a sweep failed with ${error}`);
        await sleep(PAUSE_MS);
      }
    }
  }
}
