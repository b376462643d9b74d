import type { SweepContext } from "../../src/driver/driver.ts";
import { SimulatedDriver } from "../../src/drivers/simulated/driver.ts";
import type { DomainSelector, Query } from "../../src/model/query.ts";

/** A simulated host that remembers what it was asked. */
export class RecordingDriver extends SimulatedDriver {
  readonly queries: Query[] = [];

  constructor(domains: number, parameters = "") {
    super(`test:///default?domains=${domains}${parameters}`);
  }

  override sweep(query: Query, context: SweepContext) {
    this.queries.push(query);
    return super.sweep(query, context);
  }

  /** What it was asked for by name or uuid, each once; undefined stands for a sweep of all. */
  get asked(): (string | undefined)[] {
    const asked = this.queries.flatMap(({ domains }) => domains?.map(text) ?? [undefined]);
    return [...new Set(asked)].sort();
  }

  uuid(guest: number): string {
    return this.simulation.domain(guest).uuid;
  }

  name(guest: number): string {
    return this.simulation.domain(guest).name;
  }
}

function text(selector: DomainSelector): string {
  return "uuid" in selector ? selector.uuid : selector.name;
}
