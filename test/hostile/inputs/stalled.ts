import { setTimeout as sleep, setImmediate as turn } from "node:timers/promises";
import { SUBPROTOCOLS } from "../../../src/wire/protocol.ts";
import { HASTY_MS, TOKEN } from "../sites.ts";
import type { Input } from "./input.ts";
import { frameOf, Opcode, type RawPeer, upgradeOf } from "./raw-peer.ts";

/** Clients that stop in the middle, or go on too slowly: the server ends their connections after its time limit. */

/** Sends these bytes after others, one at a time, as long as the server listens. */
async function drip(peer: RawPeer, before: string, text: string): Promise<void> {
  peer.send(before);
  for (const byte of Buffer.from(text)) {
    peer.send(Uint8Array.of(byte));
    await sleep(HASTY_MS / 40);
    // A byte after the server's end would make the system drop the response. After a pause of this process, the end may
    // still wait in the socket.
    await turn();
    if (peer.isEnded) return;
  }
}

const REQUEST = "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
const BODY = "POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\n";
const CHUNKS = "POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n";

const REQUESTS: readonly (readonly [name: string, reaction: string, send: Input["send"]])[] = [
  ["no byte at all", "HTTP 408", () => {}],
  ["one byte", "HTTP 408", (peer) => peer.send("G")],
  ["half a line", "HTTP 408", (peer) => peer.send("GET / HT")],
  ["half a header", "HTTP 408", (peer) => peer.send("GET / HTTP/1.1\r\nHost: ")],
  ["headers without their end", "HTTP 408", (peer) => peer.send("GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n")],
  ["half an upgrade", "HTTP 408", (peer) => peer.send(upgradeOf().slice(0, 100))],
  ["empty lines", "HTTP 408", (peer) => peer.send("\r\n".repeat(10_000))],
  ["a header, a byte at a time", "HTTP 408", (peer) => void drip(peer, "GET / HTTP/1.1\r\na: ", "x".repeat(1_000))],
  ["a whole request, and half of another", "HTTP 200, HTTP 408", (peer) => peer.send(`${REQUEST}GET / HT`)],
  ["a body that does not come", "HTTP 405, HTTP 408", (peer) => peer.send(BODY)],
  ["chunks that do not come", "HTTP 405, HTTP 408", (peer) => peer.send(CHUNKS)],
  ["a body, a byte at a time", "HTTP 405, HTTP 408", (peer) => void drip(peer, BODY, "x".repeat(400))],
  ["no second request", "HTTP 200", (peer) => peer.send(REQUEST)],
];

const WEB_SOCKETS: readonly (readonly [name: string, send: Input["send"]])[] = [
  ["no hello", () => {}],
  ["half a frame", (peer) => peer.send(Uint8Array.of(0x81))],
  ["a ping and no hello", (peer) => peer.send(frameOf(Opcode.ping, ""))],
  ["pongs and no hello", (peer) => peer.send(Buffer.concat(Array(20).fill(frameOf(Opcode.pong, ""))))],
  ["half a message", (peer) => peer.send(frameOf(Opcode.text, "{", { fin: false }))],
  ["half a hello", (peer) => peer.send(frameOf(Opcode.text, `{"type":"hello","token":"${TOKEN}"`, { length: 400n }))],
  ["a frame that says 16 KiB, and has none", (peer) => peer.send(frameOf(Opcode.text, "", { length: 16_384n }))],
];

export const STALLED_INPUTS: readonly Input[] = [
  ...REQUESTS.map(([name, reaction, send]): Input => {
    return {
      kind: "HTTP: requests that stop",
      name: `HTTP: ${name}`,
      reaction,
      site: "hasty",
      silent: true,
      send: send!,
    };
  }),
  ...SUBPROTOCOLS.flatMap((subprotocol) =>
    WEB_SOCKETS.map(([name, send]): Input => {
      return {
        ...{
          kind: `WebSocket: clients that stop`,
          name: `${subprotocol}: ${name}`,
          reaction: "close 4408",
          subprotocol,
        },
        ...{ site: "hasty", silent: true, send: send! },
      };
    }),
  ),
];
