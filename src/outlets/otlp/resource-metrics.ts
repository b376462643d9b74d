import type { Domain } from "../../model/record.ts";
import { VERSION } from "../../version.ts";
import type { SeriesShape, SeriesValues } from "./domain-series.ts";
import type { Metric, NamedDevice, Point } from "./metric-layout.ts";
import { attribute, encoded, type ProtobufWriter, varintSize } from "./protobuf-writer.ts";

/**
 * The messages of opentelemetry/proto/metrics/v1/metrics.proto, written by hand. The serializer of the official SDK
 * takes values as JavaScript numbers, which are not exact beyond 2^53; it cannot write the flag "no recorded value";
 * and its requests have one resource each. docs/decisions.md compares this code with the SDK.
 */

/** Tags. A tag has the number of a field, and the way in which its value is written. */
const TAG = {
  requestResourceMetrics: 0x0a,
  resource: 0x0a,
  resourceAttribute: 0x0a,
  scopeMetrics: 0x12,
  scope: 0x0a,
  scopeName: 0x0a,
  scopeVersion: 0x12,
  metric: 0x12,
  gauge: 0x2a,
  sum: 0x3a,
  dataPoint: 0x0a,
  aggregationTemporality: 0x10,
  isMonotonic: 0x18,
  startTime: 0x11,
  time: 0x19,
  asDouble: 0x21,
  asInt: 0x31,
  flags: 0x40,
} as const;

const CUMULATIVE = 2;
const NO_RECORDED_VALUE = 1;
/** The greatest value of a signed integer of 64 bits. A greater value is sent as a double. */
const MAX_INT64 = 2n ** 63n - 1n;

/**
 * How many bytes a field takes, with its tag: FIXED64_BYTES if its value has 64 bits, BYTE_FIELD_BYTES if it has one
 * byte.
 */
const FIXED64_BYTES = 9;
const BYTE_FIELD_BYTES = 2;
/** The tags and lengths of one data point or metric need fewer bytes than this. */
const OVERHEAD_BYTES = 64;

const SCOPE = encoded((writer) => {
  const scope = encoded((inner) => {
    inner.text(TAG.scopeName, "libvirt.domain");
    inner.text(TAG.scopeVersion, VERSION);
  });
  writer.message(TAG.scope, scope);
});

/** The attributes of a domain's resource, as the field of a ResourceMetrics message. */
export function resourceOf({ uuid, name, host }: Domain, common: Readonly<Record<string, string>>): Uint8Array {
  const attributes = {
    ...common,
    // Some receivers, such as Prometheus, identify a producer by its service. With this attribute they do not take all
    // domains for one producer.
    "service.instance.id": `${host}/${uuid}`,
    "host.name": host,
    "libvirt.domain.uuid": uuid,
    "libvirt.domain.name": name,
  };
  const resource = encoded((inner) => {
    for (const [key, value] of Object.entries(attributes)) attribute(inner, TAG.resourceAttribute, key, value);
  });
  return encoded((writer) => writer.message(TAG.resource, resource));
}

/**
 * Adds the values of a domain to a request.
 *
 * @returns the number of data points
 */
export function writeValues(writer: ProtobufWriter, resource: Uint8Array, values: SeriesValues): number {
  const { shape, params, at, starts } = values;
  const time = nanoseconds(at);
  let startMs = at;
  let start = time;
  return writeResourceMetrics(
    writer,
    resource,
    shape,
    () => true,
    VALUE_SIZE,
    ({ position, part, isDouble }) => {
      if (part >= 0) {
        if (starts[part] !== startMs) {
          startMs = starts[part]!;
          // The wall clock may have been set back, and a start that is later than the value's own time would be
          // invalid.
          start = nanoseconds(Math.min(startMs, at));
        }
        writer.byte(TAG.startTime);
        writer.fixed64Big(start);
      }
      writer.byte(TAG.time);
      writer.fixed64Big(time);
      const big = params.bigs?.get(position);
      const double = params.doubles[position]!;
      if (isDouble || (big !== undefined && big > MAX_INT64)) {
        writer.byte(TAG.asDouble);
        writer.double(double);
      } else {
        writer.byte(TAG.asInt);
        if (big === undefined) writer.fixed64(double);
        else writer.fixed64Big(big);
      }
    },
  );
}

/**
 * Adds "no recorded value" for the series of `before` that `now` lacks.
 *
 * @param now undefined: no series is left
 * @returns the number of data points
 */
export function writeStale(
  writer: ProtobufWriter,
  resource: Uint8Array,
  before: SeriesShape,
  now: SeriesShape | undefined,
  at: number,
): number {
  if (before === now) return 0;
  const kept = now === undefined ? undefined : seriesKeys(now);
  const isStale = (point: Point): boolean => kept?.has(seriesKey(point, before.devices)) !== true;
  const time = nanoseconds(at);
  return writeResourceMetrics(writer, resource, before, isStale, STALE_SIZE, () => {
    writer.byte(TAG.time);
    writer.fixed64Big(time);
    writer.byte(TAG.flags);
    writer.byte(NO_RECORDED_VALUE);
  });
}

/** A function that gives the number of bytes of a data point without its attributes. */
type PointSize = (point: Point) => number;
const VALUE_SIZE: PointSize = ({ part }) => (part >= 0 ? 3 : 2) * FIXED64_BYTES;
const STALE_SIZE: PointSize = () => FIXED64_BYTES + BYTE_FIELD_BYTES;

function writeResourceMetrics(
  writer: ProtobufWriter,
  resource: Uint8Array,
  { layout, devices }: SeriesShape,
  isIncluded: (point: Point) => boolean,
  sizeOf: PointSize,
  write: (point: Point) => void,
): number {
  // The length of a message comes before the message, so all sizes are computed first, from the inside out.
  const pointSize = (point: Point) => sizeOf(point) + point.attributes.length + deviceOf(point, devices).length;
  const sections: { metric: Metric; points: readonly Point[]; dataSize: number; size: number }[] = [];
  let scopeSize = SCOPE.length;
  let count = 0;
  for (const metric of layout.metrics) {
    const points = metric.points.filter(isIncluded);
    if (points.length === 0) continue;
    let dataSize = metric.isSum ? 2 * BYTE_FIELD_BYTES : 0;
    for (const point of points) dataSize += fieldSize(pointSize(point));
    const size = metric.header.length + fieldSize(dataSize);
    scopeSize += fieldSize(size);
    count += points.length;
    sections.push({ metric, points, dataSize, size });
  }
  if (count === 0) return 0;
  writer.reserve(OVERHEAD_BYTES);
  writer.byte(TAG.requestResourceMetrics);
  writer.varint(resource.length + fieldSize(scopeSize));
  writer.raw(resource);
  writer.reserve(OVERHEAD_BYTES + scopeSize);
  writer.byte(TAG.scopeMetrics);
  writer.varint(scopeSize);
  writer.raw(SCOPE);
  for (const { metric, points, dataSize, size } of sections) {
    writer.byte(TAG.metric);
    writer.varint(size);
    writer.raw(metric.header);
    writer.byte(metric.isSum ? TAG.sum : TAG.gauge);
    writer.varint(dataSize);
    for (const point of points) {
      writer.byte(TAG.dataPoint);
      writer.varint(pointSize(point));
      write(point);
      writer.raw(point.attributes);
      writer.raw(deviceOf(point, devices));
    }
    if (!metric.isSum) continue;
    writer.byte(TAG.aggregationTemporality);
    writer.byte(CUMULATIVE);
    writer.byte(TAG.isMonotonic);
    writer.byte(1);
  }
  return count;
}

const NOTHING = new Uint8Array(0);

function deviceOf({ device }: Point, devices: readonly NamedDevice[]): Uint8Array {
  return device < 0 ? NOTHING : devices[device]!.attributes;
}

/** The number of bytes of a field that contains a message of this many bytes. */
function fieldSize(bytes: number): number {
  return 1 + varintSize(bytes) + bytes;
}

function seriesKeys({ layout, devices }: SeriesShape): Set<string> {
  return new Set(layout.metrics.flatMap(({ points }) => points.map((point) => seriesKey(point, devices))));
}

function seriesKey({ key, device }: Point, devices: readonly NamedDevice[]): string {
  return device < 0 ? key : `${key} ${devices[device]!.key}`;
}

/** Converts milliseconds, exact to the microsecond, to nanoseconds. */
function nanoseconds(ms: number): bigint {
  return BigInt(Math.round(ms * 1_000)) * 1_000n;
}
