import { Inquiry } from "./inquiry.ts";
import type { CallKind } from "./line.ts";
import type { Turn } from "./patience.ts";
import type { Task } from "./task.ts";

/**
 * Several domains in one call. Where a domain costs some microseconds, a call for each would cost more than what it is
 * for. But domains in one call wait for each other: libvirt takes the lock of each in turn. So a batch is only as large
 * as the measured time allows, and one that does not answer soon is taken apart, each domain asked for itself.
 */

/** How long a batch should take. Long enough that the call itself does not matter, and no record waits long for others. */
const TARGET_MS = 4;
/** No batch is larger. */
const DOMAINS_MAX = 256;
/** Nor has it more parameters, as far as can be told: some 40 bytes each, the reply stays far below the 32 MiB of a message. */
const PARAMETERS_MAX = 50_000;
/** The first batch, when nothing is known. */
const DOMAINS_FIRST = 8;
/** A batch is taken apart after so many times what it should have taken, and so many ms at least. */
const SLOW_FACTOR = 10;
const SLOW_MS = 100;

/** How many domains to ask for at a time, by what they took. */
export class BatchSize {
  #domainMs: number | undefined;
  /** The most parameters that a domain was seen to have. */
  #parameters = 1;
  #largest = DOMAINS_FIRST;

  /** How many to ask for next. */
  get domains(): number {
    if (this.#domainMs === undefined) return DOMAINS_FIRST;
    const limit = Math.min(TARGET_MS / this.#domainMs, PARAMETERS_MAX / this.#parameters);
    return Math.max(1, Math.min(this.#largest, Math.floor(limit)));
  }

  /** How long a batch of so many may take before it is taken apart, in ms. */
  patienceMs(domains: number): number {
    return Math.max(SLOW_MS, SLOW_FACTOR * (this.#domainMs ?? 0) * domains);
  }

  /**
   * A call for so many domains took so long.
   *
   * @param parameters how many the largest of them has
   */
  measured(domains: number, ms: number, parameters = 1): void {
    if (domains === 0) return;
    this.#parameters = Math.max(this.#parameters, parameters);
    const domainMs = ms / domains;
    this.#domainMs = this.#domainMs === undefined ? domainMs : 0.7 * this.#domainMs + 0.3 * domainMs;
    // It grows step by step: what a few domains took says little about hundreds.
    if (domains >= this.#largest) this.#largest = Math.min(DOMAINS_MAX, 4 * domains);
  }

  /** A batch had to be taken apart, or was refused: begin anew, small. */
  failed(): void {
    this.#domainMs = undefined;
    this.#largest = DOMAINS_FIRST;
  }
}

let batches = 0;

/** A place in line for a call that takes its domains from the sweep's pool when its turn comes. */
export class Batch extends Inquiry {
  readonly key = `batch ${batches++}`;
  readonly kind: CallKind = "free";
  readonly turn: Turn = "lane";
  tasks: readonly Task[] = [];
}
