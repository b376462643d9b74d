import type { ExpositionFormat } from "./exposition.ts";

/**
 * By media type: the format, and the versions of the format that a request may name. Whichever version the request
 * names, the page has the version in CONTENT_TYPES.
 */
const OFFERS: Readonly<Record<string, { readonly format: ExpositionFormat; readonly versions: readonly string[] }>> = {
  "application/openmetrics-text": { format: "openmetrics", versions: ["1.0.0", "0.0.1"] },
  "text/plain": { format: "text", versions: ["0.0.4"] },
  "text/*": { format: "text", versions: [] },
  "*/*": { format: "text", versions: [] },
};

/** At most this many media types of a header are read. */
const MAX_TYPES = 32;

/**
 * Chooses the format for a request by its `Accept` header: the accepted format with the highest q-value, or the first
 * of several formats with the same q-value. If the header accepts neither format, or is missing, the format is text, so
 * that the scraper still gets a page.
 */
export function negotiate(accept: string | undefined): ExpositionFormat {
  let best: { readonly format: ExpositionFormat; readonly quality: number } | undefined;
  for (const range of (accept ?? "").split(",", MAX_TYPES)) {
    const [type, ...parameters] = range.split(";").map((part) => part.trim().toLowerCase());
    const offer = Object.hasOwn(OFFERS, type!) ? OFFERS[type!]! : undefined;
    if (offer === undefined) continue;
    const values = new Map(parameters.map((parameter) => splitParameter(parameter)));
    const version = values.get("version");
    if (version !== undefined && !offer.versions.includes(version)) continue;
    const quality = Number(values.get("q") ?? "1");
    if (quality > 0 && quality > (best?.quality ?? 0)) best = { format: offer.format, quality };
  }
  return best?.format ?? "text";
}

function splitParameter(parameter: string): [name: string, value: string] {
  const [name = "", value = ""] = parameter.split("=", 2);
  return [name.trim(), value.trim().replace(/^"(.*)"$/, "$1")];
}
