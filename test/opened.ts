import { afterEach } from "vitest";

interface Closable {
  close(): Promise<void>;
}

const opened: Closable[] = [];

/** Has something closed after the test that opened it, the newest first. For files that import this at their top. */
export function open<T extends Closable>(resource: T): T {
  opened.unshift(resource);
  return resource;
}

afterEach(async () => {
  for (const each of opened.splice(0)) await each.close();
});
