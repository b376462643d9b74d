import { once } from "node:events";
import { readFileSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { type WebSocket, WebSocketServer } from "ws";
import type { Line } from "./example-process.ts";

/** One step of a session in docs/protocol-vectors.json. */
export interface VectorStep {
  readonly client?: Line;
  readonly hex?: string;
  /** The message that is `hex`; without `hex`, a text message. */
  readonly server?: Line;
  readonly means?: readonly Line[];
}

export const VECTORS: {
  readonly sessions: readonly { readonly name: string; readonly subprotocol: string; readonly steps: VectorStep[] }[];
  readonly refused: readonly { readonly why: string; readonly steps: VectorStep[] }[];
} = JSON.parse(readFileSync(new URL("../../docs/protocol-vectors.json", import.meta.url), "utf8"));

/**
 * A WebSocket server that sends the server's messages of a session in the binary profile, byte by byte as the vectors have
 * them, after each message that a client sends.
 */
export class VectorServer implements AsyncDisposable {
  /** What the client sent. */
  readonly asked: Line[] = [];
  /** The codes with which connections were closed. */
  readonly closed: number[] = [];
  readonly #server: WebSocketServer;
  readonly #steps: VectorStep[];

  private constructor(server: WebSocketServer, steps: readonly VectorStep[]) {
    this.#server = server;
    this.#steps = [...steps];
    server.on("connection", (socket) => {
      socket.on("message", (data: Buffer) => {
        this.asked.push(JSON.parse(data.toString()));
        this.#answer(socket);
      });
      socket.on("close", (code) => this.closed.push(code));
    });
  }

  static async start(steps: readonly VectorStep[]): Promise<VectorServer> {
    const server = new WebSocketServer({ host: "127.0.0.1", port: 0, handleProtocols: () => "virstream.v1" });
    await once(server, "listening");
    return new VectorServer(server, steps);
  }

  get url(): string {
    return `ws://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#server.clients) socket.terminate();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  /** Goes on after a message of the client, until the session has its next one. */
  #answer(socket: WebSocket): void {
    this.#steps.shift();
    for (let next = this.#steps[0]; next !== undefined && next.client === undefined; next = this.#steps[0]) {
      socket.send(next.hex === undefined ? JSON.stringify(next.server) : Buffer.from(next.hex, "hex"));
      this.#steps.shift();
    }
    // The session goes on over another connection.
    if (this.#steps[0]?.client.type === "hello") socket.close(1001);
  }
}
