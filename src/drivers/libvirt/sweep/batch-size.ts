/**
 * How long a batch should take, in ms. A longer batch would delay the first of its records. In a shorter batch, the cost
 * of the call itself would matter.
 */
const TARGET_MS = 4;
/** The most domains in a batch. */
const DOMAINS_MAX = 256;
/**
 * The most parameters in a batch. A parameter has some 40 bytes, so the reply stays far below the 32 MiB that a message
 * may have.
 */
const PARAMETERS_MAX = 50_000;
/** The number of domains in a batch before anything was measured. */
const DOMAINS_FIRST = 8;
/** A batch is divided when it takes longer than this many times its expected duration, but never before SLOW_MS. */
const SLOW_FACTOR = 10;
const SLOW_MS = 100;

/** Decides how many domains to ask for in one batch, from the durations of earlier batches. */
export class BatchSize {
  #domainMs: number | undefined;
  /** The largest number of parameters of a domain so far. */
  #parameters = 1;
  #largest = DOMAINS_FIRST;

  /** How many domains to ask for next. */
  get domains(): number {
    if (this.#domainMs === undefined) return DOMAINS_FIRST;
    const limit = Math.min(TARGET_MS / this.#domainMs, PARAMETERS_MAX / this.#parameters);
    return Math.max(1, Math.min(this.#largest, Math.floor(limit)));
  }

  /** How long a batch may take before it is divided, in ms. */
  timeoutMs(domains: number): number {
    return Math.max(SLOW_MS, SLOW_FACTOR * (this.#domainMs ?? 0) * domains);
  }

  /**
   * A batch was answered.
   *
   * @param parameters the largest number of parameters of one domain in the batch
   */
  measured(domains: number, ms: number, parameters = 1): void {
    if (domains === 0) return;
    this.#parameters = Math.max(this.#parameters, parameters);
    const domainMs = ms / domains;
    this.#domainMs = this.#domainMs === undefined ? domainMs : 0.7 * this.#domainMs + 0.3 * domainMs;
    // The size grows step by step, because the duration of a small batch says little about that of a large batch.
    if (domains >= this.#largest) this.#largest = Math.min(DOMAINS_MAX, 4 * domains);
  }

  /** A batch was divided: the next batches are small again. */
  failed(): void {
    this.#domainMs = undefined;
    this.#largest = DOMAINS_FIRST;
  }
}
