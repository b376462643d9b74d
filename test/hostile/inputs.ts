import { SUBPROTOCOLS } from "../../src/wire/protocol.ts";
import { FRAME_INPUTS } from "./frame-inputs.ts";
import { HTTP_INPUTS } from "./http-inputs.ts";
import type { Input } from "./input.ts";
import { frameOf, Opcode } from "./raw-peer.ts";
import { REQUEST_INPUTS } from "./request-inputs.ts";

/** Inputs of clients that say no more: the server waits for them as long as for a hello. */
const SILENT: readonly Input[] = [
  {
    name: "HTTP: a request that does not go on",
    reaction: "HTTP 408",
    send: (peer) => peer.send("GET / HTTP/1.1\r\nHost: "),
  },
  ...SUBPROTOCOLS.flatMap((subprotocol): Input[] => [
    { name: "no hello", reaction: "close 4408", subprotocol, send: () => {} },
    { name: "half a frame", reaction: "close 4408", subprotocol, send: (peer) => peer.send(Uint8Array.of(0x81)) },
    {
      name: "a ping and no hello",
      reaction: "close 4408",
      subprotocol,
      send: (peer) => peer.send(frameOf(Opcode.ping, "")),
    },
    {
      ...{ name: "half a message", reaction: "close 4408", subprotocol },
      send: (peer) => peer.send(frameOf(Opcode.text, "{", { fin: false })),
    },
  ]).map(({ name, ...rest }) => ({ ...rest, name: `${rest.subprotocol}: ${name}` })),
];

/** Everything that a client may try against a server, each with the server's reaction. */
export const INPUTS: readonly Input[] = [
  ...REQUEST_INPUTS,
  ...FRAME_INPUTS,
  ...HTTP_INPUTS,
  ...SILENT.map((input) => ({ ...input, silent: true })),
];
