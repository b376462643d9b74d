/**
 * Makes pages of metrics for Prometheus.
 *
 * @module virstream/prometheus
 */

export { answerScrape } from "./answer.ts";
export { Exporter, type ExporterOptions } from "./exporter.ts";
// The format of a page, which the scraper chooses.
export type { ExpositionFormat } from "./exposition.ts";
// The names of the series, which the options choose.
export type { Dialect } from "./family.ts";
