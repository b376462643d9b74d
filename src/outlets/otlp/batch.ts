import type { DomainSeries, SeriesValues } from "./domain-series.ts";
import { ProtobufWriter } from "./protobuf-writer.ts";
import { resourceOf, writeStale, writeValues } from "./resource-metrics.ts";

/** A domain in a request, as it was when the request was written. */
export interface Written {
  readonly series: DomainSeries;
  readonly resource: Uint8Array;
  /** Undefined: the request says that there are no values. */
  readonly values: SeriesValues | undefined;
  readonly at: number;
}

/** One request: for some of the domains, the values that the collector lacks. */
export class Batch {
  readonly written: Written[] = [];
  /** The number of data points. */
  points = 0;
  readonly #maxBytes: number;
  readonly #attributes: Readonly<Record<string, string>>;
  readonly #writer: ProtobufWriter;

  /** @param attributes the attributes of every resource */
  constructor(maxBytes: number, attributes: Readonly<Record<string, string>>) {
    this.#maxBytes = maxBytes;
    this.#attributes = attributes;
    this.#writer = new ProtobufWriter(maxBytes);
  }

  /** The body of the request: a message ExportMetricsServiceRequest. */
  get body(): Uint8Array {
    return this.#writer.bytes();
  }

  /**
   * Adds a domain. Returns false, and adds nothing, if the body would become too large. The first domain is always
   * added.
   */
  add(series: DomainSeries): boolean {
    const { values, sent, at } = series;
    const before = this.#writer.length;
    series.resource ??= resourceOf(series.domain, this.#attributes);
    const { resource } = series;
    let points = values === undefined ? 0 : writeValues(this.#writer, resource, values);
    if (sent !== undefined) {
      const isSame = sent.resource === resource;
      points += writeStale(this.#writer, sent.resource, sent.shape, isSame ? values?.shape : undefined, at);
    }
    if (this.#writer.length > this.#maxBytes && this.written.length > 0) {
      this.#writer.length = before;
      return false;
    }
    this.points += points;
    this.written.push({ series, resource, values, at });
    return true;
  }
}
