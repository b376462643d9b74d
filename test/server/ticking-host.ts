import { Connection } from "../../src/client/connection.ts";
import { TypedParams } from "../../src/model/params.ts";
import type { DomainStatsRecord } from "../../src/model/record.ts";
import { ParamType, Schema } from "../../src/model/schema.ts";
import { type ServeOptions, serve, type VirstreamServer } from "../../src/server/server.ts";
import { cellsOf } from "../model/cells.ts";
import { until } from "../until.ts";
import { distinctText } from "./distinct-text.ts";
import { ManualClock } from "./manual-clock.ts";
import { aborted, ScriptedDriver } from "./scripted-driver.ts";

const SHAPE = new Schema(["cpu.time", "block.0.path"], Uint8Array.of(ParamType.ullong, ParamType.string));
const CHUNK = 50;

/** What a reader must know of a host: who, and with which values, in an order of its own. */
export function known(records: Iterable<DomainStatsRecord>): string[] {
  return [...records]
    .map(({ domain, params, status, index, sampledAt }) =>
      JSON.stringify([domain.uuid, domain.name, status, index, sampledAt, cellsOf(params)]),
    )
    .sort();
}

/** A host whose domains all change with each sweep, and which is swept when a test says so. */
export class TickingHost {
  readonly driver: ScriptedDriver;
  readonly clock = new ManualClock();
  readonly connection: Connection;
  /** The records of the last sweep. */
  records: DomainStatsRecord[] = [];
  /** What the next sweeps fail with. */
  failure: Error | undefined;
  /** What the next sweeps find, instead of all its domains with new values. */
  script: (() => readonly DomainStatsRecord[]) | undefined;
  /** Where the next sweeps stay until they are stopped; it is given the signal of that. */
  stall: ((signal: AbortSignal) => void) | undefined;
  domains: number;
  /** Bytes that each record says anew in each sweep. */
  payload: number;
  #version = 0;
  #server: VirstreamServer | undefined;

  constructor(domains = 3, payload = 10) {
    this.domains = domains;
    this.payload = payload;
    this.driver = new ScriptedDriver((_, { signal }) => this.#sweep(signal));
    this.connection = new Connection(this.driver, this.clock);
  }

  /** Serves it. */
  async serve(options: ServeOptions = {}): Promise<VirstreamServer> {
    this.#server = await serve(this.connection, { port: 0, ...options });
    return this.#server;
  }

  /** Lets so many intervals of so many ms pass, each with its sweep to the end. */
  async tick(count = 1, intervalMs = 1_000): Promise<void> {
    for (let i = 0; i < count; i++) {
      const before = this.#swept;
      this.clock.advance(intervalMs);
      // Who begins to watch a moment later has its first sweep at once.
      await until(() => {
        this.clock.advance(0);
        return this.#swept > before;
      });
    }
  }

  async close(): Promise<void> {
    await this.#server?.close();
    await this.connection.close();
  }

  get #swept(): number {
    const { sweeps, sweepsFailed, sweepsStopped } = this.connection.sampling.snapshot();
    return sweeps + sweepsFailed + sweepsStopped;
  }

  async *#sweep(signal: AbortSignal): AsyncGenerator<readonly DomainStatsRecord[]> {
    if (this.failure !== undefined) throw this.failure;
    if (this.stall !== undefined) {
      this.stall(signal);
      await aborted(signal);
      return;
    }
    if (this.script !== undefined) {
      yield this.script();
      return;
    }
    const version = ++this.#version;
    this.records = Array.from({ length: this.domains }, (_, i) =>
      this.driver.record(
        i,
        TypedParams.of(SHAPE, [version * 1_000 + i, distinctText(version * 1_000 + i, this.payload)]),
      ),
    );
    for (let at = 0; at < this.records.length; at += CHUNK) yield this.records.slice(at, at + CHUNK);
  }
}
