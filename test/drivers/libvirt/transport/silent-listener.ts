import { type AddressInfo, createServer, type Server, type Socket } from "node:net";

/** A listener on 127.0.0.1 that accepts, and says what it is told to, if anything. */
export class SilentListener implements AsyncDisposable {
  readonly port: number;
  readonly sockets: Socket[];
  readonly #server: Server;

  private constructor(server: Server, sockets: Socket[]) {
    this.#server = server;
    this.sockets = sockets;
    this.port = (server.address() as AddressInfo).port;
  }

  static async start(onSocket: (socket: Socket) => void = () => {}): Promise<SilentListener> {
    const sockets: Socket[] = [];
    const server = createServer((socket) => {
      sockets.push(socket);
      socket.on("error", () => {});
      socket.resume();
      onSocket(socket);
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return new SilentListener(server, sockets);
  }

  /** How many connections are open at this end. */
  get open(): number {
    return this.sockets.filter((socket) => !socket.destroyed).length;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}
