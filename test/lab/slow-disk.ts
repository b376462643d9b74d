import { once } from "node:events";
import { createServer, type Server, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { fillingSector } from "./guest.ts";

const REQUEST_BYTES = 28;
const READ = 0;
const WRITE = 1;
const DISCONNECT = 2;
/** What the guest sees as the size of the disk. */
const SIZE = 64 * 2 ** 20;

/**
 * A disk on the network (NBD) whose storage is slow: each request takes the same time. A guest that boots from it writes to it for
 * ever. Nothing that is written is kept.
 */
export class SlowDisk implements AsyncDisposable {
  /** The device, for a guest's definition. */
  readonly xml: string;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #delayMs: number;

  private constructor(path: string, delayMs: number) {
    this.#delayMs = delayMs;
    this.#server = createServer((socket) => void this.#serve(socket).catch(() => socket.destroy()));
    this.xml = `<disk type="network" device="disk"><driver name="qemu" type="raw"/>
      <source protocol="nbd"><host transport="unix" socket="${path}"/></source><target dev="vda" bus="virtio"/></disk>`;
  }

  /** @param path of its socket, which a guest's QEMU must be able to reach */
  static async open(path: string, delayMs: number): Promise<SlowDisk> {
    const disk = new SlowDisk(path, delayMs);
    await once(disk.#server.listen(path), "listening");
    return disk;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
    await once(this.#server, "close");
  }

  async #serve(socket: Socket): Promise<void> {
    this.#sockets.add(socket.on("error", () => {}));
    // The old form of the protocol: one disk, and nothing to negotiate.
    const greeting = Buffer.alloc(152);
    greeting.write("NBDMAGIC");
    greeting.writeBigUInt64BE(0x420281861253n, 8);
    greeting.writeBigUInt64BE(BigInt(SIZE), 16);
    greeting.writeUInt32BE(1, 24);
    socket.write(greeting);
    let unread = Buffer.alloc(0);
    for await (const part of socket) {
      unread = Buffer.concat([unread, part as Buffer]);
      while (unread.length >= REQUEST_BYTES) {
        const type = unread.readUInt16BE(6);
        const length = unread.readUInt32BE(24);
        const end = REQUEST_BYTES + (type === WRITE ? length : 0);
        if (unread.length < end) break;
        const head = unread.subarray(0, REQUEST_BYTES);
        unread = unread.subarray(end);
        if (type === DISCONNECT) return;
        void this.#answer(socket, head, type === READ ? length : 0);
      }
    }
  }

  async #answer(socket: Socket, head: Buffer, bytes: number): Promise<void> {
    await sleep(this.#delayMs);
    const reply = Buffer.alloc(16 + bytes);
    reply.writeUInt32BE(0x67446698, 0);
    head.copy(reply, 8, 8, 16);
    const from = Number(head.readBigUInt64BE(16));
    if (bytes > 0 && from < fillingSector.length) fillingSector.copy(reply, 16, from, from + bytes);
    socket.write(reply);
  }
}
