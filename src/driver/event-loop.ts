/**
 * Waits for one turn of the event loop, so that timers, sockets and painting can run. Browsers have no setImmediate,
 * and delay nested timeouts by 4 ms. There, a message that the code sends to itself is faster.
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
