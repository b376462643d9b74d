import type { TypedParams } from "../../model/params.ts";
import type { Domain, DomainStatsRecord } from "../../model/record.ts";
import { MetricLayout, type NamedDevice } from "./metric-layout.ts";

/** The list of a domain's series. A domain's records share the list until a series comes or goes. */
export interface SeriesShape {
  readonly layout: MetricLayout;
  /** The devices of `layout.devices` as the domain names them. */
  readonly devices: readonly NamedDevice[];
  /** A key for each of `layout.parts`. It identifies the part even while devices come and go. */
  readonly partKeys: readonly string[];
}

/** The values of a domain at one time. */
export interface SeriesValues {
  readonly shape: SeriesShape;
  readonly params: TypedParams;
  /** When they were sampled, in ms since 1970. */
  readonly at: number;
  /** When the counters of each of `layout.parts` began, in ms since 1970. */
  readonly starts: Float64Array;
}

/**
 * A part that the newest record lacks: when its counters began, the last values that had the part, and the part's index
 * in those values.
 */
interface LostPart {
  readonly start: number;
  readonly last: SeriesValues;
  readonly index: number;
}

/**
 * The series of one domain: its newest values, when its counters began, and which series the collector has.
 *
 * libvirt does not say when counters began. When a counter goes down or the domain's id changes, the time of the record
 * before counts as the start. Otherwise the time of the first record counts as the start. OpenTelemetry reads a start
 * at the same time as the first value as "unknown", so the first value does not count as an increase.
 */
export class DomainSeries {
  domain: Domain;
  /** The newest values; undefined before the first ones, and after a failed record or the domain's end. */
  values: SeriesValues | undefined;
  /** When the newest record was sampled, in ms since 1970. */
  at = 0;
  /** True if there is something to send to the collector about this domain. */
  isDirty = false;
  /** The values of this domain in the request that is under way. */
  sending: { readonly values: SeriesValues | undefined } | undefined;
  isGone = false;
  /** The series whose values the collector has, and the resource with which they were sent. */
  sent: { readonly shape: SeriesShape; readonly resource: Uint8Array } | undefined;
  /**
   * The bytes of the domain's resource, see `resourceOf`. Undefined before the first request, and after the domain got
   * another name.
   */
  resource: Uint8Array | undefined;
  /** The last known values, with which the next values are compared. */
  #last: SeriesValues | undefined;
  #lastId = -1;
  readonly #lost = new Map<string, LostPart>();

  constructor(domain: Domain) {
    this.domain = domain;
  }

  /** Takes a record that has values. */
  take({ domain, params, sampledAt, status }: DomainStatsRecord): void {
    const last = this.#last;
    const isRestarted = last !== undefined && domain.id !== this.#lastId;
    if (domain.name !== this.domain.name) this.resource = undefined;
    this.domain = domain;
    this.at = sampledAt;
    this.isGone = false;
    this.isDirty = true;
    const shape = last !== undefined && hasShape(last, params) ? last.shape : shapeOf(params);
    const starts = new Float64Array(shape.partKeys.length);
    const values: SeriesValues = { shape, params, at: sampledAt, starts };
    if (isRestarted) this.#lost.clear();
    if (last === undefined) starts.fill(sampledAt);
    else if (isRestarted || hasRestarted(last, values)) starts.fill(last.at);
    else this.#continue(last, values, status === "ok");
    this.#last = values;
    this.#lastId = domain.id;
    this.values = values;
  }

  /** Takes a record without values, or the report that the host cannot be reached. */
  fail(at: number): void {
    this.at = at;
    this.values = undefined;
    this.isDirty = this.sent !== undefined || this.sending !== undefined;
  }

  /** Takes the report that the domain is gone. If the domain comes back, its first record begins new series. */
  end(at: number): void {
    this.fail(at);
    this.isGone = true;
    this.#last = undefined;
    this.#lost.clear();
  }

  /**
   * Sets the starts of the counters. A counter that has not gone down keeps the start that it had in the last values.
   */
  #continue(last: SeriesValues, values: SeriesValues, isComplete: boolean): void {
    const { shape, starts } = values;
    if (shape === last.shape) {
      for (let i = 0; i < starts.length; i++) {
        starts[i] = hasDecreased(last, i, values, i) ? last.at : last.starts[i]!;
      }
      return;
    }
    const before = new Map(last.shape.partKeys.map((key, index) => [key, { start: last.starts[index]!, last, index }]));
    for (const [i, key] of shape.partKeys.entries()) {
      const earlier: LostPart | undefined = before.get(key) ?? this.#lost.get(key);
      if (earlier === undefined) starts[i] = values.at;
      else starts[i] = hasDecreased(earlier.last, earlier.index, values, i) ? earlier.last.at : earlier.start;
      before.delete(key);
      this.#lost.delete(key);
    }
    // If a complete record lacks a part, the part does not exist any more. If an incomplete record lacks it, the part
    // may still exist.
    if (isComplete) this.#lost.clear();
    else for (const [key, part] of before) this.#lost.set(key, part);
  }
}

function hasShape({ params: { schema, texts } }: SeriesValues, params: TypedParams): boolean {
  if (schema !== params.schema) return false;
  return texts === params.texts || texts.every((text, i) => text === params.texts[i]);
}

function shapeOf(params: TypedParams): SeriesShape {
  const layout = MetricLayout.of(params.schema);
  const devices = layout.name(params);
  return { layout, devices, partKeys: layout.parts.map(({ name, device }) => devices[device]?.key ?? name) };
}

/** True if the domain was restarted although its id is the same: its processor time went down. */
function hasRestarted(before: SeriesValues, after: SeriesValues): boolean {
  const index = (values: SeriesValues) => values.shape.partKeys.indexOf("cpu.time");
  const [one, other] = [index(before), index(after)];
  return one >= 0 && other >= 0 && hasDecreased(before, one, after, other);
}

/** Compares the counters of one part, which both records have. True if any of these counters went down. */
function hasDecreased(before: SeriesValues, one: number, after: SeriesValues, other: number): boolean {
  const earlier = before.shape.layout.parts[one]!;
  const later = after.shape.layout.parts[other]!;
  return later.counters.some((position, i) => {
    const place = earlier === later ? i : earlier.names.indexOf(later.names[i]!);
    return place >= 0 && numberAt(after.params, position) < numberAt(before.params, earlier.counters[place]!);
  });
}

/** A value in a form that can be compared exactly. */
function numberAt(params: TypedParams, position: number): number | bigint {
  return params.bigs?.get(position) ?? params.doubles[position]!;
}
