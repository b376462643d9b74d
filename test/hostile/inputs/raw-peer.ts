import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { connect as connectTls, type SecureContext } from "node:tls";
import type { Subprotocol } from "../../../src/wire/protocol.ts";
import { unpack } from "../../../src/wire/unpack.ts";

/** The opcodes of WebSocket's frames (RFC 6455, 5.2). */
export const Opcode = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 } as const;

/** What is unusual about a frame. */
export interface FrameFaults {
  readonly fin?: boolean;
  /** The three reserved bits, as a number. */
  readonly reserved?: number;
  readonly masked?: boolean;
  /** The length that the frame claims, instead of that of its payload. */
  readonly length?: bigint;
}

/** One WebSocket frame of a client, with the mask 0. */
export function frameOf(opcode: number, payload: Uint8Array | string, faults: FrameFaults = {}): Buffer {
  const { fin = true, reserved = 0, masked = true } = faults;
  const body = Buffer.from(payload as Uint8Array);
  const length = faults.length ?? BigInt(body.length);
  const head = Buffer.alloc(2);
  head[0] = (fin ? 0x80 : 0) | (reserved << 4) | opcode;
  const size = length < 126n ? 0 : length < 65_536n ? 2 : 8;
  head[1] = (masked ? 0x80 : 0) | (size === 0 ? Number(length) : size === 2 ? 126 : 127);
  const sizes = Buffer.alloc(8);
  sizes.writeBigUInt64BE(length);
  return Buffer.concat([head, sizes.subarray(8 - size), Buffer.alloc(masked ? 4 : 0), body]);
}

/** An upgrade request, with some of its headers replaced. */
export function upgradeOf(headers: Readonly<Record<string, string | undefined>> = {}, line = "GET / HTTP/1.1"): string {
  const all = {
    Host: "127.0.0.1",
    Connection: "Upgrade",
    Upgrade: "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
    "Sec-WebSocket-Protocol": "virstream.v1",
    ...headers,
  };
  const lines = Object.entries(all).flatMap(([name, value]) => (value === undefined ? [] : [`${name}: ${value}\r\n`]));
  return `${line}\r\n${lines.join("")}\r\n`;
}

/** A request of a sweep that is refused: its answer shows that the server has read everything before it. */
const PROBE = 999;

/** A client that sends any bytes, and reports how the server reacted. */
export class RawPeer {
  readonly #socket: Socket;
  /** With TLS: what carries it. */
  readonly #carrier: Socket;
  #bytes = Buffer.alloc(0);
  #isOpen = false;
  /** What the server answered to a request for a WebSocket. */
  #refusal: string | undefined;

  private constructor(socket: Socket, carrier: Socket) {
    this.#socket = socket;
    this.#carrier = carrier;
    for (const each of [socket, carrier]) each.on("error", () => {});
  }

  /** @param secureContext with TLS: has the authority of the server */
  static async connect(port: number, secureContext?: SecureContext): Promise<RawPeer> {
    const carrier = connect({ port, host: "127.0.0.1", noDelay: true });
    const socket =
      secureContext === undefined ? carrier : connectTls({ socket: carrier, host: "127.0.0.1", secureContext });
    const peer = new RawPeer(socket, carrier);
    await once(socket, secureContext === undefined ? "connect" : "secureConnect");
    return peer;
  }

  /** True when the server has ended the connection, or it is closed. */
  get isEnded(): boolean {
    return this.#socket.readableEnded || this.#socket.destroyed;
  }

  /** Ends the connection, and resolves when its socket is closed. */
  async close(): Promise<void> {
    if (this.#socket.closed) return;
    const closed = once(this.#socket, "close");
    this.#socket.destroy();
    await closed;
  }

  /** Drops the connection with a reset, and resolves when its socket is closed. */
  async reset(): Promise<void> {
    if (this.#carrier.closed) return;
    const closed = new Promise((resolve) => this.#carrier.once("close", resolve));
    this.#carrier.resetAndDestroy();
    await closed;
    this.#socket.destroy();
  }

  /** Resolves when this many bytes have come after the answer to an upgrade, or the connection has ended. */
  async arrival(least: number): Promise<void> {
    for await (const _ of this.#arrivals()) if (this.#bytes.length >= least) return;
  }

  send(bytes: Uint8Array | string): void {
    if (!this.#socket.destroyed) this.#socket.write(bytes);
  }

  /** Sends a message, or any value as one. */
  say(message: unknown): void {
    this.send(frameOf(Opcode.text, typeof message === "string" ? message : JSON.stringify(message)));
  }

  /** Sends the end of what it sends. */
  finish(): void {
    if (!this.#socket.destroyed) this.#socket.end();
  }

  /** Says goodbye as WebSocket clients do, and waits until the server ends the connection. */
  async leave(): Promise<void> {
    if (!this.#isOpen || this.#socket.destroyed) return;
    this.send(frameOf(Opcode.close, Uint8Array.of(0x03, 0xe8)));
    for await (const _ of this.#arrivals());
  }

  /**
   * The statuses of the responses until the server ends the connection or accepts a WebSocket, as `HTTP 200, HTTP 400`; `closed` if
   * there are none.
   */
  async statuses(): Promise<string> {
    let statuses: string[] = [];
    for await (const _ of this.#arrivals()) {
      const heads = [...this.#bytes.toString("latin1").matchAll(/HTTP\/1\.1 (\d+)[\s\S]*?\r\n\r\n/g)];
      statuses = heads.map(([, status]) => `HTTP ${status}`);
      const last = heads.at(-1);
      if (last?.[1] !== "101") continue;
      this.#bytes = this.#bytes.subarray(last.index + last[0].length);
      break;
    }
    return statuses.join(", ") || "closed";
  }

  /** Asks for a WebSocket. @param behind what is in the same segment as the request */
  async upgrade(
    subprotocol: Subprotocol,
    behind: Uint8Array = new Uint8Array(),
    headers: Readonly<Record<string, string>> = {},
  ): Promise<void> {
    const request = upgradeOf({ ...headers, "Sec-WebSocket-Protocol": subprotocol });
    this.send(Buffer.concat([Buffer.from(request), behind]));
    this.#refusal = await this.statuses();
    this.#isOpen = this.#refusal === "HTTP 101";
  }

  /**
   * How the server reacts to what was sent: as `statuses` says, if no WebSocket was opened. Of a WebSocket: `close CODE`; `end CODE` for the end of a sweep or watch; `closed` without a close
   * frame; `ignored` if it goes on to the next message.
   *
   * @param silent no next message is sent
   */
  async reaction(silent = false): Promise<string> {
    if (!this.#isOpen) return this.#refusal ?? (await this.statuses());
    if (!silent) this.say({ type: "get", id: PROBE, groups: ["probe"] });
    for await (const _ of this.#arrivals()) {
      for (let frame = this.#takeFrame(); frame !== undefined; frame = this.#takeFrame()) {
        if (frame.opcode === Opcode.close) return `close ${frame.payload.readUInt16BE(0)}`;
        const isMessage = frame.opcode === Opcode.text || frame.opcode === Opcode.binary;
        const message = isMessage ? messageOf(frame.opcode, frame.payload) : {};
        if (message.type !== "end" || message.error === undefined) continue;
        return message.id === PROBE ? "ignored" : `end ${message.error.code}`;
      }
    }
    return "closed";
  }

  /** Once now, and then whenever bytes have come, until the server ends the connection. */
  async *#arrivals(): AsyncGenerator<void> {
    yield;
    try {
      for await (const chunk of this.#socket.iterator({ destroyOnReturn: false })) {
        this.#bytes = Buffer.concat([this.#bytes, chunk]);
        yield;
      }
    } catch (error) {
      // A server that closes before it has read everything resets the connection.
      if (!["ECONNRESET", "EPIPE"].includes(`${(error as NodeJS.ErrnoException).code}`)) throw error;
    }
  }

  #takeFrame(): { readonly opcode: number; readonly payload: Buffer } | undefined {
    const bytes = this.#bytes;
    if (bytes.length < 2) return undefined;
    const short = bytes[1]! & 0x7f;
    const head = short < 126 ? 2 : short === 126 ? 4 : 10;
    if (bytes.length < head) return undefined;
    const size = short < 126 ? short : short === 126 ? bytes.readUInt16BE(2) : Number(bytes.readBigUInt64BE(2));
    if (bytes.length < head + size) return undefined;
    this.#bytes = bytes.subarray(head + size);
    return { opcode: bytes[0]! & 0x0f, payload: bytes.subarray(head, head + size) };
  }
}

interface EndMessage {
  readonly type?: string;
  readonly id?: number;
  readonly error?: { readonly code: string };
}

function messageOf(opcode: number, payload: Buffer): EndMessage {
  return (opcode === Opcode.text ? JSON.parse(payload.toString()) : unpack(payload)) as EndMessage;
}
