import type { Connection } from "../../client/connection.ts";
import { VirstreamError } from "../../model/error.ts";
import { type OtlpPush, pushOtlp } from "../../outlets/otlp/push.ts";
import { notify } from "../notify.ts";
import { readText } from "../source.ts";
import { UsageError } from "../usage.ts";
import type { ServeArguments } from "./arguments.ts";

/** Starts to push to an OpenTelemetry collector. The log gets a line when pushes begin to fail, and when they succeed again. */
export async function startPush(
  connection: Connection,
  target: string,
  { otlpIntervalMs, otlpHeadersFile }: Pick<ServeArguments, "otlpIntervalMs" | "otlpHeadersFile">,
): Promise<OtlpPush> {
  const { OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_EXPORTER_OTLP_METRICS_ENDPOINT } = process.env;
  if (target === "env" && !(OTEL_EXPORTER_OTLP_METRICS_ENDPOINT || OTEL_EXPORTER_OTLP_ENDPOINT)) {
    throw new UsageError("--otlp env needs OTEL_EXPORTER_OTLP_ENDPOINT in the environment");
  }
  const headers = otlpHeadersFile === undefined ? undefined : await readHeaders(otlpHeadersFile);
  const push = await pushOtlp(connection, {
    ...(target === "env" ? {} : { url: target }),
    ...(headers === undefined ? {} : { headers }),
    intervalMs: otlpIntervalMs,
    onChange(error) {
      if (error === undefined) notify(`the collector at ${push.url} takes metrics again`);
      else notify(`${error.message} [${error.code}]${error.retryable ? "; trying again" : ""}`);
    },
  });
  notify(`pushing to ${push.url} every ${otlpIntervalMs / 1_000} s`);
  return push;
}

/** The headers of a file, one per line. */
export async function readHeaders(file: string): Promise<Record<string, string>> {
  const lines = (await readText("file of headers", file)).split(/\r?\n/).filter((line) => line.trim() !== "");
  return Object.fromEntries(
    lines.map((line, i) => {
      const [, name, value] = /^([\w!#$%&'*+.^`|~-]+)\s*:\s*(\S.*)$/.exec(line.trim()) ?? [];
      if (name !== undefined && value !== undefined) return [name, value];
      // The line is not quoted: it may have a secret.
      throw new VirstreamError("invalid-argument", `line ${i + 1} of the file of headers ${file} is not NAME: VALUE`);
    }),
  );
}
