import type { Connection } from "../../client/connection.ts";
import { invalid, type VirstreamError } from "../../model/error.ts";
import { type NatsPublisher, type PublishOptions, publish } from "../../outlets/nats/publisher.ts";
import { type OtlpPush, pushOtlp } from "../../outlets/otlp/push.ts";
import { lasting } from "../../overview/quantity.ts";
import { paceOf } from "../pace.ts";
import { readText, type Warn } from "../source.ts";
import { UsageError } from "../usage.ts";
import type { ServeArguments } from "./arguments.ts";
import type { ServeLog } from "./log.ts";
import { Outage } from "./outage.ts";

/** An outlet (NATS, or an OpenTelemetry collector), as the log names it. */
type Outlet = { readonly outlet: "nats" | "otlp"; readonly url: string };

/** Logs when an outlet starts, when it begins to fail, and when it works again. */
class OutletLog {
  readonly #log: ServeLog;
  readonly #outage = new Outage();

  constructor(log: ServeLog) {
    this.#log = log;
  }

  started(what: string, outlet: Outlet, intervalMs: number): void {
    const message = `${what} ${outlet.url} every ${intervalMs / 1_000} s`;
    this.#log.say("outlet-started", message, { ...outlet, intervalMs });
  }

  /** @param again the message when the outlet works again */
  changed(error: VirstreamError | undefined, isRetried: boolean, outlet: Outlet, again: string): void {
    if (error === undefined) {
      const outageMs = this.#outage.end();
      this.#log.say("outlet-working", `${again}, after ${lasting(outageMs)}`, { ...outlet, outageMs });
    } else {
      this.#outage.begin();
      this.#log.fail("outlet-failing", error, isRetried ? "; trying again" : "", outlet);
    }
  }
}

/** Starts to publish to NATS. */
export async function startPublisher(
  connection: Connection,
  options: PublishOptions & { readonly intervalMs: number },
  log: ServeLog,
): Promise<NatsPublisher> {
  paceOf(connection, options.intervalMs, false, "--nats-interval");
  const publisher = await publish(connection, options);
  const { url } = publisher;
  const outlet = { outlet: "nats", url } as const;
  const lines = new OutletLog(log);
  publisher.onStatus(({ state, error }) => {
    if (error?.code === "connection-closed") return;
    lines.changed(error, state !== "closed", outlet, `${url} takes what is published again`);
  });
  lines.started("publishing to", outlet, options.intervalMs);
  return publisher;
}

/** Starts to push to an OpenTelemetry collector. */
export async function startPush(
  connection: Connection,
  target: string,
  { otlpIntervalMs: intervalMs, otlpHeadersFile }: Pick<ServeArguments, "otlpIntervalMs" | "otlpHeadersFile">,
  log: ServeLog,
): Promise<OtlpPush> {
  const { OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_EXPORTER_OTLP_METRICS_ENDPOINT } = process.env;
  if (target === "env" && !(OTEL_EXPORTER_OTLP_METRICS_ENDPOINT || OTEL_EXPORTER_OTLP_ENDPOINT)) {
    throw new UsageError("--otlp env needs OTEL_EXPORTER_OTLP_ENDPOINT in the environment");
  }
  paceOf(connection, intervalMs, false, "--otlp-interval");
  const headers = otlpHeadersFile === undefined ? undefined : await readHeaders(otlpHeadersFile, log.exposed);
  const lines = new OutletLog(log);
  const push = await pushOtlp(connection, {
    ...(target === "env" ? {} : { url: target }),
    ...(headers === undefined ? {} : { headers }),
    intervalMs,
    onChange(error) {
      const again = `the collector at ${push.url} takes metrics again`;
      lines.changed(error, error?.retryable === true, { outlet: "otlp", url: push.url }, again);
    },
  });
  const outlet = { outlet: "otlp", url: push.url } as const;
  void push.closed.then((error) => {
    if (error !== undefined && error.code !== "connection-closed") lines.changed(error, false, outlet, "");
  });
  lines.started("pushing to", outlet, intervalMs);
  return push;
}

/** Reads headers from a file, which has one `NAME: VALUE` per line. */
export async function readHeaders(file: string, warn?: Warn): Promise<Record<string, string>> {
  const lines = (await readText("file of headers", file, warn)).split(/\r?\n/).filter((line) => line.trim() !== "");
  return Object.fromEntries(
    lines.map((line, i) => {
      const [, name, value] = /^([\w!#$%&'*+.^`|~-]+)\s*:\s*(\S.*)$/.exec(line.trim()) ?? [];
      if (name !== undefined && value !== undefined) return [name, value];
      // The message does not quote the line, because the line may have a secret.
      throw invalid(`line ${i + 1} of the file of headers ${file} is not NAME: VALUE`);
    }),
  );
}
