import { type ControlInfo, ControlState } from "../rpc/procedures.ts";

/**
 * A monitor that has been busy with one command for this many ms counts as hanging. A healthy monitor takes 1 to 3 ms
 * for a command.
 */
const HANGING_MS = 1_000;
/**
 * A call of another client counts for this many ms after a check has last seen it. Each sweep checks the domains that
 * hang, so a call that still hangs is seen again.
 */
const SEEN_MS = 10_000;

/**
 * The result of a check of a monitor. `unclear`: the monitor is busy, which for a healthy monitor lasts only some
 * milliseconds.
 */
export type MonitorVerdict = "answers" | "unclear" | "hangs";

/**
 * The monitors that calls of other clients occupy, according to the checks so far. Each such call occupies a worker of
 * the daemon, just as a call of this process does. Pure: the caller passes the time, in ms on a steady clock.
 */
export class ForeignCalls {
  /**
   * The calls by domain: when the call's command began, and when a check last saw the call. The domain that was checked
   * longest ago comes first.
   */
  readonly #calls = new Map<string, { readonly since: number; readonly seenAt: number }>();

  /**
   * Stores the result of a check of a monitor, and returns what the result means.
   *
   * @param info undefined if the daemon does not report the monitor's state
   */
  saw(key: string, info: ControlInfo | undefined, now: number): MonitorVerdict {
    const before = this.#calls.get(key);
    this.#calls.delete(key);
    if (info?.state !== ControlState.occupied) return "answers";
    const since = now - info.forMs;
    const hangs = info.forMs >= HANGING_MS;
    // The command that the previous check saw has ended, so the monitor answers.
    if (!hangs && before !== undefined && since > before.seenAt) return "answers";
    this.#calls.set(key, { since, seenAt: now });
    return hangs ? "hangs" : "unclear";
  }

  /** Another client's call has just begun in this domain. */
  add(key: string, now: number): void {
    this.#calls.delete(key);
    this.#calls.set(key, { since: now, seenAt: now });
  }

  /** The domain's monitor has answered, or the domain has another monitor now. */
  delete(key: string): void {
    this.#calls.delete(key);
  }

  clear(): void {
    this.#calls.clear();
  }

  /** The number of monitors that calls of other clients occupy. */
  count(now: number): number {
    for (const [key, { seenAt }] of this.#calls) {
      if (seenAt > now - SEEN_MS) break;
      this.#calls.delete(key);
    }
    return this.#calls.size;
  }

  /** The time from which all known calls of other clients count as hanging, unless one of them is answered before. */
  get settledAt(): number {
    let at = Number.NEGATIVE_INFINITY;
    for (const { since } of this.#calls.values()) at = Math.max(at, since + HANGING_MS);
    return at;
  }
}
