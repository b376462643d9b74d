import type { Connection } from "../../client/connection.ts";
import { VirstreamError } from "../../model/error.ts";
import { type OtlpPush, pushOtlp } from "../../outlets/otlp/push.ts";
import { lasting } from "../../overview/quantity.ts";
import { readText, type Warn } from "../source.ts";
import { UsageError } from "../usage.ts";
import type { ServeArguments } from "./arguments.ts";
import type { ServeLog } from "./log.ts";
import { Outage } from "./outage.ts";

/** Starts to push to an OpenTelemetry collector. The log gets a line when pushes begin to fail, and when they succeed again. */
export async function startPush(
  connection: Connection,
  target: string,
  { otlpIntervalMs, otlpHeadersFile }: Pick<ServeArguments, "otlpIntervalMs" | "otlpHeadersFile">,
  log: ServeLog,
): Promise<OtlpPush> {
  const { OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_EXPORTER_OTLP_METRICS_ENDPOINT } = process.env;
  if (target === "env" && !(OTEL_EXPORTER_OTLP_METRICS_ENDPOINT || OTEL_EXPORTER_OTLP_ENDPOINT)) {
    throw new UsageError("--otlp env needs OTEL_EXPORTER_OTLP_ENDPOINT in the environment");
  }
  const headers = otlpHeadersFile === undefined ? undefined : await readHeaders(otlpHeadersFile, log.exposed);
  const outage = new Outage();
  const push = await pushOtlp(connection, {
    ...(target === "env" ? {} : { url: target }),
    ...(headers === undefined ? {} : { headers }),
    intervalMs: otlpIntervalMs,
    onChange(error) {
      const outlet = { outlet: "otlp", url: push.url };
      if (error === undefined) {
        const outageMs = outage.end();
        const message = `the collector at ${push.url} takes metrics again, after ${lasting(outageMs)}`;
        log.say("outlet-working", message, { ...outlet, outageMs });
      } else {
        outage.begin();
        log.fail("outlet-failing", error, error.retryable ? "; trying again" : "", outlet);
      }
    },
  });
  const message = `pushing to ${push.url} every ${otlpIntervalMs / 1_000} s`;
  log.say("outlet-started", message, { outlet: "otlp", url: push.url, intervalMs: otlpIntervalMs });
  return push;
}

/** The headers of a file, one per line. */
export async function readHeaders(file: string, warn?: Warn): Promise<Record<string, string>> {
  const lines = (await readText("file of headers", file, warn)).split(/\r?\n/).filter((line) => line.trim() !== "");
  return Object.fromEntries(
    lines.map((line, i) => {
      const [, name, value] = /^([\w!#$%&'*+.^`|~-]+)\s*:\s*(\S.*)$/.exec(line.trim()) ?? [];
      if (name !== undefined && value !== undefined) return [name, value];
      // The line is not quoted: it may have a secret.
      throw new VirstreamError("invalid-argument", `line ${i + 1} of the file of headers ${file} is not NAME: VALUE`);
    }),
  );
}
