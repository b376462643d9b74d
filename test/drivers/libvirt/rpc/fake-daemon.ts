import { mkdtemp, rm } from "node:fs/promises";
import { createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** One request as the fake daemon got it. */
export interface Request {
  readonly procedure: number;
  readonly serial: number;
  readonly payload: Buffer;
  /** The whole message. */
  readonly bytes: Buffer;
}

/** What a request is answered with: a payload, several writes of raw bytes, or nothing. */
export type Answer = { ok: Buffer } | { error: Buffer } | { raw: Buffer } | undefined;

/** Big-endian 32-bit words. */
export function words(...values: number[]): Buffer {
  const bytes = Buffer.alloc(4 * values.length);
  values.forEach((value, i) => void bytes.writeUInt32BE(value >>> 0, 4 * i));
  return bytes;
}

/** An XDR string. */
export function text(value: string): Buffer {
  const bytes = Buffer.from(value);
  return Buffer.concat([words(bytes.length), bytes, Buffer.alloc((4 - (bytes.length % 4)) % 4)]);
}

/** A remote_nonnull_domain. */
export function domain(name: string, uuid: string, id: number): Buffer {
  return Buffer.concat([text(name), Buffer.from(uuid.replaceAll("-", ""), "hex"), words(id)]);
}

/** A remote_error. */
export function remoteError(code: number, from: number, message: string): Buffer {
  return Buffer.concat([words(code, from, 1), text(message), words(2, 0, 0, 0, 0, 0, 0, 0)]);
}

/** A reply, from its parts. */
export function frame(
  procedure: number,
  serial: number,
  payload: Buffer,
  { type = 1, status = 0, program = 0x20008086 } = {},
) {
  return Buffer.concat([words(28 + payload.length, program, 1, procedure, type, serial, status), payload]);
}

/** A statistics record whose parameters are given as bytes. */
export function statsReply(...records: { domain: Buffer; params: Buffer[] }[]): Buffer {
  const parts = records.flatMap((record) => [record.domain, words(record.params.length), ...record.params]);
  return Buffer.concat([words(records.length), ...parts]);
}

/** The program of pings and pongs, which every daemon answers at once. */
const KEEPALIVE = 0x6b656570;

/** state.state = 1 */
export const RUNNING = Buffer.concat([text("state.state"), words(1, 1)]);

/** A uuid that ends in a number. */
export function uuidOf(number: number): string {
  return `00000000-0000-4000-8000-${String(number).padStart(12, "0")}`;
}

/**
 * A daemon made of bytes: it opens as libvirtd 9 does, and answers everything else as the test says. Its bytes are put
 * together here, by other code than the client's.
 */
export class FakeDaemon implements AsyncDisposable {
  readonly path: string;
  /** Every request so far, with the number of its connection. */
  readonly requests: (Request & { connection: number })[] = [];
  readonly sockets: Socket[] = [];
  /** Asked first; undefined leaves the request to the opening's answers. */
  answer: (request: Request, socket: Socket) => Answer | "default" = () => "default";
  /** What AUTH_LIST says. */
  auth = [0];
  readonly #server: Server;
  readonly #directory: string;

  private constructor(directory: string) {
    this.#directory = directory;
    this.path = join(directory, "sock");
    this.#server = createServer((socket) => this.#serve(socket));
  }

  static async start(): Promise<FakeDaemon> {
    const daemon = new FakeDaemon(await mkdtemp(join(tmpdir(), "vs-fake-")));
    await new Promise<void>((resolve) => daemon.#server.listen(daemon.path, resolve));
    return daemon;
  }

  uri(name = "qemu:///system"): string {
    return `${name}?socket=${this.path}`;
  }

  /** How many connections are open at this end. */
  get open(): number {
    return this.sockets.filter((socket) => !socket.destroyed).length;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
    await rm(this.#directory, { recursive: true, force: true });
  }

  #serve(socket: Socket): void {
    const connection = this.sockets.push(socket) - 1;
    let buffered = Buffer.alloc(0);
    socket.on("error", () => {});
    socket.on("data", (chunk) => {
      buffered = Buffer.concat([buffered, chunk]);
      while (buffered.length >= 4 && buffered.length >= buffered.readUInt32BE(0)) {
        const bytes = buffered.subarray(0, buffered.readUInt32BE(0));
        buffered = buffered.subarray(bytes.length);
        const request = {
          connection,
          procedure: bytes.readUInt32BE(12),
          serial: bytes.readUInt32BE(20),
          payload: bytes.subarray(28),
          bytes,
        };
        this.requests.push(request);
        if (bytes.readUInt32BE(4) === KEEPALIVE) {
          if (request.procedure === 1) socket.write(frame(2, 0, Buffer.alloc(0), { type: 2, program: KEEPALIVE }));
          continue;
        }
        this.reply(socket, request, this.answer(request, socket));
      }
    });
  }

  reply(socket: Socket, request: Request, answer: Answer | "default"): void {
    const { procedure, serial } = request;
    if (answer === "default") answer = this.#opening(procedure);
    if (answer === undefined) return;
    if ("raw" in answer) socket.write(answer.raw);
    else if ("ok" in answer) socket.write(frame(procedure, serial, answer.ok));
    else socket.write(frame(procedure, serial, answer.error, { status: 1 }));
  }

  #opening(procedure: number): Answer {
    switch (procedure) {
      case 66:
        return { ok: words(this.auth.length, ...this.auth) };
      case 60:
      case 70:
        return { ok: words(1) };
      case 1:
      case 2:
        return { ok: Buffer.alloc(0) };
      case 3:
        return { ok: text("QEMU") };
      case 4:
        return { ok: words(0, 7_002_022) };
      case 157:
        return { ok: words(0, 9_000_000) };
      case 59:
        return { ok: text("node1") };
      default:
        return { error: remoteError(39, 7, `unknown procedure: ${procedure}`) };
    }
  }
}

/** virDomainEventType. */
export const EVENT_TYPES = {
  defined: 0,
  undefined: 1,
  started: 2,
  suspended: 3,
  resumed: 4,
  stopped: 5,
  shutdown: 6,
} as const;
