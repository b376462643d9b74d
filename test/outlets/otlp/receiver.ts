import { once } from "node:events";
import { createServer, type IncomingMessage, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { gunzipSync } from "node:zlib";
// The definitions of opentelemetry-proto, compiled by OpenTelemetry itself. Later versions of this package no longer have them.
import definitions from "otlp-definitions/build/src/generated/root.js";

/** What this file uses of it; its own types are those of the package that it was compiled with. */
interface MessageType {
  encode(message: object): { finish(): Uint8Array };
  decode(bytes: Uint8Array): object;
  /** The message as JSON has it. */
  toObject(message: object, options: object): ReturnType<typeof JSON.parse>;
}

const { ExportMetricsServiceRequest, ExportMetricsServiceResponse } = (
  definitions as unknown as {
    opentelemetry: { proto: { collector: { metrics: { v1: Record<string, MessageType> } } } };
  }
).opentelemetry.proto.collector.metrics.v1 as Record<
  "ExportMetricsServiceRequest" | "ExportMetricsServiceResponse",
  MessageType
>;

/** One data point as a collector sees it. */
export interface ReceivedPoint {
  readonly resource: Readonly<Record<string, string>>;
  readonly scope: string;
  readonly metric: string;
  readonly unit: string;
  readonly kind: "sum" | "gauge";
  /** Of a sum: whether it is cumulative and monotonic. */
  readonly isCounter: boolean;
  readonly attributes: Readonly<Record<string, string | number>>;
  readonly start: bigint;
  readonly time: bigint;
  readonly value: bigint | number | undefined;
  /** Whether it says that there is no value. */
  readonly isMissing: boolean;
}

/** How to answer a request. */
export interface Answer {
  readonly status?: number;
  readonly headers?: Record<string, string>;
  readonly rejected?: number;
  /** Wait for this before the answer. */
  readonly after?: Promise<void>;
}

/** A collector: an HTTP server that decodes what it gets with the official definitions. */
export class OtlpReceiver {
  readonly headers: IncomingMessage["headers"][] = [];
  /** The bytes of each request, decompressed. */
  readonly bodies: Buffer[] = [];
  /** The data points of the requests that were accepted. */
  readonly points: ReceivedPoint[] = [];
  /** Requests whose answer is not sent yet, now and at most. */
  open = 0;
  mostOpen = 0;
  accepted = 0;
  answer: (body: Buffer) => Answer = () => ({});
  readonly #server: Server;

  private constructor(server: Server) {
    this.#server = server;
  }

  static async start(port = 0): Promise<OtlpReceiver> {
    const server = createServer();
    const receiver = new OtlpReceiver(server);
    server.on("request", async (request, response) => {
      receiver.mostOpen = Math.max(receiver.mostOpen, ++receiver.open);
      const chunks: Buffer[] = [];
      for await (const chunk of request) chunks.push(chunk);
      const sent = Buffer.concat(chunks);
      const body = request.headers["content-encoding"] === "gzip" ? gunzipSync(sent) : sent;
      receiver.headers.push(request.headers);
      receiver.bodies.push(body);
      const { status = request.url === "/v1/metrics" ? 200 : 404, headers, after, rejected } = receiver.answer(body);
      await after;
      receiver.open--;
      if (status === 200) {
        receiver.accepted++;
        receiver.points.push(...pointsOf(body));
      }
      const partial = rejected === undefined ? {} : { partialSuccess: { rejectedDataPoints: rejected } };
      response.writeHead(status, { "Content-Type": "application/x-protobuf", ...headers });
      response.end(status === 200 ? ExportMetricsServiceResponse.encode(partial).finish() : undefined);
    });
    await once(server.listen(port, "127.0.0.1"), "listening");
    return receiver;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** The points of a domain, by its name. */
  of(name: string): ReceivedPoint[] {
    return this.points.filter(({ resource }) => resource["libvirt.domain.name"] === name);
  }

  async close(): Promise<void> {
    const closed = once(this.#server, "close");
    this.#server.close();
    this.#server.closeAllConnections();
    await closed;
  }
}

/** A request as a plain object; 64-bit values are text. */
export function decoded(body: Uint8Array, options: object = { longs: String }) {
  return ExportMetricsServiceRequest.toObject(ExportMetricsServiceRequest.decode(body), options);
}

/** All data points of a request. */
export function pointsOf(body: Uint8Array): ReceivedPoint[] {
  const points: ReceivedPoint[] = [];
  for (const { resource, scopeMetrics } of decoded(body).resourceMetrics ?? []) {
    for (const { scope, metrics } of scopeMetrics) {
      for (const metric of metrics) {
        const kind = metric.sum === undefined ? "gauge" : "sum";
        const data = metric[kind];
        for (const point of data.dataPoints) {
          points.push({
            resource: keyValues(resource.attributes) as Record<string, string>,
            scope: scope.name,
            metric: metric.name,
            unit: metric.unit ?? "",
            kind,
            isCounter: data.aggregationTemporality === 2 && data.isMonotonic === true,
            attributes: keyValues(point.attributes ?? []),
            start: BigInt(point.startTimeUnixNano ?? 0),
            time: BigInt(point.timeUnixNano),
            value: point.asInt === undefined ? point.asDouble : BigInt(point.asInt),
            isMissing: point.flags === 1,
          });
        }
      }
    }
  }
  return points;
}

type KeyValue = { readonly key: string; readonly value: { readonly stringValue?: string; readonly intValue?: string } };

/** Attributes as an object. */
export function keyValues(attributes: readonly KeyValue[]): Record<string, string | number> {
  return Object.fromEntries(
    attributes.map(({ key, value }) => [key, value.stringValue ?? Number(value.intValue)] as const),
  );
}
