import { afterAll, afterEach } from "vitest";
import { closeOwned, own } from "./owned.ts";

/**
 * Every resource has an owner and an end. After each file, what keeps a process alive (sockets, servers, pipes to
 * children, timers) must be what it was before; what closes asynchronously has a moment to do so.
 */
const WATCHED = new Set([
  "TCPSocketWrap",
  "TCPServerWrap",
  "PipeWrap",
  "PipeServerWrap",
  "ProcessWrap",
  "Timeout",
  "Immediate",
]);
const GRACE_MS = 3_000;

function count(): Map<string, number> {
  const counts = new Map<string, number>();
  for (const resource of process.getActiveResourcesInfo()) {
    if (WATCHED.has(resource)) counts.set(resource, (counts.get(resource) ?? 0) + 1);
  }
  return counts;
}

function surplus(before: Map<string, number>): string[] {
  return [...count()].filter(([name, now]) => now > (before.get(name) ?? 0)).map(([name, now]) => `${now} ${name}`);
}

const before = count();

afterEach(closeOwned);

// The socket of a body that a test does not read stays paused, and does not see that the server has closed.
const { fetch } = globalThis;
globalThis.fetch = async (...request) => {
  const response = await fetch(...request);
  const { body } = response;
  own({ close: () => (body?.locked === false ? body.cancel() : undefined) });
  return response;
};

afterAll(async () => {
  globalThis.fetch = fetch;
  const deadline = performance.now() + GRACE_MS;
  while (surplus(before).length > 0 && performance.now() < deadline) {
    await new Promise((resolve) => setTimeout(resolve, 20).unref());
  }
  const left = surplus(before);
  if (left.length > 0) throw new Error(`resources were left behind: ${left.join(", ")}`);
});
