import { SweepTally } from "../../src/driver/tally.ts";
import { VirstreamError } from "../../src/model/error.ts";
import { type ParamValue, TypedParams } from "../../src/model/params.ts";
import { Domain, DomainStatsRecord } from "../../src/model/record.ts";
import { ParamType, Schema } from "../../src/model/schema.ts";
import { NIL_UUID } from "../../src/model/uuid.ts";
import { GAP_REASONS, type StatusEvent, type SyncEvent, WATCH_STATES } from "../../src/model/watch.ts";
import { ChannelEncoder, type ChannelMessage, statusToWire, syncToWire } from "../../src/wire/channel-encoder.ts";
import { RowBatch } from "../../src/wire/columns/row-batch.ts";
import type { Profile } from "../../src/wire/profile.ts";
import { cellsOf } from "../model/cells.ts";
import type { ServerEnd } from "./server-end.ts";

/** Shapes of one make: keys that appear, and one whose type changes. */
const SHAPES = [
  new Schema(["cpu.time", "path", "load"], Uint8Array.of(ParamType.ullong, ParamType.string, ParamType.double)),
  new Schema(["cpu.time", "path", "load"], Uint8Array.of(ParamType.llong, ParamType.string, ParamType.int)),
  new Schema(
    ["a", "b", "c", "d", "e", "f", "g", "h", "i"],
    Uint8Array.of(1, 2, 3, 4, ParamType.double, ParamType.boolean, ParamType.string, 4, 4),
  ),
  new Schema([], new Uint8Array(0)),
];

const POOLS: Record<number, readonly ParamValue[]> = {
  [ParamType.int]: [0, 1, -1, 0x7fffffff, -0x80000000, 77],
  [ParamType.uint]: [0, 1, 0xffffffff, 0x80000000, 300],
  [ParamType.llong]: [0, -5, 2 ** 53 - 1, -(2 ** 53) + 1, -(2n ** 63n), 2n ** 53n, 2n ** 63n - 1n, 70_000],
  [ParamType.ullong]: [0, 1, 200, 2 ** 32, 2 ** 53 - 1, 2n ** 53n, 2n ** 64n - 1n, 5_000_000_000],
  [ParamType.double]: [0, 0.5, Number.NaN, Number.POSITIVE_INFINITY, -1e300, 7],
  [ParamType.boolean]: [true, false],
  [ParamType.string]: ["", "/img/a", "/img/ä", "/var/lib/images/a.qcow2", "/var/lib/images/b.qcow2", "5"],
};

const POPULATION = 7;
/** So few messages are kept that a client that stops for a while has lost them. */
const RING = 14;

/** A small channel: what a server does to samples, in the plainest way. */
export class WatchServer {
  readonly channel: number;
  readonly epoch: string;
  readonly #encoder: ChannelEncoder;
  /** The newest record of each domain, by number. */
  #table: (DomainStatsRecord | undefined)[] = [];
  #ring: ChannelMessage[] = [];
  /** What the table was when each message was made. */
  readonly #history = new Map<number, readonly DomainStatsRecord[]>([[0, []]]);
  readonly #sources = new Map<string | undefined, StatusEvent>();
  #tick = 0;
  #sync: SyncEvent | undefined;

  constructor(channel: number, epoch: string, profile: Profile) {
    this.channel = channel;
    this.epoch = epoch;
    this.#encoder = new ChannelEncoder(channel, profile);
  }

  get sequence(): number {
    return this.#encoder.sequence;
  }

  get tick(): number {
    return this.#tick;
  }

  /** What a client must know once it has read a message. */
  at(sequence: number): readonly DomainStatsRecord[] {
    return this.#history.get(sequence)!;
  }

  /** The messages after a sequence; undefined where some of them are lost. */
  after(sequence: number): ChannelMessage[] | undefined {
    const kept = this.#ring.filter((message) => message.sequence > sequence);
    return kept.length === this.sequence - sequence ? kept : undefined;
  }

  /** Samples a domain; `seed` decides which and what came out. */
  sample(seed: number, now: number): void {
    const dice = diceOf(seed);
    const who = dice(POPULATION);
    const nameless = who === 0;
    const domain = new Domain(
      nameless ? NIL_UUID : `00000000-0000-4000-8000-00000000000${who}`,
      nameless || dice(8) > 0 ? `d${who}` : `d${who}-renamed`,
      dice(8) > 0 ? who : -1,
      who % 3 === 0 ? "hv2" : "hv1",
    );
    let number = this.#table.findIndex((record) => record !== undefined && keyOf(record) === keyOf({ domain }));
    const replaces = number < 0 && dice(6) === 0;
    if (replaces) number = this.#table.findIndex((record) => record !== undefined);
    if (number < 0) number = this.#table.indexOf(undefined);
    if (number < 0) number = this.#table.length;
    if (this.#table[number] !== undefined && replaces) {
      this.flush();
      this.#encoder.gone(number, this.#table[number]!.domain);
      this.#table[number] = undefined;
    }
    const before = this.#table[number];
    const record = sampled(dice, domain, before, now);
    if (this.#encoder.mustFlush(number)) this.flush();
    this.#encoder.add(number, record, before);
    this.#table[number] = record;
    if (dice(3) === 0) this.flush();
  }

  remove(seed: number): void {
    const numbers = [...this.#table.keys()].filter((number) => this.#table[number] !== undefined);
    if (numbers.length === 0) return;
    const gone = numbers.filter((_, i) => i === seed % numbers.length || (seed >> 4) % 5 === i);
    this.flush();
    for (const number of gone) {
      this.#encoder.gone(number, this.#table[number]!.domain);
      this.#table[number] = undefined;
    }
    // What left may travel with what comes next.
    if (seed % 2 === 0) this.flush();
  }

  endTick(now: number): void {
    this.flush();
    const tally = new SweepTally(now);
    tally.add(this.#table.filter((record) => record !== undefined));
    const event: SyncEvent = { type: "sync", tick: ++this.#tick, host: "hv1", overrun: 0, summary: tally.summary(2.5) };
    this.#sync = event;
    this.#made(this.#encoder.sync(event, true));
  }

  status(seed: number): void {
    this.flush();
    const state = WATCH_STATES[seed % WATCH_STATES.length]!;
    const host = [undefined, "hv1", "hv2"][(seed >> 4) % 3];
    const error =
      state === "connected" || state === "removed" ? undefined : new VirstreamError("connection-lost", "it is away");
    const event: StatusEvent = { type: "status", state, host, error };
    if (state === "connected" || state === "removed") this.#sources.delete(host);
    else this.#sources.set(host, event);
    this.#made(this.#encoder.status(event));
  }

  gap(seed: number): void {
    this.flush();
    const reason = GAP_REASONS[seed % GAP_REASONS.length]!;
    this.#made(this.#encoder.gap({ type: "gap", reason, skipped: seed % 5 || undefined, host: "hv2" }));
  }

  flush(): void {
    const message = this.#encoder.changes();
    if (message !== undefined) this.#made(message);
  }

  /** A watch begins with a snapshot: makes, one after the other, its begin and its rows in any number of messages. */
  snapshot(end: ServerEnd, id: number, rows: number): (() => Uint8Array[])[] {
    this.flush();
    const entries = [...this.#table.entries()].flatMap(([number, record]) => (record ? [{ number, record }] : []));
    const begin = {
      type: "begin",
      id,
      channel: this.channel,
      sequence: this.sequence,
      resumed: false,
      domains: entries.length,
      ...(this.#sync && { sync: syncToWire(this.#sync) }),
      statuses: [...this.#sources.values()].map(statusToWire),
      complete: this.#tick > 0,
    } as const;
    const parts = [() => end.say(begin)];
    for (let at = 0; at < entries.length; at += rows) {
      const batch = new RowBatch();
      for (const { number, record } of entries.slice(at, at + rows)) batch.add(number, record);
      parts.push(() => end.batch({ id }, batch).messages);
    }
    return parts;
  }

  /** The sources that are not connected. */
  sources(): Map<string | undefined, string> {
    return new Map([...this.#sources].map(([host, { state }]) => [host, state]));
  }

  #made(message: ChannelMessage): void {
    this.#ring = [...this.#ring, message].slice(-RING);
    this.#history.set(
      message.sequence,
      this.#table.filter((record) => record !== undefined),
    );
  }
}

/** What tells domains apart. */
export function keyOf({ domain }: { readonly domain: Domain }): string {
  return `${domain.host} ${domain.uuid === NIL_UUID ? domain.name : domain.uuid}`;
}

function sampled(
  dice: (sides: number) => number,
  domain: Domain,
  before: DomainStatsRecord | undefined,
  now: number,
): DomainStatsRecord {
  const failed = dice(10) === 0;
  const schema = failed
    ? SHAPES[3]!
    : before !== undefined && dice(5) > 0
      ? before.params.schema
      : SHAPES[dice(SHAPES.length)]!;
  const comparable = before?.params.schema === schema ? cellsOf(before.params) : undefined;
  const cells = [...schema.types].map((type, i) => {
    const pool = POOLS[type]!;
    return comparable !== undefined && dice(2) === 0 ? comparable[i]! : pool[dice(pool.length)]!;
  });
  return new DomainStatsRecord({
    domain,
    params: cells.length === 0 ? TypedParams.EMPTY : TypedParams.of(schema, cells),
    status: failed ? "failed" : dice(9) === 0 ? "partial" : "ok",
    reason: failed ? "timeout" : undefined,
    error: failed ? new VirstreamError("deadline-exceeded", "no answer") : undefined,
    sampledAt: now,
    steadyAt: now - 1_600_000_000_000 + dice(3),
    tookMs: dice(4_000) / 1_000,
    index: dice(20),
  });
}

/** Dice that one number decides. */
function diceOf(seed: number): (sides: number) => number {
  let state = seed | 1;
  return (sides) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % sides;
  };
}
