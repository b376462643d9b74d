/**
 * Gives the event loop one turn, so that timers, sockets and painting get theirs. Browsers have no setImmediate, and
 * delay nested timeouts by 4 ms; there, a message that the code sends to itself is quicker.
 */
export function eventLoopTurn(): Promise<void> {
  if (typeof setImmediate === "function") return new Promise((resolve) => setImmediate(resolve));
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(undefined);
  });
}
