import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  decodeMessage,
  encodeMessage,
  MESSAGE_MAX,
  MessageSplitter,
} from "../../../../src/drivers/libvirt/rpc/message.ts";
import { frame } from "./fake-daemon.ts";

function split(chunks: readonly Buffer[]): string[] {
  const messages: string[] = [];
  const splitter = new MessageSplitter((message) => messages.push(message.toString("hex")));
  for (const chunk of chunks) splitter.push(chunk);
  expect(splitter.pending).toBe(false);
  return messages;
}

describe("A message", () => {
  it("is a length that counts itself, six header words, and the payload", () => {
    const bytes = encodeMessage({ program: 0x20008086, procedure: 344, type: 0, serial: 7 }, (writer) =>
      writer.string("abc"),
    );
    expect(bytes.toString("hex")).toBe(
      "00000024" +
        "20008086" +
        "00000001" +
        "00000158" +
        "00000000" +
        "00000007" +
        "00000000" +
        "00000003" +
        "61626300",
    );
    const { header, payload } = decodeMessage(bytes);
    expect(header).toEqual({ program: 0x20008086, procedure: 344, type: 0, serial: 7, status: 0 });
    expect(payload.string()).toBe("abc");
  });

  it("comes out whole, however the bytes were cut", () => {
    const stream = Buffer.concat([
      frame(1, 1, Buffer.alloc(0)),
      frame(2, 2, Buffer.from("01020304", "hex")),
      frame(3, 3, Buffer.alloc(400, 7)),
      frame(4, 4, Buffer.alloc(0)),
    ]);
    const whole = split([stream]);
    expect(whole).toHaveLength(4);
    for (let at = 0; at <= stream.length; at++) {
      expect(split([stream.subarray(0, at), stream.subarray(at)])).toEqual(whole);
    }
    expect(split(Array.from(stream, (_, at) => stream.subarray(at, at + 1)))).toEqual(whole);
    fc.assert(
      fc.property(fc.array(fc.nat({ max: stream.length })), (cuts) => {
        const places = [0, ...cuts.sort((a, b) => a - b), stream.length];
        expect(split(places.slice(1).map((end, i) => stream.subarray(places[i], end)))).toEqual(whole);
      }),
    );
  });

  it("of 32 MiB in reads of 64 KiB is put together by copying each byte once", () => {
    const message = frame(344, 1, Buffer.alloc(MESSAGE_MAX - 28, 5));
    let copied = 0;
    const delivered: Buffer[] = [];
    const splitter = new MessageSplitter((whole) => delivered.push(whole));
    for (let at = 0; at < message.length; at += 65_536) {
      const chunk = message.subarray(at, at + 65_536);
      const copy = chunk.copy.bind(chunk);
      chunk.copy = (...args) => {
        const count = copy(...args);
        copied += count;
        return count;
      };
      splitter.push(chunk);
    }
    expect(delivered).toHaveLength(1);
    expect(delivered[0]!.equals(message)).toBe(true);
    expect(copied).toBe(message.length);
  });

  it("within one read is handed out as it lies there, without a copy", () => {
    const message = frame(344, 1, Buffer.alloc(64));
    let delivered: Buffer | undefined;
    new MessageSplitter((whole) => {
      delivered = whole;
    }).push(message);
    expect(delivered!.buffer).toBe(message.buffer);
    expect(delivered!.byteOffset).toBe(message.byteOffset);
  });

  it("of another version than 1 is refused: its fields may mean something else", () => {
    const bytes = frame(344, 1, Buffer.alloc(0));
    bytes.writeUInt32BE(2, 8);
    expect(() => decodeMessage(bytes)).toThrow(/malformed message .* version 2/);
  });

  it.each([0, 4, 27, MESSAGE_MAX + 1, 0xffffffff])("cannot have %i bytes", (length) => {
    const bytes = Buffer.alloc(64);
    bytes.writeUInt32BE(length);
    expect(() => split([bytes])).toThrow(/malformed message .* a length of/);
    expect(() => split([bytes.subarray(0, 2), bytes.subarray(2)])).toThrow(/malformed message .* a length of/);
  });
});
