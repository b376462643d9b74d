import { withoutSecrets } from "../../driver/registry.ts";
import { VirstreamError } from "../../model/error.ts";

/** The command that installs OpenTelemetry's packages, in versions that run on Node 20. */
const INSTALL =
  "npm install @opentelemetry/api@1 @opentelemetry/otlp-exporter-base@0.223 @opentelemetry/otlp-transformer@0.223 @opentelemetry/resources@2";

/** The type of this exporter, as OpenTelemetry's semantic conventions name it. */
const COMPONENT_TYPE = "otlp_http_metric_exporter";

/** The address of the collector, and the headers of requests. */
export interface ExporterOptions {
  readonly url: string | undefined;
  readonly headers: Readonly<Record<string, string>> | undefined;
}

/** One request: its body, and how many data points the body has. */
interface Request {
  readonly body: Uint8Array;
  readonly points: number;
}

/** The outcome of a request at the collector. */
export interface Outcome {
  /** The error if the collector did not take the request. */
  readonly error: VirstreamError | undefined;
  /** If the collector took the request: how many of its data points the collector rejected. */
  readonly rejected: number;
}

/** Sends requests over HTTP, one at a time. */
export interface Exporter {
  /** The URL to which it sends, without passwords. */
  readonly url: string;
  /** The attributes that every resource has: `service.name`, and those of OTEL_RESOURCE_ATTRIBUTES. */
  readonly attributes: Readonly<Record<string, string>>;
  /** Sends a body, with retries and back-off for at most the exporter's timeout. Never rejects. */
  send(body: Uint8Array, points: number): Promise<Outcome>;
  /** Lets the request under way end, and closes idle connections. */
  close(): Promise<void>;
}

/**
 * Loads OpenTelemetry's exporter: its transport, retries, and configuration by the environment (OTEL_EXPORTER_OTLP_…).
 *
 * @throws VirstreamError `unsupported` when its packages are not installed; `invalid-argument` for an invalid URL or
 *   header
 */
export async function loadExporter(options: ExporterOptions): Promise<Exporter> {
  const [{ convertLegacyHttpOptions, createOtlpHttpExportDelegate }, { ProtobufMetricsSerializer }, { envDetector }] =
    await Promise.all([
      import("@opentelemetry/otlp-exporter-base/node-http"),
      import("@opentelemetry/otlp-transformer"),
      import("@opentelemetry/resources"),
    ]).catch((cause) => {
      throw new VirstreamError("unsupported", `OTLP needs packages that are not installed: ${INSTALL}`, { cause });
    });
  const configuration = configure();
  let rejected = 0;
  let destroyAgent = (): void => {};
  let closed = false;
  const delegate = createOtlpHttpExportDelegate<Request, unknown>(
    {
      ...configuration,
      agentFactory: async (protocol) => {
        const agent = await configuration.agentFactory(protocol);
        destroyAgent = () => agent.destroy();
        return agent;
      },
      // OpenTelemetry's exporter calls this before each attempt. The error ends its retries, so a request that fails
      // during `close()` is not sent again.
      headers: async () => {
        if (closed) throw new VirstreamError("connection-closed", "the exporter was closed");
        return configuration.headers();
      },
    },
    {
      serializeRequest: ({ body }) => body,
      deserializeResponse(data) {
        const response = ProtobufMetricsSerializer.deserializeResponse(data);
        rejected = response.partialSuccess?.rejectedDataPoints ?? 0;
        return response;
      },
    },
    COMPONENT_TYPE,
    { name: "metric_data_point", countItems: ({ points }) => points },
    undefined,
  );
  const { attributes = {} } = envDetector.detect();
  const texts = Object.entries(attributes).filter((entry): entry is [string, string] => typeof entry[1] === "string");
  const url = withoutSecrets(configuration.url);
  return {
    url,
    attributes: { "service.name": "virstream", ...Object.fromEntries(texts) },
    send(body, points) {
      rejected = 0;
      return new Promise((resolve) => {
        delegate.export({ body, points }, ({ error, code }) => {
          const failure = code === 0 ? undefined : failureOf(error, url);
          resolve({ error: failure, rejected });
        });
      });
    },
    async close() {
      closed = true;
      await delegate.shutdown();
      destroyAgent();
    },
  };

  function configure() {
    try {
      const { url, headers } = options;
      const given = { ...(url !== undefined && { url: metricsUrl(url) }), ...(headers && { headers }) };
      return convertLegacyHttpOptions(given, "METRICS", "v1/metrics", { "Content-Type": "application/x-protobuf" });
    } catch (cause) {
      throw new VirstreamError("invalid-argument", `OTLP: ${(cause as Error).message}`, { cause });
    }
  }
}

/**
 * The collector's address for metrics, made from its base address in the way that OpenTelemetry defines for
 * OTEL_EXPORTER_OTLP_ENDPOINT.
 */
function metricsUrl(url: string): string {
  const isValid = URL.canParse(url) && /^https?:$/.test(new URL(url).protocol);
  if (!isValid) {
    throw new Error(
      `the URL of a collector is http://HOST:4318 or https://HOST:4318, not ${JSON.stringify(withoutSecrets(url))}`,
    );
  }
  return /\/v1\/metrics\/?$/.test(url) ? url : `${url.replace(/\/$/, "")}/v1/metrics`;
}

/**
 * Converts the reason that OpenTelemetry's exporter gives for a failed request to a VirstreamError. The reason is an
 * error with the HTTP status, an error of Node's, or undefined after retries without success.
 */
function failureOf(
  cause: (Error & { readonly code?: unknown; readonly data?: unknown }) | undefined,
  url: string,
): VirstreamError {
  if (cause instanceof VirstreamError) return cause;
  const status = cause?.code;
  if (typeof status === "number") {
    const code =
      status === 401
        ? "unauthenticated"
        : status === 403
          ? "denied"
          : status === 413
            ? "message-too-big"
            : "protocol-error";
    return new VirstreamError(code, `the collector at ${url} refuses metrics: HTTP ${status} ${cause?.message}`, {
      cause,
    });
  }
  if (typeof status === "string") {
    return new VirstreamError("connection-refused", `the collector at ${url} cannot be reached (${status})`, { cause });
  }
  if (cause?.message === "Request timed out") {
    return new VirstreamError("connect-timeout", `the collector at ${url} does not answer in time`, { cause });
  }
  const statuses = "HTTP 429, 502, 503 or 504";
  return new VirstreamError("limit-exceeded", `the collector at ${url} is overloaded or not ready (${statuses})`, {
    cause,
  });
}
