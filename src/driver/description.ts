import type { TypedParams } from "../model/params.ts";
import type { DomainIdentity } from "../model/record.ts";
import type { Clock } from "./clock.ts";
import { entryOf } from "./memo.ts";

/** Says which parts of a domain's definition to keep, and what else to read of the domain besides its statistics. */
export interface DescriptionReader<T> {
  /**
   * Returns the parts of a definition that are kept. A definition is libvirt's domain XML without secrets, up to 4 MiB.
   * If this function throws, the domain has no description.
   */
  parse(xml: string): T;
  /**
   * Returns the targets of the disks whose I/O limits are read as well, with one more call for each disk. Default:
   * none.
   */
  limitedDisks?(definition: T): readonly string[];
  /**
   * True to read on which CPU of the host each virtual CPU runs: one more call for each domain every 20 s. Default
   * false.
   */
  readonly placement?: boolean;
}

/** The facts about a domain besides its statistics. */
export interface Description<T> {
  readonly definition: T;
  /** The I/O limits of each disk, by the disk's target. A disk whose limits are not known is missing. */
  readonly limits: ReadonlyMap<string, TypedParams>;
  /**
   * For the number of each virtual CPU: the number of the host's CPU on which it ran, at most 60 s ago. Undefined while
   * this is not known.
   */
  readonly placement: ReadonlyMap<number, number> | undefined;
}

/** The descriptions of a driver's domains. They are read in the background, for one domain of each host at a time. */
export interface Descriptions<T> {
  /**
   * The domain's description as it was last read; undefined while it is not known. This call also requests it: while
   * you keep asking for a domain, its description is read again in the background when it is old or has changed.
   */
  of(domain: DomainIdentity): Description<T> | undefined;
  /** Resolves when each requested domain has been read, or could not be read. */
  settled(): Promise<void>;
  /** Stops reading. Safe to call twice. */
  close(): void;
}

/**
 * The calls that read a host's domains. Each call rejects when the host refuses it, or does not answer in a bounded
 * time.
 */
export interface DescriptionSource {
  /** The definition as XML, without secrets. */
  definition(domain: DomainIdentity): Promise<string>;
  /** The I/O limits of one disk of a running domain. */
  limits?(domain: DomainIdentity, target: string): Promise<TypedParams>;
  /** For the number of each virtual CPU of a running domain: the number of the host's CPU on which it runs. */
  placement?(domain: DomainIdentity): Promise<ReadonlyMap<number, number>>;
}

/**
 * The age at which a definition is read again, in ms: a random 75 to 125 % of this, so that not all definitions are due
 * at the same time.
 */
const DEFINITION_AGE_MS = 300_000;
/** The time after which a definition is read again if the last read failed, in ms, with the same random factor. */
const RETRY_MS = 30_000;
/**
 * The least time between two reads of a definition if the second is because of a change, in ms. Without this limit, a
 * domain that changes all the time would be read all the time.
 */
const CHANGES_MS = 1_000;
/** A definition that was read before the connection was lost is read again within this time, in ms. */
const RECONNECTED_MS = 30_000;
const PLACEMENT_AGE_MS = 20_000;
/** A placement that was read longer ago than this time, in ms, is not reported. */
const PLACEMENT_MAX_MS = 60_000;
/** The cache forgets a domain after this time without a request for it, in ms. */
const FORGET_MS = 2 * DEFINITION_AGE_MS;

interface Entry<T> {
  domain: DomainIdentity;
  askedAt: number;
  definition: T | undefined;
  limits: ReadonlyMap<string, TypedParams>;
  placement: ReadonlyMap<number, number> | undefined;
  readAt: number;
  placedAt: number;
  /** When the definition is read again, on the cache's clock. `placementDue` is the same for the placement. */
  definitionDue: number;
  placementDue: number;
  /** True if the domain has changed since the last read of its definition began. */
  changed: boolean;
}

const NO_LIMITS: ReadonlyMap<string, TypedParams> = new Map();

/**
 * The descriptions of one host's domains. The cache reads one domain at a time, so that it never has more than one call
 * in flight, whatever the number of domains. It forgets a domain some time after the last request for it.
 */
export class DescriptionCache<T> implements Descriptions<T> {
  readonly #reader: DescriptionReader<T>;
  readonly #source: DescriptionSource;
  readonly #clock: Clock;
  readonly #random: () => number;
  readonly #entries = new Map<string, Entry<T>>();
  readonly #queue = new Set<Entry<T>>();
  #reading: Promise<void> | undefined;
  #pruneAt = 0;
  #closed = false;
  /** Called once, when close() ends the reading. */
  onClosed: (() => void) | undefined;

  /** @param random returns a number from 0 up to 1, as Math.random does */
  constructor(
    reader: DescriptionReader<T>,
    source: DescriptionSource,
    clock: Pick<Clock, "now">,
    random: () => number = Math.random,
  ) {
    this.#reader = reader;
    this.#source = source;
    this.#clock = clock as Clock;
    this.#random = random;
  }

  /** The number of domains that are remembered. */
  get size(): number {
    return this.#entries.size;
  }

  of(domain: DomainIdentity): Description<T> | undefined {
    if (this.#closed) return undefined;
    const now = this.#clock.now();
    if (now >= this.#pruneAt) this.#prune(now);
    const entry = entryOf(this.#entries, domain.uuid, () => ({
      ...{ domain, askedAt: now, definition: undefined, limits: NO_LIMITS, placement: undefined },
      ...{ readAt: Number.NEGATIVE_INFINITY, placedAt: 0, definitionDue: now, placementDue: now, changed: false },
    }));
    if (entry.domain.id !== domain.id) {
      // The domain was started or stopped. Not every host sends an event when this happens.
      entry.placement = undefined;
      entry.definitionDue = entry.placementDue = now;
    }
    entry.domain = domain;
    entry.askedAt = now;
    if (entry.definitionDue <= now || (this.#isPlaced(entry) && entry.placementDue <= now)) this.#request(entry);
    if (entry.definition === undefined) return undefined;
    if (now - entry.placedAt > PLACEMENT_MAX_MS) entry.placement = undefined;
    return { definition: entry.definition, limits: entry.limits, placement: entry.placement };
  }

  /**
   * Call this when a domain may have another definition. If the cache knows the domain, it reads the new definition at
   * once. If the last read was less than a second ago, the cache reads it only when `of` is called after that second.
   */
  changed(uuid: string): void {
    const entry = this.#entries.get(uuid);
    if (entry === undefined) return;
    const now = this.#clock.now();
    entry.changed = true;
    entry.definitionDue = Math.max(now, entry.readAt + CHANGES_MS);
    if (entry.definitionDue <= now) this.#request(entry);
  }

  /**
   * Call this when the connection to the host was lost and works again. Changes may have been missed, so all
   * definitions are read again, spread over 30 s.
   */
  reconnected(): void {
    const now = this.#clock.now();
    for (const entry of this.#entries.values()) {
      entry.definitionDue = Math.min(entry.definitionDue, now + this.#random() * RECONNECTED_MS);
    }
  }

  async settled(): Promise<void> {
    while (this.#reading !== undefined) await this.#reading;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#queue.clear();
    this.#entries.clear();
    this.onClosed?.();
  }

  #request(entry: Entry<T>): void {
    if (this.#closed) return;
    this.#queue.add(entry);
    this.#reading ??= this.#readAll().finally(() => {
      this.#reading = undefined;
    });
  }

  async #readAll(): Promise<void> {
    for (const entry of this.#queue) {
      this.#queue.delete(entry);
      if (entry.definitionDue <= this.#clock.now()) await this.#readDefinition(entry);
      if (this.#isPlaced(entry) && entry.placementDue <= this.#clock.now()) await this.#readPlacement(entry);
    }
  }

  async #readDefinition(entry: Entry<T>): Promise<void> {
    const { domain } = entry;
    entry.changed = false;
    const xml = await this.#source.definition(domain).catch(() => undefined);
    entry.readAt = this.#clock.now();
    // After a failure, the earlier description stays, because it is probably still right.
    if (xml !== undefined) {
      const definition = this.#parse(xml);
      entry.limits = definition === undefined ? NO_LIMITS : await this.#limitsOf(domain, definition);
      entry.definition = definition;
    }
    if (entry.changed) return;
    const ageMs = xml === undefined ? RETRY_MS : DEFINITION_AGE_MS;
    entry.definitionDue = entry.readAt + ageMs * (0.75 + this.#random() / 2);
  }

  #parse(xml: string): T | undefined {
    try {
      return this.#reader.parse(xml);
    } catch {
      return undefined;
    }
  }

  async #limitsOf(domain: DomainIdentity, definition: T): Promise<ReadonlyMap<string, TypedParams>> {
    const targets = (domain.id !== -1 && this.#source.limits && this.#reader.limitedDisks?.(definition)) || [];
    const limits = new Map<string, TypedParams>();
    for (const target of targets) {
      // The host refuses this call for a drive without a medium, which has no limits. Such a drive is left out.
      const read = await this.#source.limits!(domain, target).catch(() => undefined);
      if (read !== undefined) limits.set(target, read);
    }
    return limits;
  }

  async #readPlacement(entry: Entry<T>): Promise<void> {
    const placement = await this.#source.placement!(entry.domain).catch(() => undefined);
    const now = this.#clock.now();
    entry.placementDue = now + PLACEMENT_AGE_MS;
    if (placement === undefined) return;
    entry.placement = placement;
    entry.placedAt = now;
  }

  #isPlaced({ domain }: Entry<T>): boolean {
    return this.#reader.placement === true && this.#source.placement !== undefined && domain.id !== -1;
  }

  #prune(now: number): void {
    this.#pruneAt = now + DEFINITION_AGE_MS;
    for (const [uuid, { askedAt }] of this.#entries) if (now - askedAt > FORGET_MS) this.#entries.delete(uuid);
  }
}
