/** What a test opened, and what ends each: it is closed after the test, the newest first. test/leaks.ts sees to it. */
export const owned: (() => unknown)[] = [];

/** Has something closed after the test that opened it. */
export function own<T extends { close(): unknown } | AsyncDisposable>(resource: T): T {
  owned.push(() => ("close" in resource ? resource.close() : resource[Symbol.asyncDispose]()));
  return resource;
}

export async function closeOwned(): Promise<void> {
  for (const close of owned.splice(0).reverse()) await close();
}
