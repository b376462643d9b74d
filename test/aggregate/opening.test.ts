import { afterAll, describe, expect, it } from "vitest";
import "../../src/drivers/builtin.ts";
import { AggregateDriver } from "../../src/aggregate/aggregate-driver.ts";
import { connect, connectAll } from "../../src/client/connect.ts";
import { VirstreamError } from "../../src/model/error.ts";
import { serve } from "../../src/server/server.ts";
import { ManualClock, turn } from "../drivers/simulated/manual-clock.ts";
import { Host } from "./hosts.ts";

const clock = new ManualClock();
afterAll(() => expect(clock.timers).toBe(0));

function open(openers: Record<string, () => Promise<Host>>, options = {}): Promise<AggregateDriver> {
  return AggregateDriver.open(Object.keys(openers), options, { clock, open: (uri) => openers[uri]!() });
}

const refuse = (code: ConstructorParameters<typeof VirstreamError>[0], message: string) => async (): Promise<Host> => {
  throw new VirstreamError(code, message);
};

describe("Opening several hosts", () => {
  it("gives a connection that names them all", async () => {
    await using connection = await connectAll(["test:///default?host=hv1", "test:///default?host=hv2&domains=3"]);
    expect(connection.host).toBe("hv1,hv2");
    expect(connection.hypervisor).toBe("test");
    expect(connection.uri).toBe("test:///default?host=hv1 test:///default?host=hv2&domains=3");
    expect(await connection.getAllDomainStats()).toHaveLength(15);
  });

  it("fails for a URI that is not valid, and closes the hosts that were opened", async () => {
    const host = new Host("hv1");
    const opening = open({ "a://": async () => host, "b://": refuse("invalid-uri", "b:// is not a URI") });
    await expect(opening).rejects.toMatchObject({ code: "invalid-uri", message: "b://: b:// is not a URI" });
    expect(host.closed).toBe(1);
  });

  it("fails, saying for which host, where waiting cures nothing", async () => {
    const opening = open({
      "a://x": async () => new Host("hv1"),
      "b://me:secret@hv2/": refuse("unauthenticated", "the token is missing"),
    });
    await expect(opening).rejects.toMatchObject({
      code: "unauthenticated",
      message: "b://me@hv2/: the token is missing",
    });
  });

  it("fails when no host can be reached, with what is the matter with each", async () => {
    const opening = open({
      "a://": refuse("connection-refused", "nothing listens"),
      "b://": refuse("connect-timeout", "no answer"),
    });
    await expect(opening).rejects.toMatchObject({
      code: "connection-lost",
      message: "no host can be reached: a://: nothing listens; b://: no answer",
    });
    const same = open({
      "a://": refuse("connection-refused", "missing"),
      "b://": refuse("connection-refused", "missing"),
    });
    await expect(same).rejects.toMatchObject({ code: "connection-refused" });
  });

  it("fails for no host, for one named twice, and for two ways to one host", async () => {
    await expect(connectAll([])).rejects.toMatchObject({ code: "invalid-argument" });
    await expect(connectAll(["test:///default", "test:///default"])).rejects.toMatchObject({
      code: "invalid-argument",
    });
    await expect(connectAll(["test:///default", "test:///default?domains=3"])).rejects.toThrow(
      /both the host simulated/,
    );
    await expect(connectAll(["test:///default", "nonsense:///"])).rejects.toMatchObject({ code: "unknown-scheme" });
  });

  it("takes two daemons of one host with a label each, and finds by their domains that two URIs lead to one daemon", async () => {
    const daemon = (seed: number, label: string) => `test:///default?domains=${seed}&label=${label}&seed=${seed}`;
    await using all = await connectAll([daemon(1, "vms"), daemon(2, "containers%201")]);
    expect(all.host).toBe("vms,containers 1");
    expect(all.uri).toBe("test:///default?domains=1&seed=1 test:///default?domains=2&seed=2");
    await using server = await serve(all, { port: 0 });
    await using remote = await connect(server.url);
    for (const connection of [all, remote]) {
      const hosts = (await connection.listDomains()).map(({ host }) => host);
      expect(hosts).toEqual(["vms", "containers 1", "containers 1"]);
      const swept = new Set<string>();
      const seen = new Set<string>();
      for await (const event of connection.watch({ groups: ["state"] }, { intervalMs: 1_000 }).events) {
        if (event.type === "record") seen.add(event.record.domain.host);
        if (event.type === "sync") for (const host of event.host.split(",")) swept.add(host);
        if (swept.size === 2) break;
      }
      expect([[...swept].sort(), [...seen].sort()]).toEqual([
        ["containers 1", "vms"],
        ["containers 1", "vms"],
      ]);
    }
    await expect(connectAll([daemon(1, "a"), daemon(1, "b")])).rejects.toMatchObject({
      code: "invalid-argument",
      message: expect.stringMatching(/have the same domains/),
    });
    await expect(connectAll([daemon(1, "a"), daemon(2, "a")])).rejects.toThrow(/both the host a: .*label=NAME/);
    await expect(connectAll([`${server.url}?label=x`, daemon(3, "c")])).rejects.toThrow(/stands for several hosts/);
    for (const label of ["", "a,b", "a%3A//b"]) {
      await expect(connectAll([`test:///default?label=${label}`])).rejects.toMatchObject({ code: "invalid-uri" });
    }
  });

  it("waits for a host that does not answer no longer than opening may take", async () => {
    let arrive: (host: Host) => void = () => {};
    const slow = new Promise<Host>((resolve) => {
      arrive = resolve;
    });
    const opening = open({ "a://": async () => new Host("hv1"), "b://": () => slow }, { connectTimeoutMs: 700 });
    await turn();
    clock.advance(699);
    await turn();
    expect(clock.timers).toBe(1);
    clock.advance(1);
    const driver = await opening;
    expect(driver.host).toBe("hv1,b://");
    arrive(new Host("hv2"));
    await turn();
    expect(driver.host).toBe("hv1,hv2");
    await driver.close();
  });

  it("is over at once when the connection is closed, also while two daemons of one host are compared", async () => {
    const hosts = [new Host("hv1"), new Host("hv1")];
    hosts[1]!.frozenAfter = 0;
    const [first, second] = hosts.map((host) => async () => host);
    const opening = AggregateDriver.open(
      ["a://?label=vms", "b://?label=containers"],
      { connectTimeoutMs: 700 },
      { clock, open: (uri) => (uri === "a://" ? first! : second!)() },
    );
    await turn();
    clock.advance(700);
    const driver = await opening;
    await driver.close();
    expect(hosts.map(({ closed }) => closed)).toEqual([1, 1]);
  });

  it("is given up by its signal, with the signal's reason", async () => {
    const abort = new AbortController();
    const host = new Host("hv1");
    const opening = open({ "a://": async () => host }, { signal: abort.signal });
    await opening.then((driver) => driver.close());
    abort.abort(new Error("enough"));
    await expect(open({ "a://": async () => host }, { signal: abort.signal })).rejects.toThrow("enough");
    expect(host.closed).toBe(1);
  });
});
