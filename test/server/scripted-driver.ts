import type { Driver, SweepContext } from "../../src/driver/driver.ts";
import { TypedParams } from "../../src/model/params.ts";
import type { Query } from "../../src/model/query.ts";
import { Domain, DomainStatsRecord } from "../../src/model/record.ts";
import { uuidOf } from "../sampling/sample.ts";

/** A driver whose sweeps are what a test says, and which counts what is asked of it. */
export class ScriptedDriver implements Driver {
  readonly uri = "scripted:///";
  readonly hypervisor = "scripted";
  readonly host = "script";
  readonly queries: Query[] = [];
  /** Sweeps that have begun and not ended. */
  running = 0;
  /** Chunks that were pulled. */
  pulled = 0;
  closed = false;
  readonly #script: (driver: ScriptedDriver, context: SweepContext) => AsyncIterable<readonly DomainStatsRecord[]>;

  constructor(script: (driver: ScriptedDriver, context: SweepContext) => AsyncIterable<readonly DomainStatsRecord[]>) {
    this.#script = script;
  }

  async *sweep(query: Query, context: SweepContext): AsyncGenerator<readonly DomainStatsRecord[]> {
    this.queries.push(query);
    this.running++;
    try {
      for await (const chunk of this.#script(this, context)) {
        this.pulled++;
        yield chunk;
      }
    } finally {
      this.running--;
    }
  }

  async close(): Promise<void> {
    this.closed = true;
  }

  /** A record of this driver's. */
  record(index: number, params: TypedParams = TypedParams.EMPTY): DomainStatsRecord {
    const uuid = uuidOf(index);
    return new DomainStatsRecord({
      domain: new Domain(uuid, `domain-${index}`, index + 1, this.host, this),
      params,
      status: "ok",
      index,
      sampledAt: Date.now(),
      tookMs: 0.25,
    });
  }
}

/** Resolves when the signal is aborted. */
export function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });
}
