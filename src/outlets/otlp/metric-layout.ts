import { perObject } from "../../driver/memo.ts";
import type { TypedParams } from "../../model/params.ts";
import { ParamType, type Schema } from "../../model/schema.ts";
import { DEVICE_ATTRIBUTES, type DeviceKind, metricName } from "./metric-name.ts";
import { attribute, encoded } from "./protobuf-writer.ts";

/** One series of a record. */
export interface Point {
  /** The position of its parameter in the record's parameters. */
  readonly position: number;
  readonly isDouble: boolean;
  /** Its attributes, except the name of its device, as fields of a data point. */
  readonly attributes: Uint8Array;
  /** The index of its device in `MetricLayout.devices`; −1 when it has no device. */
  readonly device: number;
  /** The index, in `MetricLayout.parts`, of the part with which the counter is reset; −1 for a gauge. */
  readonly part: number;
  /** Together with the device, identifies the series among the series of a domain. */
  readonly key: string;
}

/** One metric with its series. */
export interface Metric {
  /** The fields with the metric's name and unit, as bytes. */
  readonly header: Uint8Array;
  readonly isSum: boolean;
  readonly points: readonly Point[];
}

/** A device that libvirt names. */
export interface Device {
  readonly kind: DeviceKind;
  readonly number: number;
  /** The place of its name in `TypedParams.texts`; −1 when the records have no name for the device. */
  readonly name: number;
}

/** Counters that are reset together. */
export interface Part {
  readonly name: string;
  /** The index of its device in `MetricLayout.devices`; −1 when it has no device. */
  readonly device: number;
  /** The positions of its counters. */
  readonly counters: number[];
  /**
   * The keys of the counters. The kind and the number of the device are cut off, because the number changes when
   * another device is unplugged.
   */
  readonly names: string[];
}

/** A device as one record names it. */
export interface NamedDevice {
  /** Identifies the device among the devices of the domain. */
  readonly key: string;
  /** Its attributes as fields of a data point. */
  readonly attributes: Uint8Array;
}

const NAME_TAG = 0x0a;
const UNIT_TAG = 0x1a;
/** The tag of the field `attributes` of a NumberDataPoint. */
export const POINT_ATTRIBUTES_TAG = 0x3a;

/**
 * How the records of one schema become metrics. It is computed once per schema, because thousands of records share a
 * schema.
 */
export class MetricLayout {
  /** Returns the layout of a schema. For the same schema, it always returns the same object. */
  static readonly of: (schema: Schema) => MetricLayout = perObject((schema: Schema) => new MetricLayout(schema));

  readonly metrics: readonly Metric[];
  readonly devices: readonly Device[];
  readonly parts: readonly Part[];

  constructor(schema: Schema) {
    const metrics = new Map<string, Metric & { readonly points: Point[] }>();
    const devices = new Map<string, number>();
    const parts = new Map<string, number>();
    const allDevices: Device[] = [];
    const allParts: Part[] = [];
    const row = schema.row();
    schema.keys.forEach((key, position) => {
      const type = schema.types[position]!;
      // If a key occurs twice, its first occurrence counts, as for other readers of a record.
      if (type === ParamType.string || schema.position(key) !== position) return;
      const { name, unit, isSum, attributes, device, part } = metricName(key);
      const deviceKey = device && `${device.kind}.${device.number}`;
      if (device !== undefined && !devices.has(deviceKey!)) {
        const place = schema.position(`${deviceKey}.name`);
        devices.set(deviceKey!, allDevices.length);
        allDevices.push({ ...device, name: schema.types[place] === ParamType.string ? row[place]! : -1 });
      }
      const deviceIndex = deviceKey === undefined ? -1 : devices.get(deviceKey)!;
      const partName = deviceKey ?? part;
      if (isSum && !parts.has(partName)) {
        parts.set(partName, allParts.length);
        allParts.push({ name: part, device: deviceIndex, counters: [], names: [] });
      }
      const partIndex = isSum ? parts.get(partName)! : -1;
      if (isSum) {
        allParts[partIndex]!.counters.push(position);
        allParts[partIndex]!.names.push(deviceKey === undefined ? key : key.slice(deviceKey.length));
      }
      // A metric is identified by its name, its unit and its type. The keys that libvirt sends never give two metrics
      // the same name and different types.
      const metricKey = `${name} ${unit} ${isSum}`;
      let metric = metrics.get(metricKey);
      if (metric === undefined) {
        const header = encoded((writer) => {
          writer.text(NAME_TAG, name);
          if (unit !== "") writer.text(UNIT_TAG, unit);
        });
        metric = { header, isSum, points: [] };
        metrics.set(metricKey, metric);
      }
      metric.points.push({
        position,
        isDouble: type === ParamType.double,
        attributes: encoded((writer) => {
          for (const [each, value] of attributes) attribute(writer, POINT_ATTRIBUTES_TAG, each, value);
        }),
        device: deviceIndex,
        part: partIndex,
        key: `${metricKey} ${JSON.stringify(attributes)}`,
      });
    });
    this.metrics = [...metrics.values()];
    this.devices = allDevices;
    this.parts = allParts;
  }

  /**
   * The devices as a record names them. A device without a name gets libvirt's number as an attribute. A second device
   * of the same name, such as a member of a backing chain, gets the number besides its name.
   */
  name(params: TypedParams): NamedDevice[] {
    const seen = new Set<string>();
    return this.devices.map(({ kind, number, name }) => {
      const text = name < 0 ? undefined : params.texts[name];
      let key = `${kind} ${text ?? ""}`;
      const isNumbered = text === undefined || seen.has(key);
      if (isNumbered) key = `${kind} ${number} ${text ?? ""}`;
      seen.add(key);
      const attributes = encoded((writer) => {
        if (text !== undefined) attribute(writer, POINT_ATTRIBUTES_TAG, DEVICE_ATTRIBUTES[kind], text);
        if (isNumbered)
          attribute(writer, POINT_ATTRIBUTES_TAG, kind === "block" ? "disk.number" : "interface.number", number);
      });
      return { key, attributes };
    });
  }
}
