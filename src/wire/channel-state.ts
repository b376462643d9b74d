import { DomainMap } from "../model/domain-map.ts";
import { type DomainStatsRecord, domainKey } from "../model/record.ts";
import {
  GAP_REASONS,
  type GapReason,
  type StatusEvent,
  type SyncEvent,
  WATCH_STATES,
  type WatchSink,
  type WatchState,
} from "../model/watch.ts";
import { readFull, type SchemaOf } from "./columns/block-decoder.ts";
import type { TimeBase } from "./columns/block-encoder.ts";
import { readChanges } from "./columns/changes-decoder.ts";
import type { MessageBudget } from "./columns/message-budget.ts";
import { errorFromWire, malformed } from "./errors.ts";
import { booleanOf, listOf, mapOf, optionalTextOf, type RawMessage, summaryOf, textOf, wholeOf } from "./messages.ts";
import { LIMITS } from "./protocol.ts";

const CLOSED: WatchSink = { record: () => {}, gone: () => {}, event: () => {}, flush: () => {}, end: () => {} };

/**
 * The client's side of one watch: applies its messages, and calls a sink with the events. It is kept across
 * connections: a resumed watch continues where it stopped. A watch that gets a snapshot instead still reports exactly
 * how many ticks were skipped and which domains left meanwhile. Pure: no socket, no clock.
 *
 * A snapshot is the channel's state at one sequence. Its rows come in any number of messages; the channel's messages
 * that follow begin with the next sequence.
 *
 * A message that is not valid at this point throws `protocol-error`. After that, the ChannelState must not be used.
 */
export class ChannelState {
  readonly #owner: object;
  readonly #onAnswer: () => void;
  #sink: WatchSink;
  #phase: "new" | "snapshot" | "live" = "new";
  #channel = 0;
  /**
   * True if the channel, its sequence and the domains' numbers are still valid. False after a restart of the server,
   * until the next snapshot.
   */
  #sameEpoch = true;
  #sequence = 0;
  #reconnected = false;

  /**
   * The newest record of each domain, by the domain's number. If a server uses sparse numbers, V8 turns this array into
   * a dictionary, so it stays small.
   */
  #records: (DomainStatsRecord | undefined)[] = [];
  /** The domains of `#records`, to check that no domain has two numbers. */
  #domains = new DomainMap<true>();
  /** How many rows of the snapshot have not come yet. */
  #awaited = 0;
  #complete = false;
  /**
   * The records from before the last snapshot whose domains have not come since, by the domain's key. When the channel
   * is complete, the domains that are still in this map have left.
   */
  #previous = new Map<string, DomainStatsRecord>();
  /** The states of the sources that are not connected, by host. */
  readonly #sources = new Map<string | undefined, StatusEvent>();
  #sourceCharacters = 0;

  /** The number of the last tick whose end the sink got, or that a gap covers. */
  #tick = 0;
  /** The sync of the channel's last tick, which `begin` brought. It is reported after the rows of the snapshot. */
  #pending: SyncEvent | undefined;

  /**
   * @param owner the driver that the domains belong to
   * @param sink called with the events of each message, while it is applied
   * @param onAnswer called at each start or resumption of the watch, before its events
   */
  constructor(owner: object, sink: WatchSink, onAnswer: () => void) {
    this.#owner = owner;
    this.#sink = sink;
    this.#onAnswer = onAnswer;
  }

  /**
   * Where to resume: the channel, and the sequence of its last message that was applied; undefined if the watch cannot
   * resume.
   */
  get since(): { channel: number; sequence: number } | undefined {
    return this.#phase === "live" && this.#sameEpoch ? { channel: this.#channel, sequence: this.#sequence } : undefined;
  }

  /** How many domains this ChannelState knows. */
  get domains(): number {
    return this.#domains.size;
  }

  /** The newest record of each domain that this ChannelState knows. */
  *records(): Generator<DomainStatsRecord> {
    // A loop from 0 could take millions of steps for one domain if the numbers are sparse.
    for (const record of Object.values(this.#records)) if (record !== undefined) yield record;
  }

  /**
   * Notes that there is a new connection: if the next snapshot skips ticks, this is the reason.
   *
   * @param sameEpoch true if the server has not restarted; if it has, the old channel, sequence and domains' numbers
   *   are void
   */
  reconnect(sameEpoch: boolean): void {
    this.#reconnected = true;
    if (!sameEpoch) this.#sameEpoch = false;
    if (this.#phase === "snapshot") this.#phase = "new";
  }

  /** From now on, this ChannelState does not call the sink. */
  close(): void {
    this.#sink = CLOSED;
  }

  /** Applies a `begin`, which says where the watch starts or resumes. */
  begin(message: RawMessage): void {
    const channel = wholeOf(message, "channel", LIMITS.id);
    const sequence = wholeOf(message, "sequence");
    if (booleanOf(message, "resumed")) {
      const { since } = this;
      if (since?.channel !== channel || since.sequence !== sequence) {
        throw malformed("a watch resumes where it did not stop");
      }
      this.#reconnected = false;
      this.#onAnswer();
      return;
    }
    const domains = wholeOf(message, "domains", LIMITS.domains);
    const statuses = listOf(message, "statuses").map((status) => statusOf(mapOf(status, "a status")));
    const sync = message["sync"] === undefined ? undefined : syncOf(mapOf(message["sync"], "a sync"));
    const complete = booleanOf(message, "complete");
    this.#onAnswer();
    const reason: GapReason = this.#reconnected ? "reconnected" : "slow-consumer";
    const isNew = this.#tick === 0 && this.#domains.size === 0 && this.#previous.size === 0;
    this.#reconnected = false;
    this.#forget();
    this.#skip(channel, sync?.tick ?? 0, isNew, reason);
    this.#pending = sync !== undefined && sync.tick > this.#tick ? sync : undefined;
    this.#phase = "snapshot";
    this.#channel = channel;
    this.#sameEpoch = true;
    this.#sequence = sequence;
    this.#awaited = domains;
    this.#complete = complete;
    this.#settleStatuses(statuses);
    if (domains === 0) this.#endSnapshot();
  }

  /** Applies a `records` message with the watch's id: rows of its snapshot. */
  snapshot(message: RawMessage, base: TimeBase, schemaOf: SchemaOf, budget: MessageBudget): void {
    if (this.#phase !== "snapshot") throw malformed("there is no snapshot for its rows");
    for (const block of listOf(message, "blocks")) {
      readFull(block, schemaOf, this.#owner, base, budget, (number, record) => {
        if (this.#awaited-- === 0) throw malformed("a snapshot has too many rows");
        if (this.#records[number] !== undefined) throw malformed(`domain ${number} is in a snapshot twice`);
        const key = domainKey(record.domain);
        const before = this.#previous.get(key);
        this.#previous.delete(key);
        this.#set(number, record);
        const isNews = before?.sampledAt !== record.sampledAt || before.tookMs !== record.tookMs;
        if (isNews) this.#sink.record(record);
      });
    }
    if (this.#awaited === 0) this.#endSnapshot();
  }

  /** Applies a `changes` message: domains that left, then full rows, then rows of changes. */
  changes(message: RawMessage, base: TimeBase, schemaOf: SchemaOf, budget: MessageBudget): void {
    this.#next(message);
    for (const number of listOf(message, "gone")) this.#gone(number);
    for (const block of listOf(message, "full")) {
      readFull(block, schemaOf, this.#owner, base, budget, this.#put);
    }
    for (const block of listOf(message, "changed")) {
      readChanges(block, schemaOf, base, budget, this.#recordOf, this.#changed);
    }
  }

  /** Applies a `sync`, the end of a tick. */
  sync(message: RawMessage): void {
    this.#next(message);
    const event = syncOf(message);
    if (booleanOf(message, "complete")) this.#departed();
    if (event.tick !== this.#tick + 1) throw malformed(`tick ${event.tick} follows tick ${this.#tick}`);
    this.#tick = event.tick;
    this.#sink.event(event);
  }

  /** Applies a `status`, the state of a source. */
  status(message: RawMessage): void {
    this.#next(message);
    const event = statusOf(message);
    this.#source(event);
    this.#sink.event(event);
  }

  /** Applies a `gap`, which reports ticks that the channel itself missed. */
  gap(message: RawMessage): void {
    this.#next(message);
    const reason = textOf(message, "reason") as GapReason;
    this.#sink.event({
      type: "gap",
      reason: GAP_REASONS.includes(reason) ? reason : "source",
      skipped: message["skipped"] === undefined ? undefined : wholeOf(message, "skipped"),
      host: optionalTextOf(message, "host"),
    });
  }

  /** Applies a message of a type that a later version of the protocol adds: only its sequence counts. */
  unknown(message: RawMessage): void {
    this.#next(message);
  }

  /** Checks that the sequence of a channel's message is one more than that of the channel's message before. */
  #next(message: RawMessage): void {
    const sequence = wholeOf(message, "sequence");
    if (this.#phase !== "live") throw malformed("a snapshot has too few rows");
    if (sequence !== this.#sequence + 1) throw malformed(`message ${sequence} follows message ${this.#sequence}`);
    this.#sequence = sequence;
  }

  /** Makes the numbers of all domains void. Their records stay in `#previous` until the channel is complete. */
  #forget(): void {
    for (const record of this.records()) this.#previous.set(domainKey(record.domain), record);
    // A server could send snapshots that are never complete. This limit bounds how many domains such snapshots leave in
    // `#previous`.
    if (this.#previous.size > LIMITS.domains) throw malformed("a snapshot has too many domains");
    this.#records = [];
    this.#domains = new DomainMap();
  }

  /**
   * Reports, as a gap, the ticks before the snapshot that this watch did not get. A new watch gets no gap. If the watch
   * has another channel than before, or the server has restarted, the gap's number of ticks is unknown.
   */
  #skip(channel: number, tick: number, isNew: boolean, reason: GapReason): void {
    if (channel !== this.#channel || !this.#sameEpoch) {
      this.#tick = Math.max(tick - 1, 0);
      if (!isNew) this.#sink.event({ type: "gap", reason, skipped: undefined, host: undefined });
      return;
    }
    const skipped = tick - 1 - this.#tick;
    if (skipped <= 0) return;
    this.#tick = tick - 1;
    this.#sink.event({ type: "gap", reason, skipped, host: undefined });
  }

  #endSnapshot(): void {
    this.#phase = "live";
    if (this.#complete) this.#departed();
    const sync = this.#pending;
    if (sync === undefined) return;
    this.#pending = undefined;
    this.#tick = sync.tick;
    this.#sink.event(sync);
  }

  /**
   * The channel now has all domains. So the domains that were known before the snapshot, and have not come since, have
   * left.
   */
  #departed(): void {
    for (const { domain } of this.#previous.values()) this.#sink.gone(domain);
    this.#previous.clear();
  }

  /**
   * Reports which sources have another state than before. A snapshot names the sources that are not connected; all
   * other sources are connected.
   */
  #settleStatuses(statuses: readonly StatusEvent[]): void {
    const hosts = new Set(statuses.map(({ host }) => host));
    for (const host of [...this.#sources.keys()]) {
      if (hosts.has(host)) continue;
      const event: StatusEvent = { type: "status", state: "connected", host, error: undefined };
      this.#source(event);
      this.#sink.event(event);
    }
    for (const event of statuses) {
      if (this.#sources.get(event.host)?.state === event.state) continue;
      this.#source(event);
      this.#sink.event(event);
    }
  }

  #source(event: StatusEvent): void {
    const { host, state } = event;
    this.#sourceCharacters -= charactersOf(this.#sources.get(host));
    this.#sources.delete(host);
    if (state === "connected" || state === "removed") return;
    this.#sources.set(host, event);
    this.#sourceCharacters += charactersOf(event);
    if (this.#sources.size > LIMITS.hosts || this.#sourceCharacters > LIMITS.hostCharacters) {
      throw malformed("too many sources are absent, or their texts are too long");
    }
  }

  #gone(number: unknown): void {
    // Without this check, a text such as "map" would read a member of the array.
    if (typeof number !== "number") throw malformed("a number in gone is not a number");
    const record = this.#recordOf(number);
    this.#records[number] = undefined;
    this.#domains.delete(record.domain);
    this.#sink.gone(record.domain);
  }

  readonly #put = (number: number, record: DomainStatsRecord): void => {
    const key = domainKey(record.domain);
    const before = this.#records[number];
    if (before !== undefined && domainKey(before.domain) !== key) {
      throw malformed(`number ${number} has another domain`);
    }
    if (this.#previous.size > 0) this.#previous.delete(key);
    this.#set(number, record);
    this.#sink.record(record);
  };

  #set(number: number, record: DomainStatsRecord): void {
    if (!(number >= 0 && number < LIMITS.domains)) throw malformed(`domain ${number} is not known`);
    if (this.#records[number] === undefined) {
      const { size } = this.#domains;
      this.#domains.set(record.domain, true);
      if (this.#domains.size === size) throw malformed("one domain has two numbers");
    }
    this.#records[number] = record;
  }

  readonly #recordOf = (number: number): DomainStatsRecord => {
    const record = this.#records[number];
    if (record === undefined) throw malformed(`domain ${number} is not known`);
    return record;
  };

  readonly #changed = (number: number, record: DomainStatsRecord): void => {
    this.#records[number] = record;
    this.#sink.record(record);
  };
}

/** The number of characters that are kept for a source that is not connected. */
function charactersOf(status: StatusEvent | undefined): number {
  return (status?.host?.length ?? 0) + (status?.error?.message.length ?? 0);
}

function syncOf(message: RawMessage): SyncEvent {
  return {
    type: "sync",
    tick: wholeOf(message, "tick"),
    host: textOf(message, "host"),
    summary: summaryOf(message["summary"]),
    overrun: wholeOf(message, "overrun"),
  };
}

/** The state of a source; a state that this version does not know becomes `degraded`. */
function statusOf(message: RawMessage): StatusEvent {
  const state = textOf(message, "state") as WatchState;
  return {
    type: "status",
    state: WATCH_STATES.includes(state) ? state : "degraded",
    host: optionalTextOf(message, "host"),
    error: errorFromWire(message["error"]),
  };
}
