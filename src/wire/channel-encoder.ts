import type { Domain, DomainStatsRecord } from "../model/record.ts";
import type { GapEvent, StatusEvent, SyncEvent } from "../model/watch.ts";
import { RowBatch } from "./columns/row-batch.ts";
import type { SlotSchema } from "./columns/schema-slots.ts";
import { sizeOf } from "./flow-control.ts";
import { summaryToWire, type WireStatus, type WireSync } from "./messages.ts";
import type { Departure, EncodedRows, Profile, WireMessage } from "./profile.ts";

/** The messages of a channel that share one sequence number, encoded once for all watches of the channel. */
export interface ChannelMessage {
  readonly sequence: number;
  readonly messages: readonly WireMessage[];
  /** The bytes of credit that the messages use; 0 for messages that have neither rows nor departures. */
  readonly bytes: number;
  /** The bytes of all messages together: the memory that the channel's ChannelRing needs for them. */
  readonly size: number;
  /** The schemas that the messages use: the server sends them first on each connection that does not have them. */
  readonly schemas: readonly SlotSchema[];
  /** The tick of a sync; undefined for other messages. */
  readonly tick: number | undefined;
}

const NO_SCHEMAS: readonly SlotSchema[] = Object.freeze([]);

/** Makes the messages of a channel, once for all its watches. Pure: no socket, no clock. */
export class ChannelEncoder {
  readonly channel: number;
  readonly #profile: Profile;
  readonly #batch = new RowBatch();
  /**
   * By the domain's number: the sequence of the message that has the domain's newest row. It shows whether the open
   * message already has a row of the domain, because a message has at most one row of each domain.
   */
  readonly #rowIn: number[] = [];
  #gone: Departure[] = [];
  #sequence = 0;

  constructor(channel: number, profile: Profile) {
    this.channel = channel;
    this.#profile = profile;
  }

  /** The sequence of the last message that was made; 0: none yet. */
  get sequence(): number {
    return this.#sequence;
  }

  /** True if there is an open message: rows or departures that `changes` has not taken yet. */
  get isOpen(): boolean {
    return this.#batch.rows > 0 || this.#gone.length > 0;
  }

  /** The estimated length of the open message, in bytes. */
  get length(): number {
    return this.#batch.length;
  }

  /** True if `changes` must take the open message before a row of the domain with this number is added. */
  mustFlush(number: number): boolean {
    return this.#batch.isFull || this.#rowIn[number] === this.#sequence + 1;
  }

  /**
   * Adds a row to the open message. Only allowed while mustFlush returns false for the number.
   *
   * @param before the record that this channel's clients have for the domain with that number
   */
  add(number: number, record: DomainStatsRecord, before: DomainStatsRecord | undefined): void {
    this.#rowIn[number] = this.#sequence + 1;
    this.#batch.add(number, record, before);
  }

  /** Adds a domain that left. A message has departures before its rows, so the open message must have no rows yet. */
  gone(number: number, domain: Domain): void {
    this.#gone.push({ number, domain });
  }

  /** True if the open message has rows. */
  get hasRows(): boolean {
    return this.#batch.rows > 0;
  }

  /** Takes the open message; undefined if there is nothing in it. */
  changes(): ChannelMessage | undefined {
    if (!this.isOpen) return undefined;
    const sequence = ++this.#sequence;
    const { messages, bytes, schemas }: EncodedRows = this.#profile.rows(
      { channel: this.channel, sequence },
      this.#batch,
      this.#gone,
    );
    this.#batch.clear(bytes);
    this.#gone = [];
    return { sequence, messages, bytes, size: bytes, schemas, tick: undefined };
  }

  /** Encodes any event except records and departures; for `complete`, see `sync`. There must be no open message. */
  event(event: SyncEvent | GapEvent | StatusEvent, complete: boolean): ChannelMessage {
    if (event.type === "sync") return this.sync(event, complete);
    return event.type === "status" ? this.status(event) : this.gap(event);
  }

  /** @param complete true if the channel has the domains of all hosts that can be reached */
  sync(event: SyncEvent, complete: boolean): ChannelMessage {
    const message = { type: "sync", ...this.#next(), ...syncToWire(event), complete } as const;
    return this.#made(this.#profile.message(message), event.tick);
  }

  status(event: StatusEvent): ChannelMessage {
    return this.#made(this.#profile.message({ type: "status", ...this.#next(), ...statusToWire(event) }));
  }

  gap({ reason, skipped, host }: GapEvent): ChannelMessage {
    const members = { reason, ...(skipped !== undefined && { skipped }), ...(host !== undefined && { host }) };
    return this.#made(this.#profile.message({ type: "gap", ...this.#next(), ...members }));
  }

  #next(): { channel: number; sequence: number } {
    if (this.isOpen) throw new Error("flush the open rows before another message");
    return { channel: this.channel, sequence: ++this.#sequence };
  }

  #made(message: WireMessage, tick?: number): ChannelMessage {
    const size = sizeOf(message);
    return { sequence: this.#sequence, messages: [message], bytes: 0, size, schemas: NO_SCHEMAS, tick };
  }
}

/** The end of a tick, as it is on the wire. */
export function syncToWire({ tick, host, overrun, summary }: SyncEvent): WireSync {
  return { tick, host, overrun, summary: summaryToWire(summary) };
}

/** The state of a source, as it is on the wire. */
export function statusToWire({ state, host, error }: StatusEvent): WireStatus {
  return { state, ...(host !== undefined && { host }), ...(error && { error: error.toJSON() }) };
}
