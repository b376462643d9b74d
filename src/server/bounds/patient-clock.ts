import { type Clock, isLate, PAUSE_MS, STEADY_CLOCK } from "../../driver/clock.ts";

/**
 * A clock for timers that detect a silent peer. After a pause of the process (SIGSTOP, a machine that was suspended or
 * overloaded), timers fire before the sockets are read. So there may be data that the peer has sent before the timer
 * was due, and that this process has not read yet. A timer that fires far too late therefore waits once more.
 */
export const PATIENT_CLOCK: Clock = {
  ...STEADY_CLOCK,
  setTimeout: (callback, ms) => {
    const due = performance.now() + ms;
    const handle = {
      timer: setTimeout(() => {
        if (isLate(performance.now() - due)) handle.timer = setTimeout(callback, PAUSE_MS);
        else callback();
      }, ms),
    };
    return handle;
  },
  clearTimeout: (handle) => clearTimeout((handle as { timer: ReturnType<typeof setTimeout> } | undefined)?.timer),
};
