/**
 * Pushes statistics to an OpenTelemetry collector.
 *
 * @module virstream/otlp
 */

export { DEFAULT_PUSH_INTERVAL_MS, type OtlpFigures, type OtlpOptions, OtlpPush, pushOtlp } from "./push.ts";
