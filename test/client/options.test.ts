import { describe, expect, it } from "vitest";
import "../../src/drivers/builtin.ts";
import { connect, connectAll } from "../../src/client/connect.ts";
import type { Connection } from "../../src/client/connection.ts";
import { serve } from "../../src/server/server.ts";

const URI = "test:///default?domains=1";

/** Calls that get wrong options, by name. */
const CALLS: Readonly<Record<string, (connection: Connection, options: never) => unknown>> = {
  connect: (_, options) => connect(URI, options),
  connectAll: (_, options) => connectAll([URI], options),
  stats: (connection, options) => connection.stats({}, options),
  getAllDomainStats: (connection, options) => connection.getAllDomainStats({}, options),
  domainListGetStats: (connection, options) => connection.domainListGetStats(["a"], {}, options),
  listDomains: (connection, options) => connection.listDomains({}, options),
  lookupDomain: (connection, options) => connection.lookupDomain("a", options),
  watch: (connection, options) => connection.watch({}, options),
  table: (connection, options) => connection.table({}, options),
  close: (connection, options) => connection.close(options),
  query: (connection, query) => connection.stats(query),
  serve: (connection, options) => serve(connection, options),
  limits: (connection, limits) => serve(connection, { port: 0, limits }),
};

describe("An options object", () => {
  it.each<[call: string, options: unknown, message: RegExp]>([
    ["connect", { tokn: "x" }, /has no member "tokn": it has signal, connectTimeoutMs, .*token, /],
    ["connect", { connectTimeoutMs: "5s" }, /connectTimeoutMs must be a whole number from 1 to 2147483647, not "5s"/],
    ["connect", { connectTimeoutMs: 0 }, /connectTimeoutMs must be .*, not 0/],
    ["connect", { creditBytes: -1 }, /creditBytes must be a whole number from 1/],
    ["connect", { token: 1234 }, /token must be a string or a function$/],
    ["connect", { reconnect: 5 }, /reconnect must be an object, not 5/],
    ["connect", { reconnect: { attempts: -1 } }, /attempts must be a whole number from 0, or Infinity, not -1/],
    ["connect", { reconnect: { initialMs: 500, maxMs: 5 } }, /maxMs must be a whole number from 500 to/],
    ["connect", { waitForFirstConnection: 1 }, /waitForFirstConnection must be true or false, not 1/],
    ["connect", { signal: new AbortController() }, /signal must be an AbortSignal, not an object/],
    ["connect", "token", /connect's options object must be an object, not "token"/],
    ["connectAll", { interval: 5 }, /^connect's options object has no member "interval"/],
    ["connectAll", { connectTimeoutMs: -1 }, /^connectTimeoutMs must be .*, not -1/],
    ["stats", { deadlineMs: 500 }, /the call's options object has no member "deadlineMs": it has signal/],
    ["getAllDomainStats", { deadlineMs: 500 }, /"deadlineMs".* it has signal/],
    ["getAllDomainStats", { signal: true }, /signal must be an AbortSignal, not true/],
    ["getAllDomainStats", null, /must be an object, not null/],
    ["domainListGetStats", { groups: ["state"] }, /"groups"/],
    ["listDomains", { filter: ["active"] }, /"filter"/],
    ["lookupDomain", { host: "a" }, /"host"/],
    ["watch", { deadlineMs: 500 }, /a watch has no member "deadlineMs": it has intervalMs, mode, heartbeatMs, signal/],
    ["watch", { intervalMs: -1 }, /intervalMs must be a whole number from 10 to 3600000, not -1/],
    ["watch", { mode: () => "sample" }, /mode must be sample or on-change, not a function/],
    ["watch", { signal: 5 }, /signal must be an AbortSignal, not 5/],
    ["watch", null, /a watch must be an object, not null/],
    ["table", { mode: "on-change" }, /a table has no member "mode": it has intervalMs, signal/],
    ["close", { drain: "yes" }, /drain must be true or false, not "yes"/],
    ["query", { intervalMs: 500 }, /a query has no member "intervalMs"/],
    ["query", { filter: "running" }, /filter must be a list, not "running"/],
    ["query", { nowait: "yes" }, /nowait must be true or false, not "yes"/],
    ["query", { deadlineMs: Number.POSITIVE_INFINITY }, /deadlineMs must be .*, not Infinity/],
    ["serve", { listen: "127.0.0.1" }, /serve's options object has no member "listen"/],
    ["serve", { port: "0" }, /port must be a whole number from 0 to 65535, not "0"/],
    ["serve", { host: 5 }, /host must be a string/],
    ["serve", { port: 0, token: 1234 }, /token must be a string$/],
    ["serve", { port: 0, allowAnyone: "no" }, /allowAnyone must be true or false, not "no"/],
    ["serve", { port: 0, origins: "https://a" }, /origins must be a list, not "https:\/\/a"/],
    ["limits", { clients: 0 }, /clients must be a whole number from 1/],
    ["limits", 5, /limits must be an object, not 5/],
  ])("of %s is refused, and the error names the member and its valid values: %j", async (call, options, message) => {
    await using connection = await connect(URI);
    const calling = async () => CALLS[call]!(connection, options as never);
    await expect(calling()).rejects.toMatchObject({
      code: "invalid-argument",
      message: expect.stringMatching(message),
    });
  });

  it("may have members that are undefined", async () => {
    await using connection = await connect(URI, { signal: undefined, token: undefined } as never);
    expect(await connection.getAllDomainStats({ deadlineMs: undefined } as never, {})).toHaveLength(1);
    await using _ = await serve(connection, { port: 0, limits: { clients: undefined } } as never);
  });
});

describe("The hosts of connectAll", () => {
  it.each<[unknown, string]>([
    [[() => "ws://a"], "host 1 must be a URI, or an object with a member uri"],
    ["ws://a", "the hosts must be a list of URIs"],
    [() => {}, "the hosts must be a list of URIs"],
    [[URI, undefined], "host 2 must be a URI"],
    [[{ uri: URI, token: 5 }], "token must be a string or a function"],
  ])("are URIs, or objects with options: %s is refused", async (uris, message) => {
    await expect(connectAll(uris as never)).rejects.toMatchObject({
      code: "invalid-argument",
      message: expect.stringContaining(message),
    });
  });
});
