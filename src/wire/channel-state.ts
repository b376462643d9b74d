import { type Schema, TypedParams } from "../model/params.ts";
import { Domain, DomainStatsRecord, domainKey } from "../model/record.ts";
import type { GapReason, SyncEvent, WatchSink, WatchState } from "../model/watch.ts";
import { cellsOf, type ParamCell } from "./cells.ts";
import { malformed, unsigned, type WireReader, type WireValue } from "./encoding.ts";
import { CHANGES_HEAD, LIMITS, WATCH_ROW_HEAD } from "./protocol.ts";
import { statusFromWire } from "./row-status.ts";
import { gapEventFromWire, statusEventFromWire } from "./source-events.ts";
import { summaryFromWire } from "./summary-map.ts";

/** What a connection was told: full rows refer to it. Both throw `protocol-error` for a number that was not told. */
export interface Told {
  schema(number: number): Schema;
  host(number: number): string;
}

/** One domain as it was told last. */
interface Known {
  record: DomainStatsRecord;
  /** The sequence as of which the snapshot told it, which knows all messages up to there; 0: a message told it. */
  readonly version: number;
}

const CLOSED: WatchSink = { record: () => {}, gone: () => {}, event: () => {}, flush: () => {}, end: () => {} };

/**
 * The client's side of one watch. It outlives connections: a resumed watch goes on where it stopped, and one that gets a
 * snapshot instead still tells exactly what was skipped and which domains left meanwhile. Pure: no socket, no clock.
 *
 * A snapshot is not of one moment, so that a server need not stand still for it: its rows come in parts, each as of a
 * sequence, while the channel goes on, and the messages made meanwhile are sent after it. What a row knows already is
 * told apart by its version. The snapshot's tick is complete only when these messages have been read: its `sync` waits
 * for the last of them.
 *
 * Each method that reads a message calls the sink with what it says; what does not fit throws `protocol-error`, after which
 * the state is of no more use.
 */
export class ChannelState {
  readonly #owner: object;
  readonly #answered: () => void;
  #sink: WatchSink;
  #phase: "new" | "snapshot" | "live" = "new";
  #channel = 0;
  /** Whether what the channel counts is the same as before: the channel is, and its server did not start anew. */
  #sameEpoch = true;
  #sequence = 0;
  /** Messages up to this one were made before the snapshot ended. */
  #through = 0;
  /** Why the snapshot that is being read, or was read last, came. */
  #reason: GapReason = "slow-consumer";
  #reconnected = false;

  /** By their numbers. A server that gives numbers sparsely makes it a dictionary, not large. */
  #known: (Known | undefined)[] = [];
  #count = 0;
  /** What was known before the last snapshot and has not come since, by key; until it is complete who has left. */
  #previous = new Map<string, DomainStatsRecord>();
  /**
   * Where the snapshot has each domain, by key, for rows as of later than its beginning. A domain that left and came back
   * while the snapshot was made is in older messages by another number: what they say of it is older than what was told.
   */
  readonly #shown = new Map<string, { readonly number: number; readonly version: number }>();
  /** The sources that are not connected. */
  readonly #sources = new Map<string | undefined, WatchState>();

  /** The last tick that a sync event told. */
  #tick = 0;
  /** Each tick up to this one was told, or is covered by a gap. */
  #covered = 0;
  /** The channel's last tick, as it was heard. */
  #heard = 0;
  /** The sync event of the snapshot's tick, which waits for the message `through`. */
  #pending: SyncEvent | undefined;

  /**
   * @param owner the driver that the domains belong to
   * @param sink its `record`, `gone` and `event` are called; flushing it, and its end, are the caller's
   * @param answered called when the server answers the watch, before anything of the answer is in the sink
   */
  constructor(owner: object, sink: WatchSink, answered: () => void = () => {}) {
    this.#owner = owner;
    this.#sink = sink;
    this.#answered = answered;
  }

  /** The sink is not called any more, not even by the message that is being read. */
  close(): void {
    this.#sink = CLOSED;
  }

  /** What to resume by: the channel, and the last of its messages that was read; undefined where there is no resuming. */
  get since(): { channel: number; sequence: number } | undefined {
    return this.#phase === "live" && this.#sameEpoch ? { channel: this.#channel, sequence: this.#sequence } : undefined;
  }

  /** The last tick that was told; 0: none yet, or none since the counting began anew. */
  get tick(): number {
    return this.#tick;
  }

  /** How many domains it knows. */
  get domains(): number {
    return this.#count;
  }

  /** The newest record of each domain that it knows. */
  *records(): Generator<DomainStatsRecord> {
    // Not by the numbers from 0 on: a server that gives numbers sparsely would make that millions for one domain.
    for (const known of Object.values(this.#known)) if (known !== undefined) yield known.record;
  }

  /**
   * There is a new connection: what the next snapshot skips was skipped for that.
   *
   * @param sameEpoch whether its server is the one of before; if not, nothing of before counts, and there is no resuming
   */
  reconnect(sameEpoch: boolean): void {
    this.#reconnected = true;
    if (!sameEpoch) this.#sameEpoch = false;
    if (this.#phase === "snapshot") this.#phase = "new";
  }

  /** POSITION, after id and channel. */
  position(channel: number, reader: WireReader): void {
    const sequence = unsigned(reader, Number.MAX_SAFE_INTEGER);
    const tick = unsigned(reader, Number.MAX_SAFE_INTEGER);
    const resumed = reader.value(0);
    if (typeof resumed !== "boolean") throw malformed("a POSITION does not say whether the watch is resumed");
    if (resumed) {
      const since = this.since;
      if (since?.channel !== channel || since.sequence !== sequence) {
        throw malformed("a watch is resumed from where it did not stop");
      }
      this.#answered();
      this.#reconnected = false;
      return;
    }
    this.#answered();
    this.#reason = this.#reconnected ? "reconnected" : "slow-consumer";
    this.#reconnected = false;
    this.#forget();
    if (channel === this.#channel && this.#sameEpoch) {
      if (this.#tick > 0 || this.#previous.size > 0) this.#cover(tick - 1);
    } else {
      if (this.#tick > 0 || this.#previous.size > 0) {
        this.#sink.event({ type: "gap", reason: this.#reason, skipped: undefined, host: undefined });
      }
      this.#tick = 0;
      this.#covered = Math.max(tick - 1, 0);
    }
    this.#phase = "snapshot";
    this.#channel = channel;
    this.#sameEpoch = true;
    this.#sequence = sequence;
    this.#through = sequence;
    this.#pending = undefined;
  }

  /** STATE, after id. */
  state(reader: WireReader, told: Told): void {
    if (this.#phase !== "snapshot") throw malformed("rows of a snapshot, and there is none");
    const asOf = unsigned(reader, Number.MAX_SAFE_INTEGER);
    if (asOf < this.#sequence) throw malformed("rows of a snapshot are as of before it began");
    this.#through = Math.max(this.#through, asOf);
    this.#rows(reader, told, asOf);
  }

  /** CURRENT, after id. */
  current(reader: WireReader): void {
    if (this.#phase !== "snapshot") throw malformed("the end of a snapshot, and there is none");
    const through = unsigned(reader, Number.MAX_SAFE_INTEGER);
    const tick = unsigned(reader, Number.MAX_SAFE_INTEGER);
    const host = reader.text();
    const overrun = unsigned(reader, Number.MAX_SAFE_INTEGER);
    const summary = summaryFromWire(reader.value(LIMITS.depth));
    const statuses = reader.value(LIMITS.depth);
    const complete = reader.value(0);
    if (through < this.#through) throw malformed("a snapshot ends as of before its rows");
    this.#phase = "live";
    this.#through = through;
    this.#heard = tick;
    this.#goneSince(complete);
    this.#statuses(statuses);
    this.#cover(tick - 1);
    if (tick > this.#covered && summary !== undefined) this.#pending = { type: "sync", tick, host, summary, overrun };
    this.#settle();
  }

  /** CHANGES, after channel. */
  changes(reader: WireReader, told: Told): void {
    this.#next(reader);
    this.#rows(reader, told, 0);
    this.#settle();
  }

  /** GONE, after channel. */
  gone(reader: WireReader): void {
    this.#next(reader);
    for (let left = reader.arrayHead(); left > 0; left--) {
      const number = unsigned(reader, LIMITS.domains - 1);
      const known = this.#known[number];
      if (known === undefined) {
        if (this.#sequence > this.#through) throw malformed(`domain ${number} is gone, and was not there`);
      } else if (this.#sequence > known.version) {
        this.#known[number] = undefined;
        this.#count--;
        const { domain } = known.record;
        if (!this.#outdated(number, domain)) this.#sink.gone(domain);
      }
    }
    this.#settle();
  }

  /** SYNC, after channel. */
  sync(reader: WireReader): void {
    this.#next(reader);
    const tick = unsigned(reader, Number.MAX_SAFE_INTEGER);
    const host = reader.text();
    const overrun = unsigned(reader, Number.MAX_SAFE_INTEGER);
    const summary = summaryFromWire(reader.value(LIMITS.depth));
    if (summary === undefined) throw malformed("a SYNC has no summary");
    this.#goneSince(reader.value(0));
    if (tick > this.#heard) {
      if (tick !== this.#heard + 1) throw malformed(`tick ${tick} follows tick ${this.#heard}`);
      if (this.#sequence <= this.#through) throw malformed("a snapshot did not tell the last tick");
      this.#heard = tick;
      if (tick > this.#covered) {
        this.#covered = tick;
        this.#tick = tick;
        this.#sink.event({ type: "sync", tick, host, summary, overrun });
      }
    }
    this.#settle();
  }

  /** STATUS, after channel. */
  status(reader: WireReader): void {
    this.#next(reader);
    const event = statusEventFromWire(reader.value(0), reader.value(0), reader.value(LIMITS.depth));
    // The snapshot's end said how its sources were by then.
    if (this.#sequence > this.#through) {
      this.#source(event.host, event.state);
      this.#sink.event(event);
    }
    this.#settle();
  }

  /** GAP, after channel. */
  gap(reader: WireReader): void {
    this.#next(reader);
    this.#sink.event(gapEventFromWire(reader.value(0), reader.value(0), reader.value(0)));
    this.#settle();
  }

  /** The sequence of a channel's message: the one after the last. */
  #next(reader: WireReader): void {
    const sequence = unsigned(reader, Number.MAX_SAFE_INTEGER);
    if (this.#phase !== "live") throw malformed("a channel's message before the end of its snapshot");
    if (sequence !== this.#sequence + 1) throw malformed(`message ${sequence} follows message ${this.#sequence}`);
    this.#sequence = sequence;
  }

  /** Makes all numbers void; what was known stays known by key until the snapshot's end. */
  #forget(): void {
    for (const record of this.records()) this.#previous.set(domainKey(record.domain), record);
    // One snapshot after another, none of them ever complete, must not gather domains without end.
    if (this.#previous.size > LIMITS.domains) throw malformed(`snapshots of more than ${LIMITS.domains} domains`);
    this.#known = [];
    this.#count = 0;
    this.#shown.clear();
  }

  /** Tells who left before the snapshot: once it is complete, for a channel that has just begun knows nobody yet. */
  #goneSince(complete: WireValue): void {
    if (typeof complete !== "boolean") throw malformed("a tick does not say whether the channel is complete");
    if (!complete) return;
    for (const { domain } of this.#previous.values()) this.#sink.gone(domain);
    this.#previous.clear();
  }

  /** Covers the ticks up to one by a gap, if any of them was not told. */
  #cover(tick: number): void {
    const skipped = tick - this.#covered;
    if (skipped <= 0) return;
    this.#covered = tick;
    this.#sink.event({ type: "gap", reason: this.#reason, skipped, host: undefined });
  }

  /** Tells the snapshot's tick, once everything that belongs to it was read. */
  #settle(): void {
    if (this.#sequence < this.#through) return;
    this.#shown.clear();
    const sync = this.#pending;
    if (sync === undefined) return;
    this.#pending = undefined;
    this.#covered = sync.tick;
    this.#tick = sync.tick;
    this.#sink.event(sync);
  }

  #statuses(statuses: WireValue): void {
    if (!Array.isArray(statuses)) throw malformed("a snapshot's statuses are no array");
    const told = (statuses as readonly WireValue[]).map((status) => {
      if (!Array.isArray(status) || status.length < 3) throw malformed("a snapshot's status is none");
      const [state, host, error] = status as readonly WireValue[];
      return statusEventFromWire(state!, host!, error!);
    });
    const hosts = new Set(told.map(({ host }) => host));
    for (const host of [...this.#sources.keys()]) {
      if (hosts.has(host)) continue;
      this.#sources.delete(host);
      this.#sink.event({ type: "status", state: "connected", host, error: undefined });
    }
    for (const event of told) {
      if (this.#sources.get(event.host) === event.state) continue;
      this.#source(event.host, event.state);
      this.#sink.event(event);
    }
  }

  #source(host: string | undefined, state: WatchState): void {
    if (state === "connected") this.#sources.delete(host);
    else this.#sources.set(host, state);
    if (this.#sources.size > LIMITS.hosts) throw malformed(`more than ${LIMITS.hosts} sources are not connected`);
  }

  /**
   * The rows of STATE or CHANGES, with the time before them.
   *
   * @param asOf of a STATE; 0: the rows are of CHANGES
   */
  #rows(reader: WireReader, told: Told, asOf: number): void {
    let sampledAt = unsigned(reader, Number.MAX_SAFE_INTEGER);
    let nextNumber = 0;
    const latest = new Map<Schema, readonly ParamCell[]>();
    const inSnapshot = this.#phase === "snapshot";
    for (let left = reader.arrayHead(); left > 0; left--) {
      const size = reader.arrayHead();
      const number = nextNumber + reader.integer();
      if (!(number >= 0 && number < LIMITS.domains)) throw malformed(`there is no domain ${number}`);
      nextNumber = number + 1;
      const known = this.#known[number];
      if (reader.uuidIsNext()) {
        const record = this.#fullRow(reader, told, size, sampledAt, latest);
        sampledAt = record.sampledAt;
        if (inSnapshot) this.#tell(number, record, asOf);
        else if (known === undefined || this.#sequence > known.version) this.#put(number, record);
        continue;
      }
      if (inSnapshot) throw malformed("a row of changes in a snapshot");
      if (size < CHANGES_HEAD) throw malformed(`a row of changes has ${size} items`);
      const index = reader.integer();
      sampledAt += reader.integer();
      const tookMs = unsigned(reader, Number.MAX_SAFE_INTEGER) / 1000;
      if (known === undefined || this.#sequence <= known.version) {
        if (this.#sequence > this.#through) throw malformed(`domain ${number} has changed, and was not told`);
        for (let items = size - CHANGES_HEAD; items > 0; items--) reader.value(1);
        continue;
      }
      const before = known.record;
      let params = before.params;
      if (size > CHANGES_HEAD) {
        const { schema } = params;
        params = TypedParams.of(schema, reader.changes(schema.types, cellsOf(params), size - CHANGES_HEAD - 1));
      }
      const record = DomainStatsRecord.following(before, params, before.index + index, sampledAt, tookMs);
      known.record = record;
      if (!this.#outdated(number, record.domain)) this.#sink.record(record);
    }
  }

  #fullRow(
    reader: WireReader,
    told: Told,
    size: number,
    before: number,
    latest: Map<Schema, readonly ParamCell[]>,
  ): DomainStatsRecord {
    const uuid = reader.uuid();
    const name = reader.text();
    const domainId = reader.integer();
    const host = told.host(unsigned(reader, LIMITS.hosts - 1));
    const index = reader.integer();
    const schema = told.schema(unsigned(reader, LIMITS.id));
    if (size !== WATCH_ROW_HEAD + schema.keys.length) {
      throw malformed(`a row of ${size} items refers to a schema of ${schema.keys.length} keys`);
    }
    const sampledAt = before + reader.integer();
    const tookMs = unsigned(reader, Number.MAX_SAFE_INTEGER) / 1000;
    const { status, reason, missing, error } = statusFromWire(reader.value(LIMITS.depth));
    const cells = reader.cells(schema.types, latest.get(schema));
    latest.set(schema, cells);
    return new DomainStatsRecord({
      domain: new Domain(uuid, name, domainId, host, this.#owner),
      params: cells.length === 0 ? TypedParams.EMPTY : TypedParams.of(schema, cells),
      index,
      sampledAt,
      tookMs,
      status,
      reason,
      missing,
      error,
    });
  }

  /** A row of a snapshot: no event if it says what was told before. */
  #tell(number: number, record: DomainStatsRecord, asOf: number): void {
    const key = domainKey(record.domain);
    const before = this.#previous.get(key);
    this.#previous.delete(key);
    if (asOf > this.#sequence) {
      this.#shown.set(key, { number, version: asOf });
      if (this.#shown.size > LIMITS.domains) throw malformed(`a snapshot of more than ${LIMITS.domains} domains`);
    }
    if (before?.sampledAt === record.sampledAt && before.tookMs === record.tookMs) this.#set(number, record, asOf);
    else this.#put(number, record, asOf);
  }

  /** A full row; the domain that had its number, if it was another, is gone. */
  #put(number: number, record: DomainStatsRecord, version = 0): void {
    if (this.#previous.size > 0) this.#previous.delete(domainKey(record.domain));
    const before = this.#known[number]?.record.domain;
    this.#set(number, record, version);
    if (before !== undefined && domainKey(before) !== domainKey(record.domain) && !this.#outdated(number, before)) {
      this.#sink.gone(before);
    }
    if (!this.#outdated(number, record.domain)) this.#sink.record(record);
  }

  /** Whether what the message that is being read says of a number's domain is older than its row in the snapshot. */
  #outdated(number: number, domain: Domain): boolean {
    if (this.#shown.size === 0 || this.#phase !== "live") return false;
    const shown = this.#shown.get(domainKey(domain));
    return shown !== undefined && shown.number !== number && shown.version >= this.#sequence;
  }

  #set(number: number, record: DomainStatsRecord, version: number): void {
    if (this.#known[number] === undefined) this.#count++;
    this.#known[number] = { record, version };
  }
}
