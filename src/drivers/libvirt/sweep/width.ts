/**
 * How many monitor calls may be unanswered, so that the daemon always has a worker left. Pure.
 *
 * The daemon's pool begins with five workers and adds one when a call finds none free; but it counts in such a way that it
 * adds none while a call is queued. Should a burst of calls find the last free workers, and all of them hang, then whatever
 * is queued behind them waits for ever, of every client. So beyond four unanswered calls the width grows one by one, each
 * time after a call that cannot hang was answered behind all the others: that proves a free worker. What is proven once
 * holds as long as the daemon lives, because its pool does not shrink.
 */

/** An unanswered monitor call. */
export interface UnansweredCall {
  /** When it was sent, in ms. */
  readonly grantedAt: number;
}

/** Who can prove. */
export interface Prover {
  /**
   * Asked to prove that the daemon has a free worker behind all calls that are unanswered now: by a call that cannot hang,
   * sent when those before it have been taken up. In any case it ends the proof.
   */
  prove(proof: Proof): void;
}

/** Calls that were granted within so many ms went out together. */
const BURST_MS = 1;

/** Grows from what is safe to the budget, as free workers are proven. */
export class Width {
  readonly #safe: number;
  readonly #budget: number;
  readonly #onEnd: () => void;
  #calls: number;
  /** With how many unanswered calls a free worker was proven. */
  #proven = 0;
  #proof: Proof | undefined;

  /**
   * @param safe how many calls need no proof
   * @param budget how many there may ever be
   * @param onEnd called when a proof has ended
   */
  constructor(safe: number, budget: number, onEnd: () => void) {
    this.#safe = Math.min(safe, budget);
    this.#budget = budget;
    this.#onEnd = onEnd;
    this.#calls = this.#safe;
  }

  /** How many monitor calls may be unanswered. */
  get calls(): number {
    return this.#calls;
  }

  /** Whether a proof is under way. */
  get proving(): boolean {
    return this.#proof !== undefined;
  }

  /** It may be another daemon from now on, with a pool that is small again. */
  reset(): void {
    this.#calls = this.#safe;
    this.#proven = 0;
    // What it has shown is of the daemon that was.
    this.#proof = undefined;
  }

  /**
   * Has it proven that there is a free worker, if as many calls are unanswered as may be, and it is not proven yet.
   *
   * @param calls all that are unanswered and known to occupy a worker
   * @param isUnanswered whether one of them still is
   */
  seek<T extends UnansweredCall>(
    calls: readonly T[],
    isUnanswered: (call: T) => boolean,
    now: number,
    prover: Prover | undefined,
  ): void {
    if (prover === undefined || this.proving || calls.length < this.#calls || calls.length <= this.#proven) return;
    const fresh = calls.every(({ grantedAt }) => grantedAt >= now - BURST_MS);
    // Those that are answered meanwhile leave their workers, and prove nothing.
    const held = (): number => calls.filter(isUnanswered).length;
    const proof = new Proof(fresh, held, (proven) => {
      if (this.#proof !== proof) return;
      this.#proof = undefined;
      this.#proven = Math.max(this.#proven, proven);
      this.#calls = Math.max(this.#calls, Math.min(this.#budget, this.#proven + 1));
      this.#onEnd();
    });
    this.#proof = proof;
    prover.prove(proof);
  }
}

/** A proof of a free worker, asked for by Width. */
export class Proof {
  /** Whether the calls that it is about went out together just now, to a daemon that had nothing else of ours to do. */
  readonly fresh: boolean;
  readonly #held: () => number;
  readonly #calls: number;
  readonly #end: (proven: number) => void;
  #answered = 0;

  /** @internal */
  constructor(fresh: boolean, held: () => number, end: (proven: number) => void) {
    this.fresh = fresh;
    this.#held = held;
    this.#calls = held();
    this.#end = end;
  }

  /** Whether all the calls that it is about are still unanswered: only then it is worth a call. */
  get stands(): boolean {
    return this.#held() === this.#calls;
  }

  /** The call that cannot hang was answered: as many workers as there are calls unanswered now were busy, and one was not. */
  answered(): void {
    this.#answered = this.#held();
  }

  /** It is over. What was proven, if anything, holds from now on. */
  end(): void {
    this.#end(this.#answered);
  }
}
