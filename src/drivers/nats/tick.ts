import { deflateSync, inflateSync } from "node:zlib";
import { DomainMap } from "../../model/domain-map.ts";
import type { VirstreamError } from "../../model/error.ts";
import { byIndex, DomainStatsRecord, type SweepSummary } from "../../model/record.ts";
import type { SchemaTable } from "../../model/schema-table.ts";
import { MAX_INTERVAL_MS } from "../../model/watch.ts";
import { RowBatch } from "../../wire/columns/row-batch.ts";
import { SentSchemas } from "../../wire/columns/schema-slots.ts";
import { malformed } from "../../wire/errors.ts";
import { MessageDecoder } from "../../wire/message-decoder.ts";
import { listOf, mapOf, summaryToWire, wholeOf } from "../../wire/messages.ts";
import { pack } from "../../wire/pack.ts";
import { type Profile, profileOf } from "../../wire/profile.ts";
import { LIMITS } from "../../wire/protocol.ts";
import type { ServerClock } from "../../wire/server-clock.ts";
import { unpack } from "../../wire/unpack.ts";

/** The id in the messages of a tick. Each tick has one sweep, so the id is always the same. */
const ID = 1;
/**
 * The fastest compression level. Each tick contains the keys of its schemas, which compress well. The zlib format
 * contains a checksum, which finds damaged ticks.
 */
const COMPRESSION = { level: 1 } as const;
/** The most messages in a tick. */
const MAX_MESSAGES = 65_536;
/** The most bytes of memory that the records of one tick may need. */
const MAX_EXPANDED = 268_435_456;

/** One sweep of one host. A reader needs no other tick to read it. */
export interface Tick {
  readonly host: string;
  readonly hypervisor: string;
  /** The time from one tick to the next, in ms. */
  readonly intervalMs: number;
  /** In the order of their index, which counts from 0 without holes. */
  readonly records: readonly DomainStatsRecord[];
  /** Undefined if the host could not be swept: then the records are those of the last sweep, or none. */
  readonly summary: SweepSummary | undefined;
  /** Why the host could not be swept; undefined if it was swept. */
  readonly error: VirstreamError | undefined;
  /** The number of sweeps that were left out before this one because an earlier sweep took longer than the interval. */
  readonly overrun: number;
}

/** Writes ticks. Each tick contains the messages with which a server answers a sweep; see PROTOCOL.md. */
export class TickEncoder {
  readonly #epoch: string;
  readonly #server: string;
  readonly #profile: Profile = profileOf("virstream.v1");
  readonly #batch = new RowBatch();

  /** @param server the name and the version of the program */
  constructor(epoch: string, server: string) {
    this.#epoch = epoch;
    this.#server = server;
  }

  /** @param steadyMs the present time on the publisher's steady clock, to which the records' steady times refer */
  encode({ host, hypervisor, intervalMs, records, summary, error, overrun }: Tick, steadyMs: number): Uint8Array {
    const sent = new SentSchemas();
    const messages: (Uint8Array | string)[] = [
      this.#profile.message({
        ...{ type: "welcome", epoch: this.#epoch, server: this.#server, host, hypervisor, steadyMs },
        ...{ beatMs: intervalMs, minIntervalMs: intervalMs },
      }),
    ];
    const flush = (): void => {
      if (this.#batch.rows === 0) return;
      const rows = this.#profile.rows({ id: ID }, this.#batch);
      for (const { slot, schema } of sent.missing(rows.schemas)) {
        const { keys = [], types = new Uint8Array(0) } = schema ?? {};
        messages.push(this.#profile.message({ type: "schema", slot, keys, types: [...types] }));
      }
      messages.push(...rows.messages);
      this.#batch.clear(rows.bytes);
    };
    for (const record of records) {
      if (this.#batch.isFull) flush();
      this.#batch.add(undefined, record);
    }
    flush();
    messages.push(
      this.#profile.message({
        ...{ type: "end", id: ID },
        ...(summary !== undefined && { summary: summaryToWire(summary) }),
        ...(error !== undefined && { error: error.toJSON() }),
      }),
    );
    return deflateSync(pack({ overrun, messages }), COMPRESSION);
  }
}

/** The inputs for reading a host's ticks. */
export interface TickContext {
  /** The host that the messages' subject names. A tick of another host is refused. */
  readonly host: string;
  /** The epoch that the tick's chunks have. The tick must have the same epoch. */
  readonly epoch: string;
  /** The driver that the domains belong to. */
  readonly owner: object;
  readonly clock: ServerClock;
  readonly schemas: SchemaTable;
}

/**
 * Reads a tick. Throws if it is not complete, or belongs to another host.
 *
 * @throws VirstreamError `protocol-error`
 */
export function readTick(bytes: Uint8Array, { host, epoch, owner, clock, schemas }: TickContext): Tick {
  const tick = mapOf(unpack(inflate(bytes)), "a tick");
  const overrun = wholeOf(tick, "overrun");
  const messages = listOf(tick, "messages");
  if (messages.length > MAX_MESSAGES) throw malformed("a tick has too many messages");
  const decoder = new MessageDecoder(owner, clock, schemas);
  const [first, ...others] = messages.map((message) => {
    if (!(message instanceof Uint8Array)) throw malformed("a message of a tick has no bytes");
    return decoder.decode(message);
  });
  const last = others.pop();
  if (first?.type !== "welcome" || last?.type !== "end") throw malformed("a tick has no welcome and no end");
  const { welcome } = first;
  const { beatMs: intervalMs, hypervisor } = welcome;
  const records: DomainStatsRecord[] = [];
  let expanded = 0;
  for (const message of others) {
    if (message.type === "none") continue;
    if (message.type !== "records") throw malformed(`a tick has a message ${message.type}`);
    expanded += message.expanded;
    if (expanded > MAX_EXPANDED) throw malformed("its records expand too far");
    records.push(...message.records);
  }
  const { summary, error } = last;
  if (welcome.host !== host) throw malformed(`a tick of the host ${JSON.stringify(host)} names another host`);
  if (welcome.epoch !== epoch) throw malformed("a tick and its chunks have different epochs");
  if (intervalMs > MAX_INTERVAL_MS) throw malformed("a tick has no valid interval");
  if (error === undefined && summary?.domains !== records.length) {
    throw malformed(`a summary counts ${summary?.domains} of ${records.length} records`);
  }
  checkDomains(records, host);
  records.sort(byIndex);
  return {
    ...{ host, hypervisor, intervalMs, summary, error, overrun },
    records: records.map((record, index) =>
      record.index === index ? record : new DomainStatsRecord({ ...record, index }),
    ),
  };
}

function inflate(bytes: Uint8Array): Uint8Array {
  try {
    return inflateSync(bytes, { maxOutputLength: LIMITS.message });
  } catch {
    throw malformed("a tick is not compressed as it must be, or is too large");
  }
}

/** Checks that a publisher reports only its own host, and that each domain has one record. */
function checkDomains(records: readonly DomainStatsRecord[], host: string): void {
  const domains = new DomainMap<true>();
  for (const { domain } of records) {
    if (domain.host !== host)
      throw malformed(`a tick of the host ${JSON.stringify(host)} has a domain of another host`);
    domains.set(domain, true);
  }
  if (domains.size !== records.length) throw malformed("a tick has a domain twice");
  if (records.length > LIMITS.domains) throw malformed("a tick has too many domains");
}
