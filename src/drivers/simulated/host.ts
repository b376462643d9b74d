import { type Clock, SYSTEM_CLOCK } from "../../driver/clock.ts";
import { VirstreamError } from "../../model/error.ts";
import { ALL_GROUPS, groupNames } from "../../model/group.ts";
import { TypedParams } from "../../model/params.ts";
import { type DomainSelector, FILTER_MASK, type Query, StatsFlag } from "../../model/query.ts";
import { Domain } from "../../model/record.ts";
import { STATE_NUMBERS } from "../../model/state.ts";
import { NIL_UUID } from "../../model/uuid.ts";
import { Extension } from "./extension.ts";
import { type Fault, FaultBook, isAbsent } from "./fault.ts";
import { Identities, mix, scramble, textKey } from "./identity.ts";
import { type Census, FullListing, type Listing, SelectedListing } from "./listing.ts";
import type { SimulatedOptions, Span } from "./parameters.ts";
import { Population } from "./population.ts";
import { Reading } from "./reading.ts";
import { Bit, Layout, type Shape } from "./shape.ts";

/**
 * Time is cut into terms of 2^32 ms (50 days), counted from 1970. When a term begins, all guests restart as if they had
 * been up for one to five weeks. So counters follow from the time alone, go on from one process to the next, and no
 * vCPU's ns ever pass 2^53.
 */
const TERM_MS = 2 ** 32;
const WEEK_SECONDS = 604_800;

/** So many choices of groups keep their schemas: whoever asks for all 4,096 in turn cannot fill the memory. */
const MOST_LAYOUTS = 64;

const PAUSED_BY_USER = 1;
const PAUSED_BY_IO_ERROR = 5;

/** A shape that can be set to guest after guest. */
type MutableShape = { -readonly [K in keyof Shape]: Shape[K] };

/**
 * A host full of guests that do not exist. Everything about a guest follows from (seed, host, index), its values from
 * those and the time; only guests with faults take memory. It answers at once: waiting is the driver's part.
 */
export class SimulatedHost {
  readonly options: SimulatedOptions;
  /** Called when a guest's monitor answers again, with its index: who waits for it need not wait for the deadline. */
  onThaw: ((index: number) => void) | undefined;

  readonly #clock: Clock;
  readonly #owner: object;
  readonly #identities: Identities;
  readonly #population: Population;
  readonly #faults: FaultBook;
  readonly #reading: Reading;
  readonly #layouts = new Map<number, Layout>();
  readonly #shape: MutableShape = { vcpus: 0, disks: 0, nics: 0, active: true };
  readonly #drawKey: number;

  /** @param owner the driver that gives out the domains; without one they belong to the host itself */
  constructor(options: SimulatedOptions, clock: Clock = SYSTEM_CLOCK, owner?: object) {
    this.options = options;
    this.#clock = clock;
    this.#owner = owner ?? this;
    const key = mix(options.seed, textKey(options.host));
    this.#identities = new Identities(options.domains, key);
    this.#population = new Population(options);
    this.#faults = new FaultBook(options.faults, clock.now());
    this.#reading = new Reading(options);
    this.#drawKey = mix(key, 0x600);
  }

  /** Who passes a query's filters, or is named in it, and is there at this moment. */
  listing(query: Query): Listing {
    const filter = query.flags & FILTER_MASK;
    const census: Census = {
      domains: this.options.domains,
      passing: this.#population.count(filter),
      passes: (index) => this.#population.passes(index, filter),
      absent: this.#faults.absent(this.#clock.now()),
      find: (selector) => this.find(selector),
    };
    return query.domains === undefined
      ? new FullListing(census, filter !== 0)
      : new SelectedListing(census, query.domains);
  }

  /** The index of a guest by uuid or name, whether it is there or not; −1 when the host has no such guest. */
  find(selector: DomainSelector): number {
    return "uuid" in selector
      ? this.#identities.indexOfUuid(selector.uuid)
      : this.#identities.indexOfName(selector.name);
  }

  /** A guest's identity. */
  domain(index: number): Domain {
    const id = this.#population.state(index) === STATE_NUMBERS.shutoff ? -1 : index + 1;
    return new Domain(this.#identities.uuid(index), this.#identities.name(index), id, this.options.host, this.#owner);
  }

  /** The identity of a guest that was asked for and does not exist; the uuid of one asked for by name is all zeros. */
  unknownDomain(selector: DomainSelector): Domain {
    return "uuid" in selector
      ? new Domain(selector.uuid, "", -1, this.options.host, this.#owner)
      : new Domain(NIL_UUID, selector.name, -1, this.options.host, this.#owner);
  }

  /**
   * The groups that a query comes to on this host, as a mask of known bits; unlike in a query, 0 is none.
   *
   * @throws VirstreamError `unsupported` when the query insists on groups that the host does not know
   */
  groups(query: Query): number {
    if (query.groups === 0) return ALL_GROUPS;
    const unknown = (query.groups & ~ALL_GROUPS) >>> 0;
    if (unknown !== 0 && (query.flags & StatsFlag.enforce) !== 0) {
      throw new VirstreamError(
        "unsupported",
        `the embedded host has no ${groupNames(unknown).join(", ")} (0x${unknown.toString(16)}): ` +
          `it has ${groupNames(ALL_GROUPS).join(", ")}`,
      );
    }
    return query.groups & ALL_GROUPS;
  }

  /** The schemas of a choice of groups (known bits; 0 is none). The same choice gives the same schemas, by identity. */
  layout(groups: number, backing = false): Layout {
    const key = groups * 2 + (backing ? 1 : 0);
    let layout = this.#layouts.get(key);
    if (layout === undefined) {
      if (this.#layouts.size >= MOST_LAYOUTS) this.#layouts.clear();
      layout = new Layout(this.options, groups, backing);
      this.#layouts.set(key, layout);
    }
    return layout;
  }

  /**
   * What a guest's meters show.
   *
   * @param layout from `layout()`; a plain mask of groups will do where speed does not matter
   * @param now in ms since 1970
   */
  sample(index: number, layout: Layout | number, now: number): TypedParams {
    const chosen = typeof layout === "number" ? this.layout(layout) : layout;
    const draw = scramble(index ^ this.#drawKey);
    const state = this.#population.state(index);
    const fault = this.#faults.of(index);
    const shape = this.#shape;
    shape.active = state !== STATE_NUMBERS.shutoff;
    shape.vcpus = drawSpan(this.options.vcpus, draw);
    shape.disks = drawSpan(this.options.disks, draw >>> 8);
    shape.nics = drawSpan(this.options.nics, draw >>> 16);

    // A paused guest's meters stand still where its term began.
    const paused = state === STATE_NUMBERS.paused;
    const termMs = now - Math.floor(now / TERM_MS) * TERM_MS;
    let upSeconds = WEEK_SECONDS + (mix(draw, 0) >>> 11) + (paused ? 0 : termMs / 1000);
    if (fault !== undefined && !paused) upSeconds = restartedSeconds(fault, now, upSeconds);
    this.#reading.turnTo(
      index,
      this.#identities.name(index),
      draw,
      state,
      reasonOf(state, draw),
      paused ? now - termMs : now,
      upSeconds,
    );

    const schema = chosen.schema(shape);
    const doubles = schema.row();
    const texts: string[] = [];
    this.#reading.write(doubles, texts, chosen, shape);
    const params = new TypedParams(schema, doubles, texts, bigsOf(doubles));
    const extension = fault === undefined ? undefined : this.#extension(fault, chosen, shape);
    if (extension === undefined) return params;
    return TypedParams.of(
      chosen.extended(shape, extension.name, () => extension.keys()),
      [...Array.from(params, ([, value]) => value), ...extension.values(upSeconds)],
    );
  }

  /** What is wrong with a guest; undefined when nothing is. */
  fault(index: number): Readonly<Fault> | undefined {
    return this.#faults.of(index);
  }

  /** Its monitor no longer answers. */
  freeze(index: number): void {
    this.#change(index, { frozen: true });
  }

  /** Its monitor answers again, also to those who wait for it now. */
  thaw(index: number): void {
    this.#change(index, { frozen: false });
    this.onThaw?.(index);
  }

  /** Its monitor answers after so many ms; 0 is at once. */
  slow(index: number, ms: number): void {
    this.#change(index, { slowMs: ms });
  }

  /** It is still listed, and gone when it is next asked for; from then on it is not listed. */
  vanish(index: number): void {
    this.#change(index, { presence: "vanishing" });
  }

  /** It is there (again) from now on. */
  appear(index: number): void {
    this.#change(index, { presence: "present", appearsAt: Number.NEGATIVE_INFINITY });
  }

  /** Asking for it fails. */
  fail(index: number): void {
    this.#change(index, { failing: true });
  }

  /** Asking for it no longer fails. */
  heal(index: number): void {
    this.#change(index, { failing: false });
  }

  /** Its counters begin at 0 again, now. */
  reset(index: number): void {
    this.#change(index, { restartedAt: this.#clock.now() });
  }

  /** Its counters restart whenever the time since 1970 is a multiple of so many ms; 0 ends that. */
  resetEvery(index: number, ms: number): void {
    this.#change(index, { resetMs: ms });
  }

  /** Its record grows to so many parameters, with the block group; 0 ends that. */
  inflate(index: number, parameters: number): void {
    this.#change(index, { parameters });
  }

  /** Its record ends with every type at its limits, with the block group, or no longer does. */
  extremes(index: number, on = true): void {
    this.#change(index, { extremes: on });
  }

  /** Lifts every fault of a guest, whatever it is. */
  recover(index: number): void {
    this.#faults.clear(index);
    this.onThaw?.(index);
  }

  /** Whether a listed guest is still there now that it is asked for; one that was about to vanish has then vanished. */
  meet(index: number): boolean {
    const fault = this.#faults.of(index);
    if (fault?.presence === "vanishing") {
      this.#faults.set(index, { presence: "absent" });
      return false;
    }
    return fault === undefined || !isAbsent(fault, this.#clock.now());
  }

  #change(index: number, change: Partial<Fault>): void {
    if (!Number.isInteger(index) || index < 0 || index >= this.options.domains) {
      throw new VirstreamError("invalid-argument", `there is no guest ${index}: the host has ${this.options.domains}`);
    }
    this.#faults.set(index, change);
  }

  #extension(fault: Fault, layout: Layout, shape: Shape): Extension | undefined {
    if (!(layout.groups & Bit.block) || (!fault.extremes && fault.parameters === 0)) return undefined;
    return Extension.of(fault, layout.schema(shape).keys.length);
  }
}

/** The exact values of the counters beyond 2^53; undefined when there are none. A guest has no other such values. */
function bigsOf(doubles: readonly number[]): Map<number, bigint> | undefined {
  let bigs: Map<number, bigint> | undefined;
  for (let i = 0; i < doubles.length; i++) {
    if (doubles[i]! <= Number.MAX_SAFE_INTEGER) continue;
    bigs ??= new Map();
    bigs.set(i, BigInt(doubles[i]!));
  }
  return bigs;
}

/** One of a span's numbers, by a guest's random bits. */
function drawSpan(span: Span, draw: number): number {
  return span.low === span.high ? span.low : span.low + ((draw & 255) % (span.high - span.low + 1));
}

function reasonOf(state: number, draw: number): number {
  // Running guests were booted, those shut off were shut down; a paused one may have hit a full disk.
  if (state !== STATE_NUMBERS.paused) return 1;
  return (draw & 3) === 0 ? PAUSED_BY_IO_ERROR : PAUSED_BY_USER;
}

/** How long a guest with a fault has been counting, in s. */
function restartedSeconds(fault: Fault, now: number, upSeconds: number): number {
  let seconds = upSeconds;
  if (fault.restartedAt <= now) seconds = Math.min(seconds, (now - fault.restartedAt) / 1000);
  if (fault.resetMs > 0) seconds = Math.min(seconds, (now % fault.resetMs) / 1000);
  return seconds;
}
