import { VirstreamError } from "../model/error.ts";

/** How long libvirt may keep a call waiting for the job of a guest, in ms: 30 s, and some more. */
const JOB_WAIT_MS = 60_000;
/** At most this many calls may be left without an answer in that time: each may occupy a worker of a daemon. */
const MAX_UNANSWERED = 4;

/** The calls of examinations that can wait for a guest: remembers those that got no answer, so that they do not add up. */
export class UnansweredCalls {
  /** When the call was made, on the steady clock in ms, by the guest's uuid. */
  readonly #since = new Map<string, number>();

  /** True if a call about a guest may be made. */
  mayAsk(uuid: string): boolean {
    for (const [each, since] of this.#since) if (performance.now() - since > JOB_WAIT_MS) this.#since.delete(each);
    return !this.#since.has(uuid) && this.#since.size < MAX_UNANSWERED;
  }

  /** Notes a call that was made; whoever waits for it may give up earlier. */
  track<T>(uuid: string, call: Promise<T>): Promise<T> {
    this.#since.set(uuid, performance.now());
    const answered = (): void => void this.#since.delete(uuid);
    call.then(answered, (error) => {
      // The examination has ended; the daemon may still be at it.
      if (VirstreamError.from(error).code !== "connection-closed") answered();
    });
    return call;
  }
}
