/** A monitor call that was sent, and that may have been answered since. */
export interface UnansweredCall {
  /** When the call was sent, in ms on admission's clock. */
  readonly grantedAt: number;
  /** True when the daemon has answered. */
  readonly answered: boolean;
}

/** One question to the daemon: is a worker free although all present monitor calls are unanswered? */
export interface WorkerProbe {
  /**
   * True if all unanswered calls have just gone out together. Until then, the daemon had no unanswered monitor call of
   * this process.
   */
  readonly fresh: boolean;
  /**
   * True while none of the calls that were unanswered at the beginning of the probe is answered. Otherwise a probe call
   * would not prove that a worker is free besides the workers of these calls.
   */
  readonly useful: boolean;
  /** The probe call was answered: as many workers as there are unanswered calls were busy, and one was free. */
  answered(): void;
  /** The probe is over. If it has proven a free worker, the limit grows. */
  end(): void;
}

/** Owns connections to the daemon, and probes for a free worker on them. */
export interface ConnectionOwner {
  /**
   * Waits until the daemon has taken up the earlier calls, sends a call that cannot hang, and reports its answer to the
   * probe. Always calls `probe.end()`.
   */
  probeWorker(probe: WorkerProbe): void;
}

/**
 * How many monitor calls may be unanswered without a proof that a worker is free: libvirtd starts with five workers.
 */
export const SAFE = 4;
/**
 * The highest value that the limit can reach. The daemon has only 20 workers, and its other clients need some of them.
 */
export const BUDGET = 8;

/** Calls that were granted within this many ms went out together. */
const BURST_MS = 1;

/**
 * How many monitor calls may be unanswered at a time, so that the daemon always has a free worker. Pure.
 *
 * libvirtd starts with five workers, and adds one when a call arrives and no worker is free. But it miscounts, and adds
 * none while another call is queued. If a burst of calls takes the last free workers and all of these calls hang, all
 * queued calls, of all clients, wait forever. So four unanswered calls need no proof. For each further call, a probe
 * call, which cannot hang, must first be answered while all monitor calls are unanswered. Its answer proves a free
 * worker, and the limit grows by one. The proof holds as long as the daemon lives, because the number of its workers
 * never falls.
 */
export class ConcurrencyLimit {
  readonly #onEnd: () => void;
  #calls = SAFE;
  /** The largest number of unanswered calls during which a probe has proven that another worker is free. */
  #proven = 0;
  #probe: WorkerProbe | undefined;

  /** @param onEnd called when a probe has ended */
  constructor(onEnd: () => void) {
    this.#onEnd = onEnd;
  }

  /** How many monitor calls may be unanswered. */
  get calls(): number {
    return this.#calls;
  }

  /** True if a probe is under way. */
  get probing(): boolean {
    return this.#probe !== undefined;
  }

  /** Called when the next calls may reach another daemon, for example after a restart. A new daemon has few workers. */
  reset(): void {
    this.#calls = SAFE;
    this.#proven = 0;
    // A probe that is still under way tests the earlier daemon, so its result is ignored.
    this.#probe = undefined;
  }

  /**
   * Starts a probe when as many calls are unanswered as the limit allows, and no probe has yet proven that one more
   * worker is free.
   *
   * @param calls the unanswered monitor calls
   * @param owner sends the probe call
   */
  seek(calls: readonly UnansweredCall[], now: number, owner: ConnectionOwner | undefined): void {
    if (owner === undefined || this.probing || calls.length < this.#calls || calls.length <= this.#proven) return;
    // Calls that are answered during the probe free their workers, so they prove nothing.
    const unanswered = (): number => calls.filter(({ answered }) => !answered).length;
    let proven = 0;
    const probe: WorkerProbe = {
      fresh: calls.every(({ grantedAt }) => grantedAt >= now - BURST_MS),
      get useful() {
        return unanswered() === calls.length;
      },
      answered: () => {
        proven = unanswered();
      },
      end: () => {
        if (this.#probe !== probe) return;
        this.#probe = undefined;
        this.#proven = Math.max(this.#proven, proven);
        this.#calls = Math.max(this.#calls, Math.min(BUDGET, this.#proven + 1));
        this.#onEnd();
      },
    };
    this.#probe = probe;
    owner.probeWorker(probe);
  }
}
