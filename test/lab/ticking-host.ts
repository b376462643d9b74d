import type { Driver, SweepContext } from "../../src/driver/driver.ts";
import { type ParamValue, TypedParams } from "../../src/model/params.ts";
import type { Query } from "../../src/model/query.ts";
import { Domain, DomainStatsRecord } from "../../src/model/record.ts";
import { ParamType, Schema } from "../../src/model/schema.ts";
import type { Dice } from "./dice.ts";

const KEYS = { "state.state": ParamType.int, "cpu.time": ParamType.ullong, "block.0.path": ParamType.string };
const SCHEMA = new Schema(Object.keys(KEYS), Uint8Array.from(Object.values(KEYS)));

/** One domain in so many changes with a sweep; the others only have a newer time. */
const CHANGES_ONE_IN = 10;
/** So many chunks make a sweep, with a turn of the event loop between them: others see it half done. */
const CHUNKS = 4;

interface Guest {
  readonly domain: Domain;
  /** Its own, whoever else is there: where others leave it does not change. */
  readonly index: number;
  changes: number;
  present: boolean;
}

/**
 * A host whose every record can be told from every other: `sampledAt` is the number of the sweep, so that an account can
 * be kept of what becomes of each. Domains change, vanish and come back at random.
 */
export class TickingHost implements Driver {
  readonly uri = "ticking:///";
  readonly hypervisor = "test";
  readonly host = "ticking";
  readonly #guests: readonly Guest[];
  readonly #dice: Dice;
  #sweeps = 0;

  constructor(domains: number, dice: Dice) {
    this.#dice = dice;
    this.#guests = Array.from({ length: domains }, (_, i) => {
      const uuid = `00000000-0000-4000-8000-${i.toString(16).padStart(12, "0")}`;
      return { domain: new Domain(uuid, `guest-${i}`, i + 1, this.host, this), index: i, changes: 0, present: true };
    });
  }

  async *sweep(_query: Query, { signal, expect }: SweepContext): AsyncGenerator<readonly DomainStatsRecord[]> {
    const sampledAt = ++this.#sweeps;
    if (this.#dice.below(2) === 0) this.#pick().present = false;
    for (let i = this.#dice.below(4); i > 0; i--) this.#pick().present = true;
    const present = this.#guests.filter((guest) => guest.present);
    expect(present.length);
    const size = Math.ceil(present.length / CHUNKS);
    for (let from = 0; from < present.length && !signal.aborted; from += size) {
      yield present.slice(from, from + size).map((guest) => this.#record(guest, sampledAt));
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  #record(guest: Guest, sampledAt: number): DomainStatsRecord {
    if (this.#dice.below(CHANGES_ONE_IN) === 0) guest.changes += 1 + this.#dice.below(1_000_000);
    const cells: ParamValue[] = [1, guest.changes, `/images/${guest.domain.name}.qcow2`];
    const params = TypedParams.of(SCHEMA, cells);
    return new DomainStatsRecord({
      domain: guest.domain,
      params,
      status: "ok",
      sampledAt,
      tookMs: 0,
      index: guest.index,
    });
  }

  #pick(): Guest {
    return this.#guests[this.#dice.below(this.#guests.length)]!;
  }
}
