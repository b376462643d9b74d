import { Duplex } from "node:stream";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { openHypervisor } from "../../../../src/drivers/libvirt/daemon.ts";
import { PROCEDURES } from "../../../../src/drivers/libvirt/rpc/procedures.ts";
import { RpcClient } from "../../../../src/drivers/libvirt/rpc/rpc-client.ts";
import { VirstreamError } from "../../../../src/model/error.ts";
import { frame, text, words } from "./fake-daemon.ts";

/** KEEPALIVE_PROC_PING and _PONG: length, program "keep", version, procedure, type MESSAGE, serial, status. */
const PING = "0000001c" + "6b656570" + "00000001" + "00000001" + "00000002" + "00000000" + "00000000";
const PONG = "0000001c" + "6b656570" + "00000001" + "00000002" + "00000002" + "00000000" + "00000000";

/** A stream of which the test is the other end. */
class Wire extends Duplex {
  readonly written: { hex: string; at: number }[] = [];

  override _read(): void {}

  /** The daemon reads nothing. */
  stuck = false;

  override _write(chunk: Buffer, _: BufferEncoding, done: () => void): void {
    if (this.stuck) return;
    this.written.push({ hex: chunk.toString("hex"), at: performance.now() });
    done();
  }

  /** The daemon says this. */
  say(bytes: Buffer): void {
    this.push(bytes);
  }

  get pings(): number {
    return this.written.filter(({ hex }) => hex === PING).length;
  }
}

let wire: Wire;
let client: RpcClient;
let lost: VirstreamError[];

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "setInterval", "clearInterval", "performance"] });
  wire = new Wire();
  client = new RpcClient(wire);
  lost = [];
  client.onEnded = (error) => lost.push(error);
});

afterEach(() => {
  client.destroy(new VirstreamError("connection-closed", "the test is over"));
  const timers = vi.getTimerCount();
  vi.useRealTimers();
  expect(timers).toBe(0);
});

const advance = (ms: number) => vi.advanceTimersByTimeAsync(ms);

describe("A daemon that sends pings", () => {
  it("and reads no answers makes the client keep at most 64 KiB of them, in one chunk or in many", async () => {
    wire.stuck = true;
    const pings = Buffer.from(PING.repeat(10_000), "hex");
    for (let i = 0; i < 20; i++) {
      wire.say(pings);
      await advance(1);
      expect(wire.writableLength).toBeGreaterThan(0);
      expect(wire.writableLength).toBeLessThanOrEqual(64 * 1024 + 28);
    }
    expect(lost).toEqual([]);
  });
});

describe("A connection that is kept alive", () => {
  it("asks the daemon whether it is there after 5 s of silence, and every 5 s from then on, byte for byte", async () => {
    client.keepAlive();
    await advance(4_999);
    expect(wire.written).toEqual([]);
    await advance(1);
    expect(wire.written.map(({ hex }) => hex)).toEqual([PING]);
    expect(PING).toHaveLength(2 * 28);
    await advance(10_000);
    expect(wire.pings).toBe(3);
  });

  it("asks nothing while the daemon says anything: an answer, an event, a pong, a ping of its own", async () => {
    client.keepAlive();
    const call = client.call(PROCEDURES.hostname, undefined);
    await advance(4_000);
    wire.say(frame(59, 1, text("node1")));
    await expect(call).resolves.toBe("node1");
    await advance(4_000);
    wire.say(frame(318, 1, words(0), { type: 2 }));
    await advance(4_000);
    wire.say(Buffer.from(PONG, "hex"));
    await advance(4_000);
    wire.say(Buffer.from(PING, "hex"));
    await advance(3_000);
    expect(wire.pings).toBe(0);
    expect(wire.written.filter(({ hex }) => hex === PONG)).toHaveLength(1);
    expect(lost).toEqual([]);
  });

  it("counts part of a message as a sign of life, too: a large answer takes its time", async () => {
    client.keepAlive();
    const call = client.call(PROCEDURES.hostname, undefined);
    const answer = frame(59, 1, text("a host name of some length"));
    const piece = Math.ceil(answer.length / 12);
    for (let at = 0; at < answer.length; at += piece) {
      await advance(4_000);
      wire.say(answer.subarray(at, at + piece));
    }
    await expect(call).resolves.toBe("a host name of some length");
    expect(wire.pings).toBe(0);
  });

  it("is given up with connection-lost after 30 s of silence, and with it all calls", async () => {
    client.keepAlive();
    const call = client.call(PROCEDURES.hostname, undefined);
    const ended = expect(call).rejects.toMatchObject({ code: "connection-lost", retryable: true });
    await advance(29_999);
    expect([wire.pings, lost]).toEqual([5, []]);
    await advance(1);
    await ended;
    expect(lost).toHaveLength(1);
    expect(lost[0]!.message).toMatch(/has not answered for 30 s/);
    expect(wire.destroyed).toBe(true);
    await expect(client.call(PROCEDURES.hostname, undefined)).rejects.toBe(lost[0]);
  });

  it("lives on for as long as its pings are answered, and counts from zero after each answer", async () => {
    client.keepAlive();
    for (let i = 0; i < 10; i++) {
      await advance(24_000);
      expect(lost).toEqual([]);
      wire.say(Buffer.from(PONG, "hex"));
    }
    // Silence is noticed at the next look, up to 5 s later.
    await advance(29_000);
    expect(lost).toEqual([]);
    await advance(6_000);
    expect(lost).toHaveLength(1);
  });

  it("has one timer, however often that is asked for, and none when it has ended", async () => {
    client.keepAlive();
    client.keepAlive();
    expect(vi.getTimerCount()).toBe(1);
    client.destroy(new VirstreamError("connection-closed", "done"));
    expect(vi.getTimerCount()).toBe(0);
    client.keepAlive();
    expect(vi.getTimerCount()).toBe(0);
    await advance(60_000);
    expect(wire.pings).toBe(0);
  });
});

describe("A daemon", () => {
  /** Answers the opening as libvirtd does, with or without keepalives. */
  function answer(keepalive: boolean): void {
    const answers = new Map<number, Buffer>([
      [66, words(1, 0)],
      [60, words(keepalive ? 1 : 0)],
      [1, Buffer.alloc(0)],
      [3, text("QEMU")],
      [4, words(0, 7_002_022)],
      [157, words(0, 9_000_000)],
      [59, text("node1")],
    ]);
    wire._write = (chunk: Buffer, _: BufferEncoding, done: () => void) => {
      const hex = chunk.toString("hex");
      wire.written.push({ hex, at: performance.now() });
      const procedure = chunk.readUInt32BE(12);
      if (hex !== PING) wire.say(frame(procedure, chunk.readUInt32BE(20), answers.get(procedure)!));
      done();
    };
  }

  it("that answers pings is pinged when it falls silent", async () => {
    answer(true);
    await openHypervisor(client, "qemu:///system");
    await advance(12_000);
    expect(wire.pings).toBeGreaterThan(0);
  });

  it("that does not know keepalives is never pinged, and its silence is no reason to give it up", async () => {
    answer(false);
    await openHypervisor(client, "qemu:///system");
    await advance(600_000);
    expect(wire.pings).toBe(0);
    expect(lost).toEqual([]);
    expect(client.ended).toBeUndefined();
  });
});
