import { connect as connectTcp, type Socket } from "node:net";
import { Duplex } from "node:stream";
import { type ConnectionOptions, connect, type TLSSocket } from "node:tls";
import { RecordType } from "./client-hello.ts";

/** Clients of TLS, and how the server reacts to them. */

const HOST = "127.0.0.1";
const REQUEST = "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n";

/** Sends bytes. `alert NUMBER` for that of the server; else `closed`, when it has ended the connection. */
export async function alertTo(port: number, ...pieces: readonly Uint8Array[]): Promise<string> {
  const socket = connectTcp({ port, host: HOST, noDelay: true });
  let bytes = Buffer.alloc(0);
  socket.on("data", (chunk) => {
    bytes = Buffer.concat([bytes, chunk]);
  });
  socket.on("error", () => {});
  socket.write(Buffer.concat(pieces));
  await closeOf(socket);
  for (let at = 0; at + 7 <= bytes.length; at += 5 + bytes.readUInt16BE(at + 3)) {
    // The first byte is the level of an alert.
    if (bytes[at] === RecordType.alert) return `alert ${bytes[at + 6]}`;
  }
  return "closed";
}

/** What is unusual about a client's connection. */
export interface TlsFaults extends ConnectionOptions {
  /** Makes something else of each record that the client sends; undefined: it sends no more. */
  readonly change?: (record: Buffer, number: number) => readonly Buffer[] | undefined;
  /** Instead of a request, when the handshake is done. */
  readonly onSecure?: (socket: TLSSocket) => void;
}

/** Connects, and sends a request. `HTTP STATUS` for its answer; `alert NUMBER`; `closed` for the end of the connection. */
export async function reactionToTls(port: number, ca: string, faults: TlsFaults): Promise<string> {
  const { change, onSecure, ...options } = faults;
  const carrier = connectTcp({ port, host: HOST, noDelay: true });
  carrier.on("error", () => {});
  const socket = connect({
    ...{ host: HOST, ca, socket: change === undefined ? carrier : changed(carrier, change) },
    ...options,
  });
  let text = "";
  let alert: string | undefined;
  socket.on("error", ({ message }) => {
    alert ??= /SSL alert number (\d+)/.exec(message)?.[1];
  });
  socket.on("data", (chunk) => {
    text += chunk.toString("latin1");
  });
  socket.on("secureConnect", () => (onSecure === undefined ? socket.write(REQUEST) : onSecure(socket)));
  await Promise.all([closeOf(socket), closeOf(carrier)]);
  const status = /^HTTP\/1\.1 (\d+)/.exec(text)?.[1];
  if (status !== undefined) return `HTTP ${status}`;
  return alert === undefined ? "closed" : `alert ${alert}`;
}

async function closeOf(socket: Socket): Promise<void> {
  if (!socket.closed) await new Promise((resolve) => socket.once("close", resolve));
}

/** A way to a socket that changes the records that go to the server. */
function changed(carrier: Socket, change: NonNullable<TlsFaults["change"]>): Duplex {
  let [number, stopped, bytes] = [0, false, Buffer.alloc(0)];
  const way = new Duplex({
    read: () => {},
    write: (chunk, _, done) => {
      bytes = Buffer.concat([bytes, chunk]);
      // In one segment: what reaches a server after it has closed would reset the connection, and its alert could be lost.
      const sent: Buffer[] = [];
      while (!stopped && bytes.length >= 5 && bytes.length >= 5 + bytes.readUInt16BE(3)) {
        const size = 5 + bytes.readUInt16BE(3);
        const pieces = change(Buffer.from(bytes.subarray(0, size)), number++);
        bytes = bytes.subarray(size);
        stopped = pieces === undefined;
        sent.push(...(pieces ?? []));
      }
      if (sent.length > 0 && !carrier.destroyed) carrier.write(Buffer.concat(sent));
      done();
    },
    final: (done) => {
      carrier.end();
      done();
    },
  });
  carrier.on("data", (chunk) => way.push(chunk));
  carrier.on("end", () => way.push(null));
  carrier.on("close", () => way.destroy());
  way.on("close", () => carrier.destroy());
  way.on("error", () => {});
  return way;
}
