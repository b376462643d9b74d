import { describe, expect, it } from "vitest";
import { LIMITS } from "../../src/wire/protocol.ts";
import { until } from "../until.ts";
import { JsonClient } from "./json-client.ts";
import { own, startServer, stuck } from "./serving.ts";

const names = (count: number, prefix = "no") => Array.from({ length: count }, (_, i) => ({ name: `${prefix}-${i}` }));

async function jsonClient(server: Parameters<typeof JsonClient.connect>[0]): Promise<JsonClient> {
  const client = await JsonClient.connect(server);
  own({ close: () => client.socket.terminate() });
  return client;
}

/** The error codes with which sweeps and watches ended, by id. */
const endsOf = (client: JsonClient) =>
  Object.fromEntries(
    client.ofType("end").map(({ id, ...rest }) => [id, (rest["error"] as { code: string } | undefined)?.code]),
  );

describe("a client that names very many domains", () => {
  it("is refused a query beyond the bound of a query, and a name longer than names are", async () => {
    const client = await jsonClient(await startServer(stuck()));
    client.send({ type: "get", id: 1, domains: names(LIMITS.selectors + 1) });
    client.watch(2, { domains: names(LIMITS.selectors + 1) });
    client.watch(3, { domains: [{ name: "x".repeat(LIMITS.name + 1) }] });
    await client.settled();
    expect(endsOf(client)).toEqual({ 1: "limit-exceeded", 2: "limit-exceeded", 3: "invalid-argument" });
    expect(client.ofType("end")[0]).toMatchObject({ error: { retryable: false } });
  });

  it("is refused what its sweeps and watches name together beyond the bound of a connection, until one of them ends", async () => {
    const driver = stuck();
    const client = await jsonClient(await startServer(driver, { limits: { selectorsPerClient: 100 } }));
    client.watch(1, { domains: names(60) });
    client.send({ type: "get", id: 2, domains: names(40) });
    client.send({ type: "get", id: 3, domains: names(1) });
    client.watch(4, { domains: names(41) });
    await client.settled();
    expect(endsOf(client)).toEqual({ 3: "limit-exceeded", 4: "limit-exceeded" });
    client.send({ type: "cancel", id: 1 });
    client.watch(5, { domains: names(60) });
    client.send({ type: "cancel", id: 2 });
    await until(() => client.ofType("end").length === 4);
    client.send({ type: "get", id: 6, domains: names(40) });
    await until(() => driver.queries.some(({ domains }) => domains?.length === 40 && driver.running === 2));
    expect(Object.keys(endsOf(client))).toEqual(["1", "2", "3", "4"]);
  });

  it("leaves the other clients a bounded number, also for channels that outlive its connection, and shared watches count once", async () => {
    const server = await startServer(stuck(), { limits: { selectors: 100 } });
    const [one, other] = [await jsonClient(server), await jsonClient(server)];
    one.watch(1, { domains: names(60) });
    await one.settled();
    other.watch(1, { domains: names(60) });
    other.watch(2, { domains: names(41, "other") });
    await other.settled();
    expect(endsOf(other)).toEqual({ 2: "limit-exceeded" });
    other.send({ type: "cancel", id: 1 });
    await other.settled();
    one.socket.terminate();
    await until(() => server.clients === 1);
    other.watch(3, { domains: names(41, "other") });
    await other.settled();
    // The channel of the lost client waits for it to come back.
    expect([server.stats().channels, endsOf(other)[3]]).toEqual([1, "limit-exceeded"]);
  });
});
