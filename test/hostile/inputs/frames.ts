import { setImmediate as turn } from "node:timers/promises";
import { LIMITS, SUBPROTOCOLS } from "../../../src/wire/protocol.ts";
import { TOKEN } from "../sites.ts";
import type { Input } from "./input.ts";
import { type FrameFaults, frameOf, Opcode } from "./raw-peer.ts";

/** WebSocket frames that no client may send, before and after the hello, in both profiles. */

const HELLO = JSON.stringify({ type: "hello", token: TOKEN });

type Frame = readonly [opcode: number, payload: Uint8Array | string, faults?: FrameFaults];

const BROKEN = "close 1002";
const code = (number: number): Uint8Array => Uint8Array.of(number >> 8, number & 0xff);
const parts = (count: number, size: number): Frame[] =>
  Array.from({ length: count }, (_, i) => [
    i === 0 ? Opcode.text : Opcode.continuation,
    "x".repeat(size),
    { fin: false },
  ]);

const FRAMES: readonly (readonly [name: string, reaction: string, ...frames: Frame[]])[] = [
  ["an unmasked frame", BROKEN, [Opcode.text, HELLO, { masked: false }]],
  ...[1, 2, 4, 7].map(
    (reserved) => [`the reserved bits ${reserved}`, BROKEN, [Opcode.text, "{}", { reserved }]] as const,
  ),
  ...[3, 4, 5, 6, 7, 11, 12, 13, 14, 15].map((opcode) => [`the opcode ${opcode}`, BROKEN, [opcode, "{}"]] as const),
  ["a continuation of nothing", BROKEN, [Opcode.continuation, "{}"]],
  ["a message within the parts of another", BROKEN, [Opcode.text, "{", { fin: false }], [Opcode.text, "}"]],
  ...[Opcode.ping, Opcode.pong, Opcode.close].flatMap((opcode) => [
    [`a control frame ${opcode} in parts`, BROKEN, [opcode, "", { fin: false }]] as const,
    [`a control frame ${opcode} of 126 bytes`, BROKEN, [opcode, "x".repeat(126)]] as const,
  ]),
  ["a close of one byte", BROKEN, [Opcode.close, "x"]],
  ...[0, 999, 1_004, 1_005, 1_006, 1_015, 2_999, 5_000, 65_535].map(
    (number) => [`a close with the code ${number}`, BROKEN, [Opcode.close, code(number)]] as const,
  ),
  ["a close whose reason is not UTF-8", "close 1007", [Opcode.close, Uint8Array.of(0x03, 0xe8, 0xc3, 0x28)]],
  ...[[0xff], [0xc3, 0x28], [0xed, 0xa0, 0x80], [0xf5, 0x80, 0x80, 0x80]].map(
    (bytes) =>
      [`the text ${Buffer.from(bytes).toString("hex")}`, "close 1007", [Opcode.text, Uint8Array.from(bytes)]] as const,
  ),
  [
    "a text that is not UTF-8 in two parts",
    "close 1007",
    [Opcode.text, Uint8Array.of(0xc3), { fin: false }],
    [Opcode.continuation, "("],
  ],
  ...[2n ** 64n - 1n, 2n ** 53n, BigInt(LIMITS.request + 1)].map(
    (length) => [`a frame of ${length} bytes`, "close 1009", [Opcode.text, "x", { length }]] as const,
  ),
  ["a binary message", "close 4400", [Opcode.binary, HELLO]],
  ["an empty binary message", "close 4400", [Opcode.binary, ""]],
  ["a message of 200 parts of one byte", "close 1008", ...parts(200, 1)],
  ["a message of 200 empty parts", "close 1008", ...parts(200, 0)],
  [
    "a compressed frame that was not agreed on",
    BROKEN,
    [Opcode.text, Uint8Array.of(0xaa, 0x56, 0x2a, 0xa9), { reserved: 4 }],
  ],
];

/** What is too large only once the client has said hello: before, less is too large. */
const GREETED: typeof FRAMES = [
  ["parts of more than 1 MiB together", "close 1009", ...parts(12, 100_000)],
  ["500 pings at once", "ignored", ...Array.from({ length: 500 }, (): Frame => [Opcode.ping, "x"])],
  ["pongs that nothing has asked for", "ignored", ...Array.from({ length: 100 }, (): Frame => [Opcode.pong, "x"])],
];
const UNGREETED: typeof FRAMES = [
  ["a message of more than 16 KiB in parts", "close 4400", ...parts(20, 1_000), [Opcode.continuation, ""]],
];

/** Bytes that come one after the other, while the server still has earlier messages to handle, each in a turn of its own. */
const PIECES: readonly (readonly [name: string, reaction: string, ...pieces: Buffer[]])[] = [
  ["an invalid text and further bytes", "close 1007", frameOf(Opcode.text, Uint8Array.of(0xff)), Buffer.from("xx")],
  ["an invalid close and further bytes", BROKEN, frameOf(Opcode.close, code(999)), Buffer.from("xx")],
  [
    "too many parts and further bytes",
    "close 1008",
    Buffer.concat(parts(200, 1).map((part) => frameOf(...part))),
    Buffer.from("xx"),
  ],
  ["an unknown opcode and further bytes", BROKEN, frameOf(3, ""), frameOf(Opcode.text, "{}")],
];

const PIECE_INPUTS: readonly Input[] = SUBPROTOCOLS.flatMap((subprotocol) =>
  PIECES.map(([name, reaction, ...pieces]): Input => {
    return {
      kind: `WebSocket: frames behind others that the server has not handled yet`,
      ...{ name: `${subprotocol}: ${name}, behind pings`, reaction, subprotocol },
      send: async (peer) => {
        peer.send(Buffer.concat(Array.from({ length: 200 }, () => frameOf(Opcode.ping, ""))));
        for (const piece of pieces) {
          // The server reads what was sent before, and has not yet handled it.
          for (let turns = 0; turns < 3; turns++) await turn();
          peer.send(piece);
        }
      },
    };
  }),
);

const SINGLE_INPUTS: readonly Input[] = SUBPROTOCOLS.flatMap((subprotocol) =>
  [false, true].flatMap((greeted) =>
    [...FRAMES, ...(greeted ? GREETED : UNGREETED)].map(([name, reaction, ...frames]): Input => {
      return {
        kind: `WebSocket: frames ${greeted ? "after" : "before"} the hello`,
        ...{ name: `${subprotocol}: ${name}, ${greeted ? "after" : "before"} the hello`, reaction, subprotocol },
        send: (peer) => {
          if (greeted) peer.say(HELLO);
          peer.send(Buffer.concat(frames.map((frame) => frameOf(...frame))));
        },
      };
    }),
  ),
);

export const FRAME_INPUTS: readonly Input[] = [...SINGLE_INPUTS, ...PIECE_INPUTS];
