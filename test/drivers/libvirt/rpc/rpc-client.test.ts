import { connect } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { PROCEDURES } from "../../../../src/drivers/libvirt/rpc/procedures.ts";
import { RpcClient } from "../../../../src/drivers/libvirt/rpc/rpc-client.ts";
import { VirstreamError } from "../../../../src/model/error.ts";
import { domain, FakeDaemon, frame, type Request, text, uuidOf, words } from "./fake-daemon.ts";

const PING = Buffer.from(
  "0000001c" + "6b656570" + "00000001" + "00000001" + "00000002" + "00000000" + "00000000",
  "hex",
);
const PONG = Buffer.from(
  "0000001c" + "6b656570" + "00000001" + "00000002" + "00000002" + "00000000" + "00000000",
  "hex",
);

let daemon: FakeDaemon;
let client: RpcClient;

beforeEach(async () => {
  daemon = await FakeDaemon.start();
  client = new RpcClient(connect(daemon.path));
});

afterEach(async () => {
  await client.close();
  for (let left = 100; left > 0 && daemon.open > 0; left--) await sleep(10);
  expect(daemon.open).toBe(0);
  await daemon[Symbol.asyncDispose]();
});

/** Answers to requests in an order of the test's choosing. */
function collect(count: number, then: (requests: Request[], write: (bytes: Buffer) => void) => void): void {
  const requests: Request[] = [];
  daemon.answer = (request, socket) => {
    if (request.procedure === 2) return "default";
    if (requests.push(request) === count) then(requests, (bytes) => socket.write(bytes));
    return undefined;
  };
}

describe("A connection to a daemon", () => {
  it("sends calls as the protocol has them, byte for byte", async () => {
    await client.call(PROCEDURES.hostname, undefined);
    await client.call(PROCEDURES.open, "qemu:///system");
    expect(daemon.requests.map(({ bytes }) => bytes.toString("hex"))).toEqual([
      "0000001c" + "20008086" + "00000001" + "0000003b" + "00000000" + "00000001" + "00000000",
      "00000038" +
        "20008086" +
        "00000001" +
        "00000001" +
        "00000000" +
        "00000002" +
        "00000000" +
        "00000001" +
        "0000000e" +
        "71656d753a2f2f2f73797374656d0000" +
        "00000001",
    ]);
  });

  it("matches answers by serial, in whatever order they come", async () => {
    collect(3, (requests, write) => {
      for (const { procedure, serial, payload } of requests.reverse()) {
        write(frame(procedure, serial, domain(payload.toString("latin1", 4, 5), uuidOf(serial), serial)));
      }
    });
    const names = ["a", "b", "c"];
    const domains = await Promise.all(names.map((name) => client.call(PROCEDURES.lookupByName, name)));
    expect(domains.map(({ name }) => name)).toEqual(names);
  });

  it("tells events by their type: one that carries the serial of a call does not answer it", async () => {
    const events: number[] = [];
    client.onEvent = (procedure) => events.push(procedure);
    collect(1, ([request], write) => {
      write(frame(318, request!.serial, words(1), { type: 2 }));
      write(frame(request!.procedure, request!.serial, text("node7")));
    });
    await expect(client.call(PROCEDURES.hostname, undefined)).resolves.toBe("node7");
    expect(events).toEqual([318]);
  });

  it("answers keepalive pings at once, amid calls that are not answered", async () => {
    daemon.answer = ({ procedure }) => (procedure === 59 ? { raw: PING } : undefined);
    const call = client.call(PROCEDURES.hostname, undefined);
    call.catch(() => {});
    for (let left = 100; left > 0 && daemon.requests.length < 2; left--) await sleep(5);
    expect(daemon.requests[1]!.bytes.toString("hex")).toBe(PONG.toString("hex"));
    client.destroy(new Error("done") as never);
  });

  it("sends the calls of one moment in one write", async () => {
    let writes = 0;
    const socket = connect(daemon.path);
    const { _writev } = socket as unknown as { _writev: (...args: unknown[]) => void };
    Object.assign(socket, {
      _writev(...args: unknown[]) {
        writes++;
        _writev.apply(socket, args);
      },
    });
    const other = new RpcClient(socket);
    await other.call(PROCEDURES.hostname, undefined);
    writes = 0;
    await Promise.all([1, 2, 3, 4].map(() => other.call(PROCEDURES.hostname, undefined)));
    expect(writes).toBe(1);
    await other.close();
  });

  it("refuses procedures that are not in the table, and sends nothing", async () => {
    const destroy = { ...PROCEDURES.lookupByUuid, name: "DOMAIN_DESTROY", number: 12 };
    await expect(client.call(destroy, uuidOf(1))).rejects.toMatchObject({ code: "internal" });
    await client.call(PROCEDURES.hostname, undefined);
    expect(daemon.requests.map(({ procedure }) => procedure)).toEqual([59]);
  });

  it("says goodbye when it is closed, and ends what is in flight", async () => {
    daemon.answer = ({ procedure }) => (procedure === 59 ? undefined : "default");
    const call = client.call(PROCEDURES.hostname, undefined);
    const ended = expect(call).rejects.toMatchObject({ code: "connection-closed" });
    await client.close();
    await ended;
    expect(daemon.requests.at(-1)!.procedure).toBe(2);
    await expect(client.call(PROCEDURES.hostname, undefined)).rejects.toMatchObject({ code: "connection-closed" });
  });

  it("closes within about a second where the daemon says nothing to that", async () => {
    daemon.answer = () => undefined;
    const start = performance.now();
    await client.close();
    expect(performance.now() - start).toBeLessThan(1_500);
  });
});

describe("A hostile or broken daemon", () => {
  const HEADER = "20008086" + "00000001" + "0000003b" + "00000001" + "00000001" + "00000000";
  const attacks: [string, string, RegExp][] = [
    ["announces 4 GiB", `ffffffff${HEADER}`, /a length of 4294967295 bytes/],
    ["announces one byte more than the protocol allows", `02000005${HEADER}`, /a length of 33554437 bytes/],
    ["announces no length", "00000000", /a length of 0 bytes/],
    ["speaks HTTP", Buffer.from("HTTP/1.1 400 Bad Request\r\n\r\n").toString("hex"), /a length of \d+ bytes/],
    [
      "answers a call that was never made",
      "0000001c20008086000000010000003b000000010000007700000000",
      /call 119, which was never made/,
    ],
    [
      "answers another procedure",
      "0000001c20008086000000010000003c000000010000000100000000",
      /procedure 60 to a call of 59/,
    ],
    ["answers with an unknown status", "0000001c20008086000000010000003b000000010000000100000007", /the status 7/],
    [
      "sends a stream that virstream did not open",
      "0000001c20008086000000010000003b000000030000000100000000",
      /type 3/,
    ],
    ["calls us", "0000001c20008086000000010000003b000000000000000100000000", /type 0/],
    [
      "answers of a program that was not asked",
      "0000001c20008087000000010000003b000000010000000100000000",
      /program 0x20008087/,
    ],
    ["sends a string that is longer than its message", `00000024${HEADER}00000fff41424344`, /ends within a string/],
    [
      "sends an error that is none",
      "0000001c20008086000000010000003b000000010000000100000001",
      /ends within an integer/,
    ],
  ];

  it.each(attacks)("that %s ends the connection with protocol-error, and nothing hangs", async (_, hex, message) => {
    daemon.answer = () => ({ raw: Buffer.from(hex, "hex") });
    const lost: string[] = [];
    client.onEnded = ({ code }) => lost.push(code);
    const calls = await Promise.allSettled([1, 2].map(() => client.call(PROCEDURES.hostname, undefined)));
    for (const call of calls) {
      expect(call).toMatchObject({ status: "rejected", reason: { code: "protocol-error" } });
      expect((call as PromiseRejectedResult).reason.message).toMatch(message);
    }
    expect(lost).toEqual(["protocol-error"]);
    await expect(client.call(PROCEDURES.hostname, undefined)).rejects.toMatchObject({ code: "protocol-error" });
  });

  it.each([3, 27, 40])("that ends after %i bytes of a message is a lost connection", async (length) => {
    daemon.answer = ({ procedure, serial }, socket) => {
      socket.end(frame(procedure, serial, text("a name of some length")).subarray(0, length));
      return undefined;
    };
    await expect(client.call(PROCEDURES.hostname, undefined)).rejects.toMatchObject({
      code: "connection-lost",
      retryable: true,
      message: "the connection to libvirt broke off in the middle of a message",
    });
  });

  it("that ends between messages is a lost connection, for every call in flight", async () => {
    collect(3, () => daemon.sockets[0]!.destroy());
    const calls = await Promise.allSettled([1, 2, 3].map(() => client.call(PROCEDURES.hostname, undefined)));
    for (const call of calls) expect(call).toMatchObject({ reason: { code: "connection-lost" } });
  });

  it("is not heard after the connection's end, whatever it has sent by then", async () => {
    let events = 0;
    client.onEvent = () => {
      events++;
      client.destroy(new VirstreamError("connection-lost", "given up"));
    };
    collect(1, (_, write) => {
      const event = frame(1, 1, Buffer.alloc(8), { type: 2 });
      write(Buffer.concat([event, event, event]));
    });
    await expect(client.call(PROCEDURES.hostname, undefined)).rejects.toMatchObject({ message: "given up" });
    expect(events).toBe(1);
  });

  it("that sends events without a request is listened to no less", async () => {
    collect(1, ([request], write) => {
      for (let i = 0; i < 1_000; i++)
        write(frame(i, 1, Buffer.alloc(8), { type: 2, program: i % 2 ? 0x20008087 : 0x20008086 }));
      write(frame(request!.procedure, request!.serial, text("node7")));
    });
    await expect(client.call(PROCEDURES.hostname, undefined)).resolves.toBe("node7");
  });
});
