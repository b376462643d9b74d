import { mkdtemp, rm } from "node:fs/promises";
import { connect, createServer, type Server, type Socket } from "node:net";
import { join } from "node:path";

/** A call that went through. */
export interface SeenCall {
  readonly program: number;
  readonly procedure: number;
  /** Which connection, from 0. */
  readonly connection: number;
  /** What follows the header. */
  readonly payload: Buffer;
  answered: boolean;
}

/**
 * Stands between clients and a libvirt daemon, passes every byte on, and writes down the calls: what a daemon is really
 * asked, seen from outside.
 */
export class RpcProxy implements AsyncDisposable {
  /** The socket that clients connect to. */
  readonly socket: string;
  /** `qemu:///system` by way of the proxy. */
  readonly uri: string;
  readonly calls: SeenCall[] = [];
  readonly #directory: string;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #connections = 0;

  private constructor(directory: string, daemon: string) {
    this.#directory = directory;
    this.socket = join(directory, "proxy-sock");
    this.uri = `qemu:///system?socket=${this.socket}`;
    this.#server = createServer((client) => this.#serve(client, connect(daemon)));
  }

  /** @param daemon the daemon's socket */
  static async start(daemon: string): Promise<RpcProxy> {
    const proxy = new RpcProxy(await mkdtemp("/tmp/vs-"), daemon);
    await new Promise<void>((resolve) => proxy.#server.listen(proxy.socket, resolve));
    return proxy;
  }

  /** How many calls of a procedure are unanswered. */
  unanswered(procedure: number, connection?: number): number {
    return this.calls.filter(
      (call) =>
        call.procedure === procedure && !call.answered && (connection === undefined || call.connection === connection),
    ).length;
  }

  /** Cuts every connection, as a network does. */
  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  #serve(client: Socket, daemon: Socket): void {
    const connection = this.#connections++;
    const waiting = new Map<number, SeenCall>();
    const messages = {
      up: new Frames((frame) => {
        const [program, procedure, type, serial] = header(frame);
        if (type !== 0) return;
        const call = { program, procedure, connection, payload: frame.subarray(28), answered: false };
        this.calls.push(call);
        waiting.set(serial, call);
      }),
      down: new Frames((frame) => {
        const [, , type, serial] = header(frame);
        const call = type === 1 ? waiting.get(serial) : undefined;
        if (call !== undefined) call.answered = true;
      }),
    };
    client.on("data", (chunk: Buffer) => {
      messages.up.push(chunk);
      daemon.write(chunk);
    });
    daemon.on("data", (chunk: Buffer) => {
      messages.down.push(chunk);
      client.write(chunk);
    });
    for (const [one, other] of [
      [client, daemon],
      [daemon, client],
    ] as const) {
      this.#sockets.add(one);
      one.on("error", () => {});
      one.on("close", () => {
        this.#sockets.delete(one);
        other.destroy();
      });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    this.cut();
    await closed;
    await rm(this.#directory, { recursive: true, force: true });
  }
}

/** Program, procedure, type and serial; see virNetMessageHeader. */
function header(frame: Buffer): [number, number, number, number] {
  return [frame.readUInt32BE(4), frame.readInt32BE(12), frame.readInt32BE(16), frame.readUInt32BE(20)];
}

class Frames {
  #rest = Buffer.alloc(0);
  readonly #deliver: (frame: Buffer) => void;

  constructor(deliver: (frame: Buffer) => void) {
    this.#deliver = deliver;
  }

  push(chunk: Buffer): void {
    this.#rest = Buffer.concat([this.#rest, chunk]);
    while (this.#rest.length >= 4 && this.#rest.length >= this.#rest.readUInt32BE(0)) {
      const length = this.#rest.readUInt32BE(0);
      this.#deliver(this.#rest.subarray(0, length));
      this.#rest = this.#rest.subarray(length);
    }
  }
}
