import { expect, it } from "vitest";
import { Connection } from "../../src/client/connection.ts";
import type { VirstreamError } from "../../src/model/error.ts";
import { serve } from "../../src/server/index.ts";
import { codeOf } from "../code-of.ts";
import { own } from "../owned.ts";
import { until } from "../until.ts";
import { ScriptedDriver } from "./scripted-driver.ts";
import { connectTo } from "./serving.ts";

/** A server of a host whose second record comes when the test says so, and a client with a sweep under way. */
async function underWay() {
  let release = (): void => {};
  const held = new Promise<void>((resolve) => {
    release = resolve;
  });
  const driver = new ScriptedDriver(async function* (host, { signal }) {
    yield [host.record(0)];
    await Promise.race([held, new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve()))]);
    if (!signal.aborted) yield [host.record(1)];
  });
  const server = own(await serve(new Connection(driver), { port: 0 }));
  const client = await connectTo(server.url);
  const sweep = client.getAllDomainStats().then(
    (records) => records.length,
    ({ code }: VirstreamError) => code,
  );
  await until(() => server.sweeps === 1);
  return { server, client, sweep, release };
}

it("a server that drains lets a sweep under way end whole, and begins no other", async () => {
  const { server, client, sweep, release } = await underWay();
  const { url } = server;
  const closing = server.close({ drain: true });
  await expect(client.getAllDomainStats()).rejects.toMatchObject({ code: "server-shutdown", retryable: true });
  expect(await codeOf(connectTo(url))).toBe("connection-refused");
  expect(server.sweeps).toBe(1);
  release();
  expect(await sweep).toBe(2);
  await closing;
  expect(server.clients).toBe(0);
});

it("a server that drains waits no longer when it is closed again without that", async () => {
  const { server, sweep } = await underWay();
  const closing = server.close({ drain: true });
  await server.close();
  expect(await sweep).toBe("server-shutdown");
  await closing;
  expect(await codeOf(server.close({ drained: true } as never))).toBe("invalid-argument");
});
