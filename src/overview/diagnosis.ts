import type { DomainIdentity } from "../model/record.ts";

/** What is wrong with one guest, the evidence for it, and what helps. */
export interface Diagnosis {
  readonly domain: DomainIdentity;
  /** True if something is wrong, as far as the guest's host can see. */
  readonly wrong: boolean;
  /** The result of the diagnosis, in one sentence. */
  readonly summary: string;
  /** Sentences with the figures that prove the result. */
  readonly evidence: readonly string[];
  /** What the guest's records lack; left out if they are complete. */
  readonly records?: string;
  /** Commands that help or show more. If no command helps, this is advice. */
  readonly remedy: readonly string[];
}

/** The JSON text of a diagnosis, as a server sends it in answer to a request of its path `/why`. */
export function diagnosisJson({ domain: { uuid, name, id, host }, ...rest }: Diagnosis): string {
  return JSON.stringify({ domain: { uuid, name, id, host }, ...rest });
}

/**
 * Reads a diagnosis from a server's answer to `/why`.
 *
 * @param domain the guest in question
 * @returns undefined if the answer is no diagnosis
 */
export function diagnosisOfJson(text: string, domain: DomainIdentity): Diagnosis | undefined {
  let value: Partial<Record<keyof Diagnosis, unknown>>;
  try {
    value = Object(JSON.parse(text));
  } catch {
    return undefined;
  }
  const { wrong, summary, evidence, records, remedy } = value;
  if (typeof wrong !== "boolean" || typeof summary !== "string" || !isTexts(evidence) || !isTexts(remedy))
    return undefined;
  return { domain, wrong, summary, evidence, ...(typeof records === "string" && { records }), remedy };
}

function isTexts(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((each) => typeof each === "string");
}
