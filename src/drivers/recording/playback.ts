import { VirstreamError } from "../../model/error.ts";
import type { Domain, DomainStatsRecord } from "../../model/record.ts";
import { SchemaTable } from "../../model/schema-table.ts";
import type { GapEvent, StatusEvent, SyncEvent, WatchSink } from "../../model/watch.ts";
import { ChannelState } from "../../wire/channel-state.ts";
import { ChannelTable } from "../../wire/channel-table.ts";
import { MessageDecoder } from "../../wire/message-decoder.ts";
import type { Welcome } from "../../wire/messages.ts";
import { ServerClock } from "../../wire/server-clock.ts";
import type { Frame } from "./frame.ts";
import type { Piece } from "./frame-reader.ts";
import { type Description, descriptionOf } from "./recording.ts";

/** The id of the watch whose messages a recording has. Each recording has one watch, always with this id. */
export const WATCH_ID = 1;

/** The methods of a WatchSink that take the events of a watch. The methods `flush`, `end` and `ready` are left out. */
export type EventSink = Pick<WatchSink, "record" | "gone" | "event">;

/**
 * Applies the frames of a recording, calls a sink with the events, and keeps the state that results. It reports each
 * period that the recording lacks, because the recorder did not run or the file is damaged, to the sink as a `gap`.
 */
export class Playback {
  /** The description in the key frame that was applied last; undefined before the first key frame. */
  description: Description | undefined;
  /** The `welcome` message in the key frame that was applied last. */
  welcome: Welcome | undefined;
  /** The `sync` event of the last tick that has ended. */
  sync: SyncEvent | undefined;
  /** The number of frames with a valid checksum but an invalid message. */
  invalid = 0;
  readonly #owner: object;
  readonly #sink: EventSink;
  readonly #clock: ServerClock;
  readonly #table = new SchemaTable();
  readonly #absent = new Map<string | undefined, StatusEvent>();
  #state: ChannelState;
  /** Undefined while the playback waits for a key frame. */
  #decoder: MessageDecoder | undefined;
  /**
   * True after damage or a new start of the recorder, until the next `event` frame. Meanwhile, a `gap` event that comes
   * from a key frame gets the reason `not-recorded`.
   */
  #interrupted = false;
  /** True if the messages of a key frame are being applied. */
  #inKey = false;

  /** @param owner the driver that the domains belong to */
  constructor(owner: object, sink: EventSink = { record: () => {}, gone: () => {}, event: () => {} }) {
    this.#owner = owner;
    this.#sink = sink;
    this.#clock = new ServerClock(() => this.description!.wallMs);
    this.#state = this.#newState();
  }

  /** False while records of the last key frame are missing, because the key frame was cut or is being read. */
  get isWhole(): boolean {
    return this.#state.since !== undefined;
  }

  /** The newest record of each domain. */
  records(): Generator<DomainStatsRecord> {
    return this.#state.records();
  }

  /** The newest `status` event of each source that is not connected. */
  get statuses(): Iterable<StatusEvent> {
    return this.#absent.values();
  }

  /**
   * Applies a frame. After damage, skips all frames up to the next key frame, because they depend on frames that were
   * lost.
   */
  apply(frame: Piece): void {
    if (frame.kind === "damage") {
      if (this.description === undefined) return;
      this.#decoder = undefined;
      this.#interrupted = true;
      return;
    }
    try {
      if (frame.kind === "key") this.#begin(descriptionOf(frame));
      else if (frame.kind !== "end" && this.#decoder !== undefined) this.#decode(frame);
    } catch (thrown) {
      const error = VirstreamError.from(thrown);
      if (error.code !== "protocol-error") throw error;
      this.invalid++;
      this.#restart();
    }
  }

  #begin(description: Description): void {
    const before = this.description;
    this.description = description;
    this.#decoder = new MessageDecoder(this.#owner, this.#clock, this.#table);
    ChannelTable.of(this.#decoder).adopt(WATCH_ID, this.#state);
    const sameEpoch = before?.epoch === description.epoch;
    if (before !== undefined && (this.#interrupted || !sameEpoch)) {
      this.#state.reconnect(sameEpoch);
      this.#interrupted = true;
    }
  }

  #decode({ kind, payload }: Frame): void {
    this.#inKey = kind === "state";
    const message = this.#decoder!.decode(payload);
    if (message.type === "welcome") this.welcome = message.welcome;
    if (kind === "event") this.#interrupted = false;
  }

  /** Called after an invalid message, which makes the state void. Reports all its domains as gone, and a `gap`. */
  #restart(): void {
    for (const { domain } of this.#state.records()) this.#sink.gone(domain);
    this.#state.close();
    this.#state = this.#newState();
    this.#decoder = undefined;
    this.#event({ type: "gap", reason: "not-recorded", skipped: undefined, host: undefined });
  }

  #newState(): ChannelState {
    const sink: WatchSink = {
      record: (record: DomainStatsRecord) => this.#sink.record(record),
      gone: (domain: Domain) => this.#sink.gone(domain),
      event: (event) => this.#event(event),
      flush: () => {},
      end: () => {},
    };
    return new ChannelState(this.#owner, sink, () => {});
  }

  #event(event: SyncEvent | GapEvent | StatusEvent): void {
    if (event.type === "sync") this.sync = event;
    if (event.type === "status") {
      if (event.state === "connected" || event.state === "removed") this.#absent.delete(event.host);
      else this.#absent.set(event.host, event);
    }
    const missing = event.type === "gap" && this.#inKey && this.#interrupted;
    this.#sink.event(missing ? { ...event, reason: "not-recorded" } : event);
  }
}
