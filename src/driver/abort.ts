/** The callbacks of one signal, which are called by one listener. */
class Callbacks extends Set<() => void> {
  handleEvent(): void {
    for (const callback of this) callback();
  }
}

const all = new WeakMap<AbortSignal, Callbacks>();

/**
 * Calls back when a signal is aborted. A signal has one listener for all its callbacks. A program may use one signal
 * for all its streams, and Node warns of a leak when a signal has more than ten listeners.
 *
 * @returns a function that removes the callback; when the last one is removed, nothing is left on the signal
 */
export function onAbort(signal: AbortSignal | undefined, callback: () => void): () => void {
  if (signal === undefined) return () => {};
  let callbacks = all.get(signal);
  if (callbacks === undefined) {
    callbacks = new Callbacks();
    all.set(signal, callbacks);
  }
  if (callbacks.size === 0) signal.addEventListener("abort", callbacks);
  callbacks.add(callback);
  return () => {
    if (callbacks.delete(callback) && callbacks.size === 0) signal.removeEventListener("abort", callbacks);
  };
}
