import { type Clock, SYSTEM_CLOCK } from "../../driver/clock.ts";
import { passesFilter } from "../../driver/matcher.ts";
import { entryOf } from "../../driver/memo.ts";
import { unknownRecord } from "../../driver/missing-record.ts";
import { invalid, VirstreamError } from "../../model/error.ts";
import { STATE_NUMBERS } from "../../model/field/state-numbers.ts";
import { ALL_GROUPS, groupBit, groupNames, type KnownGroup } from "../../model/group.ts";
import { type DomainSelector, type Query, StatsFlag } from "../../model/query.ts";
import { Domain, type DomainStatsRecord, type RecordInit } from "../../model/record.ts";
import type { Schema } from "../../model/schema.ts";
import type { TypedParams } from "../../model/typed-params.ts";
import { definitionOf } from "./definition.ts";
import { FAULT_PARAMETERS, type Fault, NO_FAULT, writeExtension } from "./fault.ts";
import { type Guest, METERS } from "./meters.ts";
import type { SimulatedOptions, Span } from "./parameters.ts";
import { Identities, mix, populate, scramble, stateOf, textKey } from "./population.ts";
import { Row } from "./row.ts";

/**
 * Time is cut into terms of 2^32 ms (50 days), counted from 1970. When a term begins, the counters of each guest begin
 * again, with the values of a guest that has been up for one to five weeks. So counters depend on the time alone,
 * continue when virstream is restarted, and no vCPU's time ever exceeds 2^53 ns.
 */
const TERM_MS = 2 ** 32;
const WEEK_SECONDS = 604_800;

/** When the schemas of a host together have more keys than this, the host drops all schemas and begins again. */
const MAX_KEYS = 1_000_000;

const BLOCK = groupBit("block");

const PAUSED_BY_USER = 1;
const PAUSED_BY_IO_ERROR = 5;

/**
 * The functions that write records with certain groups, and the schemas of these records so far. The key of a schema in
 * `schemas` is made of the guest's numbers of vCPUs, disks and interfaces, of whether the guest is active, and of the
 * faults that add parameters.
 */
interface Layout {
  readonly meters: readonly ((row: Row, guest: Guest) => void)[];
  readonly schemas: Map<number | string, Schema>;
}

/**
 * A host with guests that do not exist. Everything about a guest is computed from (seed, host, index), and its values
 * also from the time. A guest takes one byte of memory, and more only while it has a fault. The host computes an answer
 * at once. If the guest's answer takes time, the sweep waits.
 */
export class SimulatedHost {
  readonly options: SimulatedOptions;
  readonly clock: Clock;
  readonly identities: Identities;
  /** Functions that wake the sweeps under way. */
  readonly waiting = new Set<() => void>();
  /** How many sweeps began; a sweep begins with its first pull. */
  sweeps = 0;
  /** How many records were computed so far, over all sweeps. */
  produced = 0;
  closed = false;

  readonly #owner: object;
  readonly #traits: Uint8Array;
  readonly #faults = new Map<number, Fault>();
  /** The times at which the calls that sweeps gave up will be answered, by guest. */
  readonly #answersAt = new Map<number, number>();
  readonly #layouts = new Map<number, Layout>();
  #keys = 0;
  readonly #drawKey: number;

  /** @param owner the driver that the domains belong to; default: this object */
  constructor(options: SimulatedOptions, clock: Clock = SYSTEM_CLOCK, owner?: object) {
    this.options = options;
    this.clock = clock;
    this.#owner = owner ?? this;
    const key = mix(options.seed, textKey(options.host));
    this.identities = new Identities(options.domains, key);
    this.#traits = populate(options);
    this.#drawKey = mix(key, 0x600);
    const now = clock.now();
    for (const { fault, first, last, amount } of options.faults) {
      const change = FAULT_PARAMETERS[fault]!.change(amount, now);
      for (let index = first; index <= last; index++) this.change(index, change);
    }
  }

  /** Ends all sweeps with `connection-closed`. */
  close(): void {
    this.closed = true;
    for (const wake of this.waiting) wake();
  }

  /** True if a sweep need not check each guest: without filter bits and faults, every guest exists and passes. */
  listsAll(filter: number): boolean {
    return filter === 0 && this.#faults.size === 0;
  }

  /** True if a guest passes a query's filter bits. Without bits, every guest passes. */
  passes(index: number, filter: number): boolean {
    return passesFilter(this.#traits[index]!, filter);
  }

  /** True if a guest exists at the time `now`, in ms since 1970. */
  isThere(index: number, now: number): boolean {
    return now >= (this.#faults.get(index)?.appearsAt ?? now);
  }

  /**
   * True if a listed guest still exists when it is asked. A guest with the fault `vanishing` vanishes at this moment.
   */
  meet(index: number): boolean {
    if (this.#faults.get(index)?.vanishing) {
      this.change(index, { vanishing: false, appearsAt: Number.POSITIVE_INFINITY });
    }
    return this.isThere(index, this.clock.now());
  }

  /** A guest's identity. */
  domain(index: number): Domain {
    const id = stateOf(this.#traits[index]!) === STATE_NUMBERS.shutoff ? -1 : index + 1;
    return new Domain(this.identities.uuid(index), this.identities.name(index), id, this.options.host, this.#owner);
  }

  /** The record of a guest that the query names but that does not exist. */
  unknown(selector: DomainSelector, when: Pick<RecordInit, "sampledAt" | "steadyAt" | "index">): DomainStatsRecord {
    return unknownRecord(selector, { host: this.options.host, owner: this.#owner }, when);
  }

  /**
   * The groups that a query gets from this host, as a mask of known bits. The result 0 means no group; in a query, 0
   * means all groups.
   *
   * @throws VirstreamError `unsupported` when the query has the enforce flag and asks for groups that the host does not
   *   know
   */
  groups(query: Query): number {
    if (query.groups === 0) return ALL_GROUPS;
    const unknown = (query.groups & ~ALL_GROUPS) >>> 0;
    if (unknown !== 0 && (query.flags & StatsFlag.enforce) !== 0) {
      throw new VirstreamError(
        "unsupported",
        `the simulated host has no ${groupNames(unknown).join(", ")} (0x${unknown.toString(16)}): ` +
          `it has ${groupNames(ALL_GROUPS).join(", ")}`,
      );
    }
    return query.groups & ALL_GROUPS;
  }

  /**
   * The parameters of a guest at the time `now`. Records with the same keys share a schema object.
   *
   * @param groups a mask of groups that the host has; 0: no group
   * @param now in ms since 1970
   * @param backing true: the parameters list every image of a backing chain
   */
  sample(index: number, groups: number, now: number, backing = false): TypedParams {
    const { extras } = this.options;
    const draw = scramble(index ^ this.#drawKey);
    const state = stateOf(this.#traits[index]!);
    const active = state !== STATE_NUMBERS.shutoff;
    const fault = this.#faults.get(index);

    // A paused guest's counters and gauges keep the values that they had at the beginning of the term.
    const paused = state === STATE_NUMBERS.paused;
    const termMs = now - Math.floor(now / TERM_MS) * TERM_MS;
    let upSeconds = WEEK_SECONDS + (mix(draw, 0) >>> 11) + (paused ? 0 : termMs / 1000);
    if (fault !== undefined && fault.resetMs > 0 && !paused) {
      upSeconds = Math.min(upSeconds, (now % fault.resetMs) / 1000);
    }
    const guest: Guest = {
      name: this.identities.name(index),
      draw,
      state,
      reason: reasonOf(state, draw),
      active,
      ...this.#shape(index, draw),
      backing,
      extras,
      wallMs: paused ? now - termMs : now,
      work: workOf(upSeconds, draw),
    };

    const shape = ((guest.vcpus * 257 + guest.disks) * 65 + guest.nics) * 2 + (active ? 1 : 0);
    const extended = (groups & BLOCK) !== 0 && fault !== undefined && (fault.extremes || fault.parameters > 0);
    const key = extended ? `${shape} ${fault.extremes} ${fault.parameters}` : shape;
    const { meters, schemas } = this.#layout(groups, backing);
    let schema = schemas.get(key);
    if (schema === undefined) {
      const first = new Row();
      for (const write of meters) write(first, guest);
      if (extended) writeExtension(first, fault, upSeconds);
      schema = first.declared();
      this.#keys += schema.keys.length;
      if (this.#keys > MAX_KEYS) {
        this.#layouts.clear();
        this.#keys = schema.keys.length;
      }
      schemas.set(key, schema);
    }
    const row = new Row(schema);
    for (const write of meters) write(row, guest);
    if (extended) writeExtension(row, fault, upSeconds);
    return row.params();
  }

  /** A guest's definition as XML. */
  definition(index: number): string {
    const { uuid, name, id } = this.domain(index);
    const draw = scramble(index ^ this.#drawKey);
    return definitionOf({ uuid, name, id, draw, ...this.#shape(index, draw) });
  }

  #shape(index: number, draw: number): Pick<Guest, "vcpus" | "disks" | "nics" | "firstNic"> {
    const { vcpus, disks, nics } = this.options;
    return {
      vcpus: drawSpan(vcpus, draw),
      disks: drawSpan(disks, draw >>> 8),
      nics: drawSpan(nics, draw >>> 16),
      firstNic: index * nics.high,
    };
  }

  /** A guest's faults; undefined when it has none. */
  fault(index: number): Fault | undefined {
    return this.#faults.get(index);
  }

  /** True while the guest's monitor has not answered the last call that a sweep gave up at its deadline. */
  isUnanswered(index: number, now: number): boolean {
    return (this.#answersAt.get(index) ?? now) > now;
  }

  /**
   * A sweep gave up a call at its deadline. The guest answers this call at `answersAt`, in ms since 1970; Infinity:
   * never.
   */
  leaveUnanswered(index: number, answersAt: number): void {
    this.#answersAt.set(index, answersAt);
  }

  /** Changes a guest's faults. The guest's monitor then answers all calls that it has not answered yet. */
  change(index: number, change: Partial<Fault>): void {
    if (!Number.isInteger(index) || index < 0 || index >= this.options.domains) {
      throw invalid(`there is no guest ${index}: the host has ${this.options.domains}`);
    }
    this.#answersAt.delete(index);
    const fault = { ...(this.#faults.get(index) ?? NO_FAULT), ...change };
    if ((Object.keys(NO_FAULT) as (keyof Fault)[]).some((name) => fault[name] !== NO_FAULT[name])) {
      this.#faults.set(index, fault);
    } else {
      this.#faults.delete(index);
    }
  }

  #layout(groups: number, backing: boolean): Layout {
    return entryOf(this.#layouts, groups * 2 + (backing ? 1 : 0), () => ({
      meters: groupNames(groups).map((group) => METERS[group as KnownGroup]),
      schemas: new Map(),
    }));
  }
}

/** Chooses one of a span's numbers by a guest's random bits. */
function drawSpan(span: Span, draw: number): number {
  return span.low === span.high ? span.low : span.low + ((draw & 255) % (span.high - span.low + 1));
}

function reasonOf(state: number, draw: number): number {
  // Reason 1 of a running guest means that it was booted; reason 1 of a guest that is shut off, that it was shut down.
  // A paused guest may have hit a full disk.
  if (state !== STATE_NUMBERS.paused) return 1;
  return (draw & 3) === 0 ? PAUSED_BY_IO_ERROR : PAUSED_BY_USER;
}

/**
 * Adds a wave, 64 to 575 s long, to the uptime. The wave's slope stays above −0.8, so the sum never falls while time
 * passes.
 */
function workOf(upSeconds: number, draw: number): number {
  const cycle = 64 + (draw & 511);
  const phase = upSeconds / cycle - Math.floor(upSeconds / cycle);
  const swell = phase * (1 - phase);
  return upSeconds + 4 * cycle * swell * swell;
}
