import type { Connection } from "../../client/connection.ts";
import type { DomainRates } from "../../client/rates/domain-rates.ts";
import { recordsBefore } from "../../client/rates/two-sweeps.ts";
import { RateMeter } from "../../client/rates.ts";
import type { TableRow } from "../../client/table/rows.ts";
import type { KnownGroup } from "../../model/group.ts";
import { permittedOf } from "../../model/group.ts";
import type { Absent, DomainStatsRecord } from "../../model/record.ts";
import { SCREEN_GROUPS } from "../../overview/columns.ts";
import { recordedRow } from "../../overview/line.ts";

/** At most this many sweeps of one guest are under way at a time. */
const AHEAD = 8;
/** A step of the replay reads at most this many samples for the charts. */
const SAMPLES_PER_STEP = 12;
/** How much time the charts show, in ms. */
const CHART_MS = 300_000;

/** The state of a recording at a moment. */
export interface Moment {
  readonly rows: readonly TableRow[];
  readonly absent: readonly Absent[];
}

/** Reads the records of all guests at a moment, and their rates since the sweep before that moment. */
export async function guestsAt(
  connection: Connection,
  groups: readonly KnownGroup[],
  at: number,
  signal: AbortSignal,
): Promise<Moment> {
  const query = { groups: permittedOf(groups, connection.permittedGroups) };
  const meter = new RateMeter();
  const now: DomainStatsRecord[] = [];
  let absent: readonly Absent[] = [];
  for await (const event of connection.stats({ ...query, at }, { signal }).events) {
    if (event.type === "record") now.push(event.record);
    if (event.type === "sync") absent = event.summary.absent ?? [];
  }
  const before = (moment: number): Promise<DomainStatsRecord[]> =>
    connection.stats({ ...query, at: moment }, { signal }).toArray();
  for (const record of await recordsBefore(now, before, at, { ...connection.recorded!, to: at })) meter.take(record);
  const rows = now.map((record) => recordedRow(meter.take(record), at));
  return { rows, absent };
}

/** When the newest record of a guest was sampled, in ms since 1970; undefined if the guest is gone. */
export async function newestOf(
  connection: Connection,
  { uuid }: { readonly uuid: string },
): Promise<number | undefined> {
  const query = { groups: permittedOf(["state"], connection.permittedGroups), domains: [uuid] };
  const [record] = await connection.stats({ ...query, at: Number.MAX_SAFE_INTEGER }).toArray();
  return record === undefined || record.status === "gone" ? undefined : record.sampledAt;
}

/** Reads the samples of one guest up to a moment, for its charts and tables. */
export class GuestSamples {
  readonly #connection: Connection;
  readonly #domain: string;
  readonly #meter = new RateMeter();
  #last: DomainStatsRecord | undefined;
  /** The moment up to which samples have been read; undefined before the first call of `upTo`. */
  #at: number | undefined;

  /** @param key the guest's host and uuid */
  constructor(connection: Connection, key: string) {
    this.#connection = connection;
    [, this.#domain = ""] = key.split("\n");
  }

  /**
   * Reads the samples between the moment of the last call and this moment. The first call reads the whole time that
   * charts show.
   *
   * @returns the rates at each new sample, the newest last
   */
  async upTo(at: number, signal: AbortSignal): Promise<DomainRates[]> {
    const { from, intervalMs } = this.#connection.recorded!;
    const begin = this.#at ?? Math.max(from, at - CHART_MS) - 1;
    const step = Math.max(1_000, intervalMs, this.#at === undefined ? 0 : (at - begin) / SAMPLES_PER_STEP);
    // Counts back from the end, so that the last moment is exactly the one on the screen.
    const times: number[] = [];
    for (let time = at; time > begin; time -= step) times.unshift(Math.round(time));
    const found: DomainRates[] = [];
    const pending: Promise<DomainStatsRecord | undefined>[] = [];
    for (const time of times) {
      const reading = this.#read(time, signal);
      // After an error of one sweep this loop ends, and the rejections of the other sweeps must have a handler.
      reading.catch(() => {});
      pending.push(reading);
      if (pending.length === AHEAD) this.#take(await pending.shift(), found);
    }
    for (const reading of pending) this.#take(await reading, found);
    this.#at = at;
    return found;
  }

  async #read(at: number, signal: AbortSignal): Promise<DomainStatsRecord | undefined> {
    const groups = permittedOf(SCREEN_GROUPS, this.#connection.permittedGroups);
    return (await this.#connection.stats({ domains: [this.#domain], groups, at }, { signal }).toArray())[0];
  }

  #take(record: DomainStatsRecord | undefined, found: DomainRates[]): void {
    if (record === undefined || record.steadyAt === this.#last?.steadyAt) return;
    this.#last = record;
    found.push(this.#meter.take(record));
  }
}
