/**
 * Pages for Prometheus.
 *
 * @module virstream/prometheus
 */

export { answerScrape } from "./answer.ts";
export { Exporter, type ExporterOptions } from "./exporter.ts";
export type { ExpositionFormat } from "./exposition.ts";
export type { Dialect } from "./family.ts";
