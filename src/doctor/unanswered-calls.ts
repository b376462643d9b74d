import { VirstreamError } from "../model/error.ts";

/**
 * How long libvirt may let a call wait for the job of a guest, in ms. libvirt's own limit is 30 s; the rest is a
 * margin.
 */
const JOB_WAIT_MS = 60_000;
/** At most this many calls of the last JOB_WAIT_MS may be unanswered, as each may occupy a worker of a daemon. */
const MAX_UNANSWERED = 4;

/**
 * Remembers each call that may wait for a guest until it is answered, for JOB_WAIT_MS at most. `mayAsk` refuses a
 * second call to the same guest, and more than MAX_UNANSWERED calls in all. So repeated examinations do not accumulate
 * such calls.
 */
export class UnansweredCalls {
  /** By the guest's uuid: when the call was made, on the steady clock in ms. */
  readonly #since = new Map<string, number>();

  /** True if a call that may wait for this guest may be made. */
  mayAsk(uuid: string): boolean {
    for (const [each, since] of this.#since) if (performance.now() - since > JOB_WAIT_MS) this.#since.delete(each);
    return !this.#since.has(uuid) && this.#since.size < MAX_UNANSWERED;
  }

  /** Remembers a call until it is answered, even if its caller gives up earlier. */
  track<T>(uuid: string, call: Promise<T>): Promise<T> {
    this.#since.set(uuid, performance.now());
    const answered = (): void => void this.#since.delete(uuid);
    call.then(answered, (error) => {
      // `connection-closed` only means that the examination has ended. The daemon may still work on the call.
      if (VirstreamError.from(error).code !== "connection-closed") answered();
    });
    return call;
  }
}
